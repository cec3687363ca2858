"""Home libraries: each is asked for a verdict about a card, in its own protocol (R4, ADR 0016)."""
