"""Deliveries that end in any order are all acknowledged, each once, as far as possible together."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import cast

import aiormq
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.rabbitmq import Acknowledgements


class Broker:
    """A channel that refuses what RabbitMQ refuses: a number that is not unacknowledged."""

    def __init__(self, deliveries: int, turns_per_write: int) -> None:
        self.unacknowledged = set(range(1, deliveries + 1))
        self.done: set[int] = set()
        self.frames = 0
        self._turns = turns_per_write

    async def basic_ack(self, tag: int, multiple: bool = False, wait: bool = True) -> None:
        for _ in range(self._turns):  # the queue of frames to write is full
            await asyncio.sleep(0)
        assert tag in self.unacknowledged
        acknowledged = {known for known in self.unacknowledged if known <= tag} if multiple else {tag}
        assert acknowledged <= self.done
        self.unacknowledged -= acknowledged
        self.frames += 1


async def _acknowledge(broker: Broker, moments: list[list[int]]) -> None:
    """Let deliveries end, those of one moment together."""
    acknowledgements = Acknowledgements(cast("aiormq.Channel", broker))
    adding = []
    for tags in moments:
        broker.done.update(tags)
        adding += [asyncio.create_task(acknowledgements.add(tag)) for tag in tags]
        await asyncio.sleep(0)
    await asyncio.gather(*adding)


@given(st.permutations(range(1, 13)), st.lists(st.integers(0, 12), max_size=6), st.integers(0, 3))
def test_in_any_order_each_is_acknowledged_once(order: list[int], cuts: list[int], turns: int) -> None:
    broker = Broker(len(order), turns)
    edges = [0, *sorted(cuts), len(order)]
    moments = [order[begin:end] for begin, end in pairwise(edges)]
    asyncio.run(_acknowledge(broker, moments))
    assert broker.unacknowledged == set()


async def test_what_ends_together_is_one_frame() -> None:
    broker = Broker(100, turns_per_write=0)
    await _acknowledge(broker, [list(range(100, 0, -1))])
    assert broker.unacknowledged == set()
    assert broker.frames == 1


async def test_one_that_takes_long_holds_up_no_other() -> None:
    broker = Broker(3, turns_per_write=0)
    await _acknowledge(broker, [[2, 3]])
    assert broker.unacknowledged == {1}
