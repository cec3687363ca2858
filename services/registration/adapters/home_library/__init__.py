"""Home libraries behind one port: asked for a verdict on a card, each in its own protocol (R4, A9)."""
