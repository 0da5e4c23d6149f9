"""How a scenario adapts the network."""
