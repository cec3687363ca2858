"""The promise (I5) and all that it rests on, for every order in which things can happen: docs/barrier.md.

The real use cases and inboxes of both services. At every read, write, statement and question the machine
chooses who goes on, what arrives, what fails and who is killed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from functools import partial
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.support.one_person import FORGED, HOME, OLD, PEOPLE, OnePerson

people = st.sampled_from([PEOPLE[0], *PEOPLE])
services = st.sampled_from(["identity", "registration"])
guests = st.integers(0, 3)
accounts = st.sampled_from(["own", "own", "other", "new"])
accounts_or_none = st.sampled_from(["none", "own", "own", "other", "new"])
logins = st.sampled_from(["jan", "jan", "jan", "kind", "new-jan"])
at_home = st.sampled_from([HOME, OLD])


class Interleavings(RuleBasedStateMachine):
    """Starts what can happen, and lets it go on in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self.world = OnePerson()

    def _now(self, work: Coroutine[Any, Any, None]) -> None:
        self._runner.run(work)

    def _start(self, name: str, *arguments: Any, **named: Any) -> None:
        self._now(self.world.interleaver.start(partial(getattr(self.world, name), *arguments, **named)))

    @initialize(registered=st.lists(st.tuples(people, at_home, accounts_or_none), max_size=3))
    def begin(self, registered: list[tuple[str, str, str]]) -> None:
        """Some people are guests already; identity has not heard of them."""
        for person, isil, choice in registered:
            self.register(person, isil, choice)
            self.all_end()

    @rule(choices=st.lists(st.integers(0, 5), min_size=1, max_size=25))
    def go_on(self, choices: list[int]) -> None:
        """So many times one of the paused pieces goes on to its next pause."""
        self._now(self._go_on(choices))

    async def _go_on(self, choices: list[int]) -> None:
        for number in choices:
            if not await self.world.interleaver.go_on(number):
                return

    @rule(number=st.integers(0, 5))
    def lose_a_reply(self, number: int) -> None:
        """A question gets no reply, perhaps after it had its effect."""
        self._now(self.world.interleaver.fail(number))

    @rule(number=st.integers(0, 5))
    def crash(self, number: int) -> None:
        self._now(self.world.interleaver.crash(number))

    @rule()
    def all_end(self) -> None:
        """Everything that runs comes to its end."""
        self._now(self._go_on([0] * 1000))

    @rule(person=people, isil=at_home, choice=accounts_or_none)
    def register(self, person: str, isil: str, choice: str) -> None:
        self._start("register", person, isil, choice)

    @rule(guest=guests, choice=accounts)
    def request_link(self, guest: int, choice: str) -> None:
        self._start("request_link", guest, choice)

    @rule(person=people)
    def replace_card(self, person: str) -> None:
        self._start("replace_card", person)

    @rule(
        guest=guests,
        what=st.sampled_from(["check", "expire", "unlink", "deregister", "merge_actors", "erase"]),
    )
    def change(self, guest: int, what: str) -> None:
        self._start(what, guest)

    @rule(guest=guests, choice=accounts_or_none)
    def reregister(self, guest: int, choice: str) -> None:
        self._start("reregister", guest, choice)

    @rule(guest=guests)
    def merge_guests(self, guest: int) -> None:
        self._start("merge_guests", guest)

    @rule(name=logins)
    def log_in(self, name: str) -> None:
        self._start("log_in", name)

    @rule(to=services, number=st.integers(0, 12))
    def deliver(self, to: str, number: int) -> None:
        self._start("deliver", to, number)

    @rule(to=services, what=st.sampled_from(["poll", "retry_waiting"]))
    def catch_up(self, to: str, what: str) -> None:
        self._start(what, to)

    @rule(guest=guests, kind=st.sampled_from(FORGED), signed=st.booleans())
    def forge(self, guest: int, kind: str, signed: bool) -> None:
        self._start("forge", guest, kind, signed=signed)

    @rule(process=st.sampled_from(["counter", "answers", "worker"]))
    def read_aliases(self, process: str) -> None:
        self._start("read_aliases", process)

    @rule()
    def follow_aliases(self) -> None:
        self._start("follow_aliases")

    def teardown(self) -> None:
        try:
            self._now(self.world.finish())
            self._now(self.world.check_in_the_end())
        finally:
            self.world.interleaver.pause_no_more()
            self._runner.close()


EXAMPLES = int(os.environ.get("BARRIER_EXAMPLES", "150"))
"""`BARRIER_EXAMPLES=20000 make barrier` looks for longer."""


def explore(examples: int, begin_with: int | None = None, **more: Any) -> None:
    """Let the machine try so many runs. Raises what the first one that breaks something raised.

    `begin_with`: a seed, for the same runs each time.
    """
    machine: Any = partial(Interleavings)
    run_state_machine_as_test(
        machine if begin_with is None else seed(begin_with)(machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )


def test_i5_no_interleaving_splits_a_registered_person() -> None:
    explore(EXAMPLES)
