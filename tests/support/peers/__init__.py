"""Foreign implementations that tests meet: servers that nobody here wrote, named in the output of a run.

A fixture that starts one calls `met`. tests/conftest.py prints all of them at the end of a run.
"""

from __future__ import annotations

_met: set[str] = set()


def met(peer: str) -> None:
    """Note a peer for the end of the test output, such as `canaille 0.3.6 (SCIM 2.0)`."""
    _met.add(peer)


def all_met() -> list[str]:
    """All peers of this process, and those that its workers reported."""
    return sorted(_met)
