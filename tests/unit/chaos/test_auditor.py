"""The auditor finds what must not be: a right history is changed in one way, and that is what it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.chaos.auditor import (
    ACCOUNT_LINKED,
    ACTOR_OPENED,
    CONFIRMED,
    LINKED,
    REGISTERED,
    Evidence,
    Link,
    Received,
    Recorded,
    audit,
)
from tests.chaos.load import Acknowledged

Log = list[Recorded]
GUESTS = 3


class History:
    """Both services with some guests who were registered, linked and confirmed. Nothing is wrong with it."""

    def __init__(self) -> None:
        self.logs: dict[str, Log] = {"registration": [], "identity": []}
        self.acknowledged: list[Acknowledged] = []
        self.actors: list[Link] = []
        for number in range(GUESTS):
            self._guest(f"099100000{number}")

    def _guest(self, card: str) -> None:
        guest, account, actor = uuid4(), uuid4(), uuid4()
        registered = self.happens("registration", guest, 1, REGISTERED)
        self.happens("identity", account, 1, "identity.login-account-opened", registered)
        self.happens("identity", actor, 1, ACTOR_OPENED, registered)
        self.happens("identity", guest, 1, "identity.guest-noted", registered)
        linked = self.happens("identity", guest, 2, LINKED, registered)
        self.happens("identity", account, 2, ACCOUNT_LINKED, registered)
        confirmed = self.happens("registration", guest, 2, CONFIRMED, linked)
        self.happens("identity", guest, 3, "identity.guest-standing-changed", confirmed)
        logins = tuple(
            {"outcome": "recognised", "actor_id": str(actor), "first_login": first} for first in (True, False)
        )
        self.acknowledged.append(Acknowledged(card, "key", str(guest), logins))
        self.actors.append(Link(f"acc-{card}", actor))

    def happens(
        self, service: str, stream: UUID, version: int, topic: str, cause: Recorded | None = None
    ) -> Recorded:
        log = self.logs[service]
        log.append(
            Recorded(len(log) + 1, stream, version, topic, uuid4(), None if cause is None else cause.event_id)
        )
        return log[-1]

    @property
    def guest(self) -> UUID:
        return UUID(self.acknowledged[1].guest_id)

    def row(self, service: str, topic: str, stream: UUID | None = None) -> int:
        """The place of the second guest's event in a log."""
        return next(
            place
            for place, row in enumerate(self.logs[service])
            if row.topic == topic and row.stream == (stream or self.guest)
        )

    def evidence(self) -> Evidence:
        registered = {row.stream for row in self.logs["registration"]}
        noted = {row.stream for row in self.logs["identity"] if row.topic == "identity.guest-noted"}
        published = {"registration": registered, "identity": noted}
        inboxes = {
            receiver: [
                Received(row.stream, row.version, row.event_id)
                for row in self.logs[sender]
                if row.stream in published[sender]
            ]
            for receiver, sender in (("registration", "identity"), ("identity", "registration"))
        }
        return Evidence(self.acknowledged, self.logs, inboxes, self.actors)


def test_a_right_history_has_no_findings() -> None:
    assert audit(History().evidence()) == []


def renumbered(log: Log) -> Log:
    """The same rows without a gap in their positions."""
    return [row._replace(position=position) for position, row in zip(count(1), log, strict=False)]


def the_registration_is_gone(history: History) -> None:
    log = history.logs["registration"]
    history.logs["registration"] = renumbered([row for row in log if row.stream != history.guest])


def two_people_got_the_same_answer(history: History) -> None:
    history.acknowledged[0] = replace(history.acknowledged[0], guest_id=str(history.guest))


def a_guest_of_whom_nobody_heard(history: History) -> None:
    history.happens("registration", uuid4(), 1, REGISTERED)


def registered_twice(history: History) -> None:
    history.happens("registration", history.guest, 3, REGISTERED)


def linked_twice(history: History) -> None:
    history.happens("identity", history.guest, 4, LINKED)


def the_account_linked_twice(history: History) -> None:
    account = next(row.stream for row in history.logs["identity"] if row.topic == ACCOUNT_LINKED)
    history.happens("identity", account, 3, ACCOUNT_LINKED)


def the_link_is_gone(history: History) -> None:
    place = history.row("identity", LINKED)
    row = history.logs["identity"][place]
    history.logs["identity"][place] = row._replace(topic="identity.login-account-link-refused")


def the_confirmation_is_gone(history: History) -> None:
    place = history.row("registration", CONFIRMED)
    row = history.logs["registration"][place]
    history.logs["registration"][place] = row._replace(topic="registration.term-confirmed")


def the_view_has_another_actor(history: History) -> None:
    history.actors.append(Link(history.actors[1].account_id, uuid4()))


def a_login_was_answered_with_another_actor(history: History) -> None:
    guest = history.acknowledged[1]
    history.acknowledged[1] = replace(guest, logins=({**guest.logins[0], "actor_id": str(uuid4())},))


def an_actor_too_many_was_opened(history: History) -> None:
    history.happens("identity", uuid4(), 1, ACTOR_OPENED)


def the_guest_was_not_recognised(history: History) -> None:
    changed: dict[str, Any] = {"outcome": "unknown"}
    guest = history.acknowledged[1]
    history.acknowledged[1] = replace(guest, logins=({**guest.logins[0], **changed},))


def both_logins_were_the_first(history: History) -> None:
    guest = history.acknowledged[1]
    history.acknowledged[1] = replace(guest, logins=(guest.logins[0], guest.logins[0]))


def a_position_is_missing(history: History) -> None:
    log = history.logs["identity"]
    history.logs["identity"] = [
        row._replace(position=row.position + 1) if row.position > 7 else row for row in log
    ]


def a_version_is_missing(history: History) -> None:
    place = history.row("identity", "identity.guest-standing-changed")
    row = history.logs["identity"][place]
    history.logs["identity"][place] = row._replace(version=4)


def the_effects_are_in_the_wrong_order(history: History) -> None:
    first, second = (
        history.row("identity", topic)
        for topic in ("identity.guest-noted", "identity.guest-standing-changed")
    )
    log = history.logs["identity"]
    log[first], log[second] = (
        log[first]._replace(causation_id=log[second].causation_id),
        log[second]._replace(causation_id=log[first].causation_id),
    )


CHANGES: dict[Callable[[History], None], set[str]] = {
    the_registration_is_gone: {"lost", "unlinked"},
    two_people_got_the_same_answer: {"lost", "doubled"},  # the other guest is then nobody's
    a_guest_of_whom_nobody_heard: {"doubled"},
    registered_twice: {"doubled"},
    linked_twice: {"doubled"},
    the_account_linked_twice: {"doubled"},
    the_link_is_gone: {"unlinked"},
    the_confirmation_is_gone: {"unlinked"},
    the_view_has_another_actor: {"split"},
    a_login_was_answered_with_another_actor: {"split"},
    an_actor_too_many_was_opened: {"split"},
    the_guest_was_not_recognised: {"split"},
    both_logins_were_the_first: {"doubled"},
    a_position_is_missing: {"gap"},
    a_version_is_missing: {"gap"},
    the_effects_are_in_the_wrong_order: {"order"},
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_must_not_be_is_named(change: Callable[[History], None]) -> None:
    history = History()
    change(history)
    found = audit(history.evidence())
    assert CHANGES[change] <= {finding.what for finding in found}, found


def test_a_message_that_had_no_effect_is_lost_and_one_that_was_never_sent_is_doubled() -> None:
    evidence = History().evidence()
    applied = list(evidence.inboxes["identity"])
    lost = audit(replace(evidence, inboxes={**evidence.inboxes, "identity": applied[:-1]}))
    assert [finding.what for finding in lost] == ["lost"]
    again = [*applied, Received(applied[0].subject, 9, uuid4())]
    doubled = audit(replace(evidence, inboxes={**evidence.inboxes, "identity": again}))
    assert [finding.what for finding in doubled] == ["doubled"]


def test_what_is_left_over_and_a_view_that_drifted_are_named() -> None:
    evidence = replace(History().evidence(), left_over={"parked guests": 2, "rejected": 0}, drifted=["links"])
    assert [str(finding) for finding in audit(evidence)] == [
        "left over: 2 parked guests",
        "view: links is not a fold of its log",
    ]
