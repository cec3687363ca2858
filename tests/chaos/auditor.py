"""Compares what was acknowledged with what both logs hold: nothing lost, doubled, split or out of order."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import asyncpg

from tests.chaos.load import Acknowledged
from tests.support.commands import run_command
from tests.support.eventually import eventually
from tests.support.stack import RunningStack

REGISTERED = "registration.guest-registered"
CONFIRMED = "registration.login-account-link-confirmed"
LINKED = "identity.login-account-linked"
ACCOUNT_LINKED = "identity.login-account-guest-linked"
ACTOR_OPENED = "identity.actor-opened"
OTHER = {"registration": "identity", "identity": "registration"}
MESSAGES_OF = {"registration": REGISTERED, "identity": "identity.guest-noted"}
"""The first event of the streams whose events are all published."""
SERVICES = tuple(OTHER)
MOST_SHOWN = 5


class Recorded(NamedTuple):
    """A row of a log."""

    position: int
    stream: UUID
    version: int
    topic: str
    event_id: UUID
    causation_id: UUID | None


class Received(NamedTuple):
    """A row of an inbox: this message had its effect."""

    subject: UUID
    version: int
    event_id: UUID | None


class Link(NamedTuple):
    """A row of the view of links, or of first logins: which actor an account has."""

    account_id: str
    actor_id: UUID


@dataclass(frozen=True, slots=True)
class Evidence:
    """What both databases hold, by service, and what was acknowledged."""

    acknowledged: Sequence[Acknowledged]
    logs: Mapping[str, Sequence[Recorded]]
    inboxes: Mapping[str, Sequence[Received]]
    actors: Sequence[Link]
    left_over: Mapping[str, int] = field(default_factory=dict)
    """Rows that should not be there, by what they are: parked, unreadable, rejected."""
    drifted: Collection[str] = ()
    """Views that are not a fold of their log."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. `what`: lost, doubled, split, order, gap, unlinked, left over, view."""

    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.what}: {self.text}"


def audit(evidence: Evidence) -> list[Finding]:
    """Return all that is wrong."""
    return [
        *_registrations(evidence),
        *_links(evidence),
        *_actors(evidence),
        *(finding for log in evidence.logs.items() for finding in _gaps(*log)),
        *(finding for service in evidence.inboxes for finding in _inbox(evidence, service)),
        *(finding for service in evidence.logs for finding in _order(evidence, service)),
        *(Finding("left over", f"{number} {what}") for what, number in evidence.left_over.items() if number),
        *(Finding("view", f"{view} is not a fold of its log") for view in evidence.drifted),
    ]


def _registrations(evidence: Evidence) -> Iterator[Finding]:
    """Each acknowledged registration is there once, under an id of its own, and no other is."""
    there = _times(evidence.logs["registration"], REGISTERED)
    cards = defaultdict[UUID, set[str]](set)
    for guest in evidence.acknowledged:
        cards[UUID(guest.guest_id)].add(guest.card)
    for guest_id, of_guest in cards.items():
        if not there[guest_id]:
            yield Finding("lost", f"guest {guest_id} was acknowledged and never registered")
        if len(of_guest) > 1:
            yield Finding("lost", f"guest {guest_id} was the answer to several people: {sorted(of_guest)}")
    for guest_id in there:
        if guest_id not in cards:
            yield Finding("doubled", f"guest {guest_id} is registered, and nobody got that answer")
        elif there[guest_id] > 1:
            yield Finding("doubled", f"guest {guest_id} was registered {there[guest_id]} times")


def _links(evidence: Evidence) -> Iterator[Finding]:
    """Each guest was linked once, at both services, to an account that has no other guest."""
    for service, topic in (("identity", LINKED), ("registration", CONFIRMED)):
        there = _times(evidence.logs[service], topic)
        for guest in evidence.acknowledged:
            times = there.pop(UUID(guest.guest_id), 0)
            if times != 1:
                kind = "doubled" if times else "unlinked"
                yield Finding(kind, f"guest {guest.guest_id}: {topic} {times} times")
        for guest_id in there:
            yield Finding("doubled", f"{topic} of {guest_id}, which was not acknowledged")
    for account, times in _times(evidence.logs["identity"], ACCOUNT_LINKED).items():
        if times > 1:
            yield Finding("doubled", f"account {account} was linked {times} times")


def _actors(evidence: Evidence) -> Iterator[Finding]:
    """One person has one actor: in all views and in all answers."""
    actors = defaultdict[str, set[str]](set)
    for link in evidence.actors:
        actors[link.account_id].add(str(link.actor_id))
    for guest in evidence.acknowledged:
        actors[guest.account_id] |= {str(login["actor_id"]) for login in guest.logins}
        if any(login["outcome"] != "recognised" for login in guest.logins):
            yield Finding("split", f"guest {guest.guest_id} was not recognised after the registration")
        if sum(login["first_login"] for login in guest.logins) != bool(guest.logins):
            yield Finding("doubled", f"guest {guest.guest_id}: not exactly one login was the first")
    for account_id, of_account in actors.items():
        if len(of_account) > 1:
            yield Finding("split", f"account {account_id} has the actors {sorted(of_account)}")
    opened = _times(evidence.logs["identity"], ACTOR_OPENED)
    if len(opened) > len(actors):
        yield Finding("split", f"{len(opened)} actors were opened for {len(actors)} accounts")


def _gaps(service: str, log: Sequence[Recorded]) -> Iterator[Finding]:
    """Positions count 1, 2, 3 …, and so do the versions of each stream, in that order."""
    next_version: Counter[UUID] = Counter()
    for expected, recorded in enumerate(sorted(log), start=1):
        if recorded.position != expected:
            yield Finding("gap", f"{service}: position {expected} is missing")
            return
        version = next_version[recorded.stream] or recorded.version
        if recorded.version != version or (version > 1 and not next_version[recorded.stream]):
            yield Finding("gap", f"{service}: stream {recorded.stream} has version {recorded.version} there")
        next_version[recorded.stream] = recorded.version + 1


def _inbox(evidence: Evidence, service: str) -> Iterator[Finding]:
    """What one service published had its effect at the other: each message once, none else."""
    other = OTHER[service]
    streams = _times(evidence.logs[other], MESSAGES_OF[other])
    sent = Counter(
        Received(row.stream, row.version, row.event_id)
        for row in evidence.logs[other]
        if row.stream in streams
    )
    came = Counter(evidence.inboxes[service])
    for message in sent - came:
        yield Finding("lost", f"{service} never applied version {message.version} of {message.subject}")
    for message in came - sent:
        yield Finding("doubled", f"{service} applied {message}, which {other} did not send")


def _order(evidence: Evidence, service: str) -> Iterator[Finding]:
    """The effects of one guest's messages are in the order in which these happened (I8)."""
    causes = {row.event_id: (row.stream, row.version) for row in evidence.logs[OTHER[service]]}
    last: dict[tuple[UUID, UUID], int] = {}
    for row in sorted(evidence.logs[service]):
        if row.causation_id is None or row.causation_id not in causes:
            continue
        subject, version = causes[row.causation_id]
        if version < last.get((row.stream, subject), 0):
            yield Finding("order", f"{service}: at {row.position} guest {subject} went back to {version}")
        last[row.stream, subject] = version


def _times(log: Sequence[Recorded], topic: str) -> Counter[UUID]:
    """How often this happened, by stream."""
    return Counter(row.stream for row in log if row.topic == topic)


# What the auditor is given: the databases of a stack at rest.

LOG = """
SELECT notification_id, originator_id, originator_version, topic, event_id, causation_id FROM stored_events
"""
LEFT_OVER = """
SELECT 'parked guests' AS what, count(*) AS number FROM held_guests
UNION ALL SELECT 'parked messages', count(*) FROM held_messages
UNION ALL SELECT 'unreadable messages', count(*) FROM unreadable_messages
"""


async def gather(stack: RunningStack, acknowledged: Sequence[Acknowledged]) -> Evidence:
    """Read both databases."""
    logs, inboxes, left_over = {}, {}, {}
    actors: list[Link] = []
    for service, url in stack.description["database_urls"].items():
        connection = await asyncpg.connect(url)
        try:
            logs[service] = [Recorded(*row) for row in await connection.fetch(LOG)]
            received = await connection.fetch("SELECT guest_id, stream_version, event_id FROM inbox")
            inboxes[service] = [Received(*row) for row in received]
            for what, number in await connection.fetch(LEFT_OVER):
                left_over[f"{what} at {service}"] = number
            if service == "identity":
                actors = [Link(*row) for row in await connection.fetch(ACTORS)]
        finally:
            await connection.close()
    drifted = [
        service for service in SERVICES if not await asyncio.to_thread(views_are_folds, stack, service)
    ]
    return Evidence(acknowledged, logs, inboxes, actors, left_over, drifted)


ACTORS = """
SELECT account_id, actor_id FROM links WHERE account_id IS NOT NULL
UNION SELECT account_id, actor_id FROM logins
"""


def views_are_folds(stack: RunningStack, service: str) -> bool:
    """Whether every view of a service equals a fresh fold of its log."""
    direct = {f"{service.upper()}_DATABASE_URL": stack.description["database_urls"][service]}
    return (
        run_command(service, "projections", "verify", "all", RUN_DIR=str(stack.run_dir), **direct).code == 0
    )


PROGRESS = """
SELECT (SELECT count(*) FROM stored_events AS event WHERE EXISTS (
           SELECT FROM stored_events AS first
            WHERE first.originator_id = event.originator_id AND first.originator_version = 1
              AND first.topic = $1
       )) AS published,
       (SELECT count(*) FROM inbox) AS applied,
       (SELECT max(notification_id) FROM stored_events) - (SELECT min(position) FROM projections) AS behind
"""


async def settles(stack: RunningStack, within: float) -> bool:
    """Wait until each service has applied what the other one published; return whether that was in time."""

    async def settled() -> bool:
        try:
            of = {service: await _progress(stack, service) for service in SERVICES}
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return all(
            of[OTHER[service]]["published"] == progress["applied"] and not progress["behind"]
            for service, progress in of.items()
        )

    try:
        return await eventually(settled, within=within, every=0.25)
    except AssertionError:
        return False


async def _progress(stack: RunningStack, service: str) -> asyncpg.Record:
    connection = await asyncpg.connect(stack.description["database_urls"][service])
    try:
        [row] = await connection.fetch(PROGRESS, MESSAGES_OF[service])
        return row
    finally:
        await connection.close()


def shown(findings: Sequence[Finding]) -> str:
    """The first of them, and how many there are of each kind."""
    kinds = ", ".join(f"{number} {what}" for what, number in Counter(f.what for f in findings).items())
    lines = "\n".join(f"  {finding}" for finding in findings[:MOST_SHOWN])
    return f"{kinds}\n{lines}" if findings else "nothing"
