"""Which fault happens when: made of a seed alone, so that a run that failed can be repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from tests.chaos.sides import BROKER, OURS, SIDES

PROCESSES = (*OURS, "home_library", "sign_in", "wisecat")
SERVICES = ("registration", "identity")
NO_TARGET = ("",)


class Kind(StrEnum):
    """What can be done to the system, in the words of the report."""

    KILLED = "process killed"
    STOPPED = "process stopped"
    BROKER_KILLED = "RabbitMQ killed"
    BROKER_FULL = "RabbitMQ's disk full"
    DATABASE_KILLED = "PostgreSQL killed"
    BACKENDS_ENDED = "backends ended"
    DISK_FULL = "PostgreSQL's disk full"
    CUT = "connections cut"
    SLOW = "connections slow"
    SILENT = "connections silent"
    AGAIN = "messages again"
    CLOCK = "clock wrong"


TARGETS: Mapping[Kind, Sequence[str]] = {
    Kind.KILLED: PROCESSES,
    Kind.STOPPED: PROCESSES,
    Kind.BROKER_KILLED: NO_TARGET,
    Kind.BROKER_FULL: NO_TARGET,
    Kind.DATABASE_KILLED: NO_TARGET,
    Kind.BACKENDS_ENDED: SERVICES,
    Kind.DISK_FULL: NO_TARGET,
    Kind.CUT: tuple(SIDES),
    Kind.SLOW: tuple(SIDES),
    Kind.SILENT: tuple(SIDES),
    Kind.AGAIN: SERVICES,
    Kind.CLOCK: OURS,
}
OF_THE_BROKER = frozenset({Kind.BROKER_KILLED, Kind.BROKER_FULL, Kind.AGAIN})
"""What a stack without a broker (transport `feed`) cannot have."""
LASTING: Mapping[Kind, tuple[float, float]] = {
    Kind.STOPPED: (0.3, 9.0),  # a lease ends after 5 to 8
    Kind.BROKER_FULL: (0.5, 4.0),
    Kind.DISK_FULL: (0.5, 3.0),
    Kind.SLOW: (1.0, 4.0),
    Kind.SILENT: (0.5, 6.0),  # a statement ends after 4, a heartbeat after 12
    Kind.CLOCK: (1.5, 4.0),  # it is noticed within 1
}
"""Seconds, the least and the most. All others are over at once."""
LATER_SECONDS = (0.02, 0.3)
JUMPS = (-86_400.0, -3_700.0, -90.0, 90.0, 3_700.0, 86_400.0)
"""Seconds by which a clock is wrong: more than a token's, a lease's or a key's tolerance, and less."""
SHARES = (0.3, 1.0)
TOGETHER = 0.25
"""The share of faults that begin while another one is felt."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. It begins when so many guests are registered, `after` seconds later, and lasts some seconds.

    `amount`: seconds of a jump or a delay, the share of the backends or the place in the log.
    """

    number: int
    kind: Kind
    target: str
    at: int
    after: float
    lasting: float
    amount: float

    def __str__(self) -> str:
        what = f"{self.kind}: {self.target}" if self.target else str(self.kind)
        return f"{what}, {self.lasting:.1f} s" if self.lasting else what


def schedule(
    seed: int, faults: int, registrations: int, *, broker: bool = True, shortened: float = 1.0
) -> list[Fault]:
    """Make the faults of a run, each kind as often as any other, spread over its registrations.

    The same arguments make the same faults. `shortened`: faults last so much of their usual time, except a
    wrong clock, which is noticed after a second only.
    """
    random = Random(seed)
    kinds = [kind for kind in Kind if broker or kind not in OF_THE_BROKER]
    order = _in_rounds(random, kinds, faults)
    targets = {kind: [t for t in TARGETS[kind] if broker or t != BROKER] for kind in kinds}
    return _spread(random, order, targets, registrations, shortened)


def _in_rounds(random: Random, kinds: Sequence[Kind], faults: int) -> list[Kind]:
    order: list[Kind] = []
    while len(order) < faults:
        order += random.sample(kinds, len(kinds))
    return order[:faults]


def _spread(
    random: Random,
    order: Sequence[Kind],
    targets: Mapping[Kind, Sequence[str]],
    registrations: int,
    shortened: float,
) -> list[Fault]:
    made: list[Fault] = []
    every = registrations / (len(order) + 1)
    left: dict[Kind, list[str]] = {}
    for number, kind in enumerate(order, start=1):
        if not left.get(kind):
            left[kind] = random.sample(targets[kind], len(targets[kind]))
        together = random.random() < TOGETHER and bool(made)
        at = made[-1].at if together else round(every * (number - random.uniform(0.0, 0.5)))
        after = made[-1].after + random.uniform(0.05, 1.5) if together else 0.0
        lasting = random.uniform(*LASTING.get(kind, (0.0, 0.0))) * (1.0 if kind is Kind.CLOCK else shortened)
        made.append(Fault(number, kind, left[kind].pop(), at, after, lasting, _amount(random, kind)))
    return made


def _amount(random: Random, kind: Kind) -> float:
    match kind:
        case Kind.CLOCK:
            return random.choice(JUMPS)
        case Kind.SLOW:
            return random.uniform(*LATER_SECONDS)
        case Kind.BACKENDS_ENDED:
            return random.uniform(*SHARES)
        case Kind.AGAIN:
            return random.random()
        case _:
            return 0.0
