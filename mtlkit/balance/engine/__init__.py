"""Task gradients of one batch, exactly and cheaply, and their Gramian."""
