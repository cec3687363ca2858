"""The fourteen characters of the patron status (SIP2 2.00): their names, and what each one means here."""

from collections.abc import Iterable

from registration.domain.verdict import Reason

FLAGS = (
    ("charge-denied", Reason.BLOCKED),
    ("renewal-denied", Reason.BLOCKED),
    ("recall-denied", Reason.BLOCKED),
    ("hold-denied", Reason.BLOCKED),
    ("card-lost", Reason.CARD_LOST),
    ("too-many-charged", Reason.TOO_MANY_CHARGED),
    ("too-many-overdue", Reason.OVERDUE),
    ("too-many-renewals", Reason.TOO_MANY_RENEWALS),
    ("too-many-claims", Reason.TOO_MANY_CLAIMS),
    ("too-many-lost", Reason.TOO_MANY_LOST),
    ("fines", Reason.FINES),
    ("fees", Reason.FEES),
    ("recall-overdue", Reason.RECALL_OVERDUE),
    ("billed", Reason.BILLED),
)
"""By position; any character but a space is true."""

NONE_SET = " " * len(FLAGS)
USUALLY_REFUSING = frozenset({0, 4, 5, 6, 9, 10, 11, 12, 13})
"""The others (renewal, recall, hold, renewals, claims) refuse nobody, unless a library says so (R4)."""

_NEVER_REFUSING = 2
_POSITIONS = {name: position for position, (name, _) in enumerate(FLAGS)}
_ALLOWED = ", ".join(
    f"{name} ({position})" for name, position in _POSITIONS.items() if position != _NEVER_REFUSING
)


def positions(flags: Iterable[str | int]) -> frozenset[int]:
    """The positions of flags that were named, or numbered from 0. Raises ValueError: what is allowed.

    Denied recalls never refuse: who may not reserve what is out may well borrow (R4).
    """
    found = frozenset(_POSITIONS.get(flag, -1) if isinstance(flag, str) else flag for flag in flags)
    if not found <= frozenset(_POSITIONS.values()) - {_NEVER_REFUSING}:
        raise ValueError(f"must be names or positions of status flags: {_ALLOWED}")
    return found


def reasons_of(status: str, refusing: Iterable[int]) -> list[Reason]:
    """Why a patron with this status is refused, by position; usually there is nothing."""
    if status == NONE_SET:
        return []
    reasons = (FLAGS[position][1] for position in sorted(refusing) if status[position] != " ")
    return list(dict.fromkeys(reasons))
