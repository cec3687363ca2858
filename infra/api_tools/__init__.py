"""Checks of the descriptions of the APIs and of the messages, for `make check`."""
