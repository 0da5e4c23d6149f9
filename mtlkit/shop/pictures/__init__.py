"""Pictures of products, 28 x 28, drawn by code."""
