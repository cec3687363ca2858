"""What the promise (I5) rests on, taken away: without any one safeguard the interleavings break something.

So no safeguard is superfluous, and the machine of `test_interleavings.py` would see it fail. The argument is
in docs/barrier.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import Phase

from registration.application import answer_identity
from shared.event_log import AggregateStore, InMemoryEventLog, NewEvent, SideRow
from shared.messaging.errors import CannotApply
from shared.messaging.inbox import Inbox, InOrder
from shared.messaging.signing import MessageSources, SigningKeys
from tests.unit.identity.test_interleavings import explore

EXAMPLES, SELDOM_EXAMPLES = 2000, 8000
Patch = pytest.MonkeyPatch


async def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def no_barrier(patch: Patch) -> None:
    """A login decides without applying what registration replied."""
    patch.setattr(Inbox, "apply_now", _nothing)


def a_guess(patch: Patch) -> None:
    """A login decides although registration's reply could not be applied."""
    apply_now = Inbox.apply_now

    async def guess(*arguments: Any) -> None:
        with suppress(CannotApply):
            await apply_now(*arguments)

    patch.setattr(Inbox, "apply_now", guess)


def no_version_check(patch: Patch) -> None:
    """An append comes after whatever is there: what it was decided on may have changed."""
    append = InMemoryEventLog.append

    async def unchecked(
        self: InMemoryEventLog, events: Sequence[NewEvent], side_rows: Sequence[SideRow] = ()
    ) -> int:
        last = {stream: written[-1].stream_version for stream, written in self._streams.items()}
        renumbered = []
        for event in events:
            first = event.stream_version if event.stream_id not in last else last[event.stream_id] + 1
            last[event.stream_id] = first
            renumbered.append(event._replace(stream_version=first))
        return await append(self, renumbered, side_rows)

    patch.setattr(InMemoryEventLog, "append", unchecked)


def _in_two(patch: Patch, *, row_first: bool) -> None:
    save = AggregateStore.save

    async def in_two(self: AggregateStore, *aggregates: Any, metadata: Any, side_rows: Any = ()) -> int:
        claims = [row for row in side_rows if row.table == "inbox"]
        others = [row for row in side_rows if row.table != "inbox"]
        if row_first and claims:
            await self.log.append([], claims)
        position = await save(self, *aggregates, metadata=metadata, side_rows=others)
        if not row_first and claims:
            await self.log.append([], claims)
        return position

    patch.setattr(AggregateStore, "save", in_two)


def link_before_the_inbox_row(patch: Patch) -> None:
    """The effect is written in one transaction, the inbox row in a second one."""
    _in_two(patch, row_first=False)


def inbox_row_before_the_link(patch: Patch) -> None:
    """The inbox row is written in one transaction, the effect in a second one."""
    _in_two(patch, row_first=True)


def no_unique_inbox_row(patch: Patch) -> None:
    """Two processes may write the inbox row of one message."""
    violated = InMemoryEventLog._violated_key

    def blind(self: InMemoryEventLog, row: SideRow, accepted: Sequence[SideRow]) -> str | None:
        return None if row.table == "inbox" else violated(self, row, accepted)

    patch.setattr(InMemoryEventLog, "_violated_key", blind)


def no_signature(patch: Patch) -> None:
    """Nobody looks at the signature of a message."""
    patch.setattr(SigningKeys, "verify", lambda *_: None)


def any_source(patch: Patch) -> None:
    """A message of another log is as good as one of the followed log."""
    patch.setattr(MessageSources, "require", _nothing)


def no_alias_wait(patch: Patch) -> None:
    """Registration says who is a guest while its index does not have all references yet."""
    patch.setattr(answer_identity, "_require_references", _nothing)


def no_gap_filling(patch: Patch) -> None:
    """A message is applied although the one before it did not come."""

    async def as_it_came(_: InOrder, __: Any, ___: int, fresh: Any) -> Any:
        return fresh

    patch.setattr(InOrder, "_fill_gaps", as_it_came)


SPLIT = "I5 is broken"
FORGERY = "the other service never wrote it"
SAFEGUARDS = {
    no_barrier: SPLIT,
    no_version_check: r"\(I\d",
    link_before_the_inbox_row: r"no reply \(I2\)|answered twice \(I8\)",
    no_signature: FORGERY,
    any_source: FORGERY,
    no_alias_wait: SPLIT,
    no_gap_filling: r"order \(I8\)",
}
"""What is taken away, and what is broken then: not just anything."""
SELDOM = dict.fromkeys([a_guess, inbox_row_before_the_link, no_unique_inbox_row], r"\(I\d")
"""What breaks in one run of a thousand: `make barrier` tries these too."""
SEEDS: Mapping[Callable[[Patch], None], int] = {no_alias_wait: 12}
"""With which it breaks soon; with any other it does, too, and may take longer."""
TRIED = SAFEGUARDS | (SELDOM if "BARRIER_EXAMPLES" in os.environ else {})


@pytest.mark.parametrize(
    ("without", "broken"), TRIED.items(), ids=[str(without.__name__) for without in TRIED]
)
def test_without_this_safeguard_something_breaks(
    without: Callable[[Patch], None], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch)
    with pytest.raises(AssertionError, match=broken):
        explore(
            SELDOM_EXAMPLES if without in SELDOM else EXAMPLES,
            SEEDS.get(without, 1),
            phases=[Phase.generate],
            report_multiple_bugs=False,
            database=None,
        )
