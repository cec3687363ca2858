"""Two people, two libraries that may merge, and one catalogue: all that can happen, and what must be true.

`Known` is what registration committed of a guest. Methods `check_…` are the invariants of docs/barrier.md:
one for each step, the other for when all is delivered.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from identity.api.problems import PROBLEM_TYPES as LOGIN_PROBLEMS
from identity.application.dependencies import AccountDetails
from identity.application.dependencies import Context as LoginContext
from identity.application.log_in import LoggedIn, LogIn, log_in
from identity.domain.actor import Actor
from identity.domain.errors import AccountNotFound, LinkRequired
from identity.domain.guest_link import GuestLink, Linked, Refused
from identity.domain.login_account import LoginAccount, login_account_stream
from registration.api.problems import PROBLEM_TYPES as COUNTER_PROBLEMS
from registration.application.check_term import check_term
from registration.application.deregister_guest import deregister_guest
from registration.application.erase_guest import erase_personal_data
from registration.application.follow_aliases import complete_references, is_behind
from registration.application.link_login_account import (
    merge_login_actors,
    request_account_link,
    unlink_login_account,
)
from registration.application.merge_guests import MergeGuests, merge_guests
from registration.application.register_guest import register_guest
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.domain.guest import Guest
from registration.domain.login_link import (
    ExistingAccount,
    LinkState,
    LoginAccountChoice,
    NewLoginAccount,
    NoAccount,
)
from registration.domain.verdict import PatronDetails, Valid
from shared.event_log import Metadata
from shared.kernel.library_card import isil_base, person_ref
from shared.messaging.envelope import Message
from shared.messaging.errors import NotAuthentic
from shared.messaging.feed import to_messages
from shared.web.problem_handlers import SHARED_PROBLEM_TYPES
from shared.web.problems import ProblemTypes
from tests.support.both_in_memory import BothInMemory, Side, both_in_memory
from tests.support.eventually import Interleaver
from tests.support.registration import CANCELLED, PERSON_REF_KEY, registering

ORGANISATION = "1001"
HOME, OLD = "NL-070288", "NL-083424"
"""Two libraries. The second merges into the first, perhaps."""
MERGER = {isil_base(OLD): isil_base(HOME)}
CARDS = {"jan": "0990139305", "kind": "0990139313"}
NEW_CARDS = {"jan": "0990200000", "kind": "0990200018"}
"""With which their home library replaces the cards, perhaps."""
DETAILS = {
    "jan": PatronDetails("J. Jansen", date(1980, 2, 3), "Brink 1, Groningen", "jan@example.org"),
    "kind": PatronDetails("K. Jansen", date(2015, 6, 7), "Brink 1, Groningen", "jan@example.org"),
}
PEOPLE = tuple(CARDS)
ACCOUNTS = [AccountDetails(f"acc-{name}", name, f"{name}@example.org", HOME, CARDS[name]) for name in PEOPLE]
ANSWERS = ("login-account-linked.v1", "login-account-linked-too-late.v1", "login-account-link-refused.v1")
FIRST_LOGIN = "identity.login-account-first-login-recorded"
FORGED = ("guest-deregistered.v1", "login-account-unlinked.v1", "personal-data-erased.v1")


@dataclass
class Known:
    """A guest as registration committed it. `asked`: the last account that was asked for and not taken back.

    `changes` counts what took a registration or a request back. `numbers`: of the person's cards.
    """

    guest_id: UUID
    person: str
    isil_base: str
    live: bool = False
    erased: bool = False
    merged: bool = False
    asked: str | None = None
    ever_asked: list[str] = field(default_factory=list)
    requests: list[UUID] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)
    let_go: int = 0
    released: int = 0


@dataclass
class Login:
    """A login that began.

    `promised`: the guests because of whom it must not make an actor, with `let_go` and `released` of then.
    `linked_surely`: the guest whose link nothing can have refused, with `released` of then. `card`: the
    person's card of then.
    """

    account_id: str
    card: str | None
    promised: Mapping[UUID, tuple[int, int]]
    linked_surely: tuple[UUID, int] | None


@dataclass
class OnePerson:
    """One run of both services, what was committed, and what each login was answered."""

    guests: dict[UUID, Known] = field(default_factory=dict)
    wire: dict[str, list[tuple[bytes, Mapping[str, str]]]] = field(default_factory=dict)
    answers: list[tuple[str, LoggedIn]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.interleaver = Interleaver(self.check_each_step)
        self.both: BothInMemory = both_in_memory(self.interleaver.pause, ACCOUNTS)
        self.registration, self.identity = self.both.registration, self.both.identity
        self.context = self.registration.context(ORGANISATION)
        self.wire = {name: [] for name in self.both.sides}
        self._logins: dict[UUID, Login] = {}
        self._published = dict.fromkeys(self.both.sides, 0)
        self._read = dict.fromkeys(self.both.sides, 0)
        self._applied = dict.fromkeys(self.both.sides, 0)
        self._event_ids: dict[tuple[str, UUID, int], UUID] = {}
        self._replies: Tally[UUID] = Tally()
        self._cards = dict(CARDS)
        self._people = {
            person_ref(PERSON_REF_KEY, isil_base(isil), cards[person]): (
                person,
                isil_base(isil),
                cards[person],
            )
            for person in PEOPLE
            for cards in (CARDS, NEW_CARDS)
            for isil in (HOME, OLD)
        }
        for person in PEOPLE:
            self._home_says(person, valid=True)

    # What can happen at the counter

    async def register(self, person: str, isil: str, choice: str) -> None:
        command = registering(self._cards[person], self._choice(person, choice), home_isil=isil)
        await self._counter(register_guest(command, self.context, self.both.deps_of("counter")))

    async def request_link(self, guest: int, choice: str) -> None:
        if known := self._guest(guest):
            account = self._choice(known.person, choice)
            await self._counter(
                request_account_link(known.guest_id, account, self.context, self.both.deps_of("counter"))
            )

    async def reregister(self, guest: int, choice: str) -> None:
        if known := self._guest(guest):
            self._home_says(known.person, valid=True)
            account = None if choice == "none" else self._choice(known.person, choice)
            command = ReregisterGuest(known.guest_id, "04", account)
            await self._counter(reregister_guest(command, self.context, self.both.deps_of("counter")))

    async def expire(self, guest: int) -> None:
        if known := self._guest(guest):
            self._home_says(known.person, valid=False)
            await self._counter(check_term(known.guest_id, self.context, self.both.deps_of("counter")))
            self._home_says(known.person, valid=True)

    async def replace_card(self, person: str) -> None:
        """The home library replaces the card, and the directory lists the account with the new one (R24)."""
        number = self._cards[person] = NEW_CARDS[person]
        self._home_says(person, valid=True)
        listed = self.identity.directory.accounts
        listed[:] = [
            replace(account, home_card_number=number) if account.username == person else account
            for account in listed
        ]

    async def check(self, guest: int) -> None:
        """The guest is opened, and home is asked."""
        if known := self._guest(guest):
            await self._counter(check_term(known.guest_id, self.context, self.both.deps_of("counter")))

    async def unlink(self, guest: int) -> None:
        if known := self._guest(guest):
            await self._counter(
                unlink_login_account(known.guest_id, "r", self.context, self.both.deps_of("counter"))
            )

    async def deregister(self, guest: int) -> None:
        if known := self._guest(guest):
            await self._counter(
                deregister_guest(known.guest_id, "r", self.context, self.both.deps_of("counter"))
            )

    async def merge_guests(self, guest: int) -> None:
        """A guest becomes a merged record of another record of the same person."""
        one = self._guest(guest)
        others = [known for known in self.guests.values() if one and known.person == one.person]
        if one and (other := next((known for known in others if known is not one), None)):
            command = MergeGuests(one.guest_id, other.guest_id)
            await self._counter(merge_guests(command, self.context, self.both.deps_of("counter")))

    async def merge_actors(self, guest: int) -> None:
        if known := self._guest(guest):
            await self._counter(
                merge_login_actors(known.guest_id, "r", self.context, self.both.deps_of("counter"))
            )

    async def erase(self, guest: int) -> None:
        if known := self._guest(guest):
            await self._counter(
                erase_personal_data(known.guest_id, self.context.metadata, self.both.deps_of("counter"))
            )

    async def _counter(self, command: Awaitable[object]) -> None:
        clock = self.registration.clock
        clock.moment += timedelta(seconds=1)
        try:
            await command
        except Exception as error:
            documented(error, COUNTER_PROBLEMS)

    # What can happen between the services, and to them

    async def deliver(self, to: str, number: int) -> None:
        """A message arrives that was published at some time: again, late, or before an earlier one."""
        sent = self.wire["registration" if to == "identity" else "identity"]
        if sent:
            await self._arrives(self.both.sides[to], *sent[number % len(sent)])

    async def poll(self, to: str) -> None:
        """The feed poller brings what it did not read yet."""
        side = self.both.sides[to]
        with suppress(Exception):
            await self._poll(side)

    async def _poll(self, side: Side) -> int:
        page = await side.others_feed.after(self._read[side.name], limit=500, wait=0)
        for message in page.messages:
            await side.worker.receive(message)
        new = page.position - self._read[side.name]
        self._read[side.name] = max(page.position, self._read[side.name])
        return new

    async def retry_waiting(self, at: str) -> None:
        await self.both.sides[at].worker.retry_waiting()

    async def forge(self, guest: int, kind: str, *, signed: bool) -> None:
        """Somebody at the broker invents the next message of a guest.

        Unsigned it claims to be of registration. Signed it is a real one, but of another log: of a copy.
        """
        if known := self._guest(guest):
            side = self.both.sides["registration"]
            version = len(self.both.sides["identity"].tables.versions(known.guest_id)) + 1
            source = f"/registration/{uuid4() if signed else side.log.log_id}"
            at = datetime.fromisoformat("2025-09-11T12:00:00+00:00")
            body = Message(
                uuid4(), source, kind, known.guest_id, at, version, 1, uuid4(), None, {"reason": "mistake"}
            ).to_json()
            headers = side.keys.sign(body if signed else b"another message")
            await self._arrives(self.both.sides["identity"], body, headers)

    async def _arrives(self, side: Side, body: bytes, headers: Mapping[str, str]) -> None:
        """What a consumer of the broker does with a delivery (ADR 0020)."""
        other = "registration" if side.name == "identity" else "identity"
        with suppress(NotAuthentic):
            self.both.sides[other].keys.verify(body, headers)
            await side.worker.receive(Message.from_json(body))

    async def read_aliases(self, process: str) -> None:
        """A process of registration reads that the two libraries merged (I10)."""
        self.both.aliases[process].update(MERGER)

    async def follow_aliases(self) -> None:
        """The worker of registration follows its alias table (ADR 0023)."""
        deps = self.both.deps_of("worker")
        aliases = dict(deps.isil_aliases)
        if aliases:
            await deps.registrations.follow(aliases)
            if is_behind(await deps.registrations.state(), aliases):
                await complete_references(aliases, deps)

    # The login

    async def log_in(self, name: str) -> LoggedIn | None:
        """A login at the catalogue. `new-jan`: with the last account that was asked to be opened for Jan."""
        account_id = self._account_id(name)
        if account_id is None:
            return None
        correlation_id = uuid4()
        login = self._logins[correlation_id] = Login(
            account_id,
            self._cards.get(account_id.removeprefix("acc-")),
            self._promised(account_id),
            self._surely_linked(name, account_id),
        )
        command = LogIn(account_id, ORGANISATION)
        context = LoginContext(Metadata("wisecat", correlation_id))
        apply_now = self.both.sides["identity"].at_login.apply_now
        try:
            answer = await log_in(command, context, self.identity.deps, apply_now)
        except Exception as error:
            self._check_refusal(error, login)
            return None
        if answer.new_actor:
            self._require_unpromised(login)
        self.answers.append((account_id, answer))
        return answer

    def _check_refusal(self, error: Exception, login: Login) -> None:
        documented(error, LOGIN_PROBLEMS)
        exists = login.account_id in {account.account_id for account in ACCOUNTS}
        assert not (exists and isinstance(error, AccountNotFound)), "the account exists (I4)"
        if isinstance(error, LinkRequired) and login.linked_surely is not None:
            guest_id, released = login.linked_surely
            assert self.guests[guest_id].released != released, "the account is the guest's own (I4, I5)"

    def _account_id(self, name: str) -> str | None:
        if name in PEOPLE:
            return f"acc-{name}"
        asked = [
            account_id
            for known in self.guests.values()
            if known.person == name.removeprefix("new-")
            for account_id in known.ever_asked
            if account_id not in {f"acc-{person}" for person in PEOPLE}
        ]
        return asked[-1] if asked else None

    def _promised(self, account_id: str) -> Mapping[UUID, tuple[int, int]]:
        """The guests of this person or for this account that were committed by now (I5)."""
        person = account_id.removeprefix("acc-")
        merged = self.both.aliases["answers"] or self.both.index.follows_an_alias
        homes = {isil_base(HOME), isil_base(OLD)} if merged else {isil_base(HOME)}
        return {
            known.guest_id: (known.let_go, known.released)
            for known in self.guests.values()
            if known.live
            and (known.asked == account_id or (known.person == person and known.isil_base in homes))
            and (known.asked == account_id or self._cards[person] in known.numbers)
        }

    def _require_unpromised(self, login: Login) -> None:
        person = login.account_id.removeprefix("acc-")
        for guest_id, (let_go, released) in login.promised.items():
            known = self.guests[guest_id]
            by_person = known.person == person and known.let_go == let_go
            # A card that was replaced in the middle of the login is the next login's.
            by_person &= login.card == self._cards.get(person) and login.card in known.numbers
            by_account = known.released == released and known.asked == login.account_id
            assert not by_person, "I5 is broken: a person who is registered is split"
            assert not by_account, "I5 is broken: an account that was asked for is split"

    def _surely_linked(self, name: str, account_id: str) -> tuple[UUID, int] | None:
        """The guest of this person who asks for this account, if nothing can have refused that."""
        others = [known for known in self.guests.values() if known.person != name or known.merged]
        own = [known for known in self.guests.values() if known.person == name and not known.merged]
        if any(account_id in known.ever_asked for known in others) or len(own) != 1:
            return None
        if own[0].isil_base != isil_base(HOME) or own[0].asked != account_id or name not in PEOPLE:
            return None
        return own[0].guest_id, own[0].released

    # What is true after each step

    async def check_each_step(self) -> None:
        """Exactly once, in order, only what the other service wrote; and nobody was split, told or not."""
        for side in self.both.sides.values():
            await self._publish(side)
        for name, side in self.both.sides.items():
            self._check_inbox(name, side)

    async def _publish(self, side: Side) -> None:
        """The relay publishes what was committed since."""
        if len(side.log._events) == self._published[side.name]:
            return
        recorded = await side.log.read(self._published[side.name], 1000)
        self._published[side.name] += len(recorded)
        for event, message in zip(recorded, to_messages(recorded, side.to_message), strict=True):
            if message is not None:
                body = message.to_json()
                self.wire[side.name].append((body, side.keys.sign(body)))
                self._event_ids[side.name, message.subject, message.stream_version] = message.id
                self._note(side.name, message)
            if event.event_type == FIRST_LOGIN and (login := self._logins.get(event.metadata.correlation_id)):
                first: Any = self.identity.store.event(event)
                if first.new_actor:
                    self._require_unpromised(login)

    def _note(self, service: str, message: Message) -> None:
        if service == "registration":
            self._committed(message)
        elif message.type in ANSWERS and message.causation_id is not None:
            self._replies[message.causation_id] += 1
            assert self._replies[message.causation_id] == 1, "a request was answered twice (I8)"

    def _committed(self, message: Message) -> None:
        if message.type == "guest-registered.v1" and message.subject not in self.guests:
            person, base, _ = self._people[message.data["person_ref"]]
            self.guests[message.subject] = Known(message.subject, person, base)
        known = self.guests[message.subject]
        if ref := message.data.get("person_ref"):
            known.numbers.add(self._people[ref][2])
        asked = (message.data.get("login_account") or {}).get("account_id")
        if message.type == "guest-registered.v1":
            known.live = True
            known.released += known.asked != asked
            known.asked = None
        if asked is not None:
            known.released += known.asked not in {None, asked}
            known.asked = asked
            known.ever_asked.append(asked)
            known.requests.append(message.id)
        if message.type in {"guest-deregistered.v1", "guests-merged.v1", "personal-data-erased.v1"}:
            known.live = False
            known.let_go += 1
        if message.type == "login-account-unlinked.v1" or not known.live:
            known.released += 1
            known.asked = None
        known.merged |= message.type == "guests-merged.v1"
        known.erased |= message.type == "personal-data-erased.v1"

    def _check_inbox(self, name: str, side: Side) -> None:
        other = "registration" if name == "identity" else "identity"
        rows = side.tables.inbox
        for row in rows[self._applied[name] :]:
            guest_id, version = row["guest_id"], row["stream_version"]
            assert side.tables.versions(guest_id)[-1] == len(side.tables.versions(guest_id)), "order (I8)"
            assert self._event_ids.get((other, guest_id, version)) == row["event_id"], (
                "it was applied, but the other service never wrote it (ADR 0020)"
            )
        self._applied[name] = len(rows)

    # What is true when all is delivered

    async def finish(self) -> None:
        """Everything that was broken works again, and everything is delivered."""
        await self.interleaver.be_calm()
        if any(self.both.aliases.values()):
            for process in self.both.aliases:
                await self.read_aliases(process)
            await self.follow_aliases()
        for _ in range(20):
            new = 0
            for side in self.both.sides.values():
                new += await self._poll(side) + await side.worker.retry_waiting()
            await self.check_each_step()
            if not new:
                break

    async def check_in_the_end(self) -> None:
        for side in self.both.sides.values():
            assert not side.tables.held_guests, f"{side.name}: nobody waits for anything (I8)"
        self._check_all_was_applied()
        for known in self.guests.values():
            if known.erased:
                await self._check_nothing_is_left(known)
            else:
                await self._check_both_say_the_same(known)
                assert all(self._replies[request] == 1 for request in known.requests), "no reply (I2)"
        for person in PEOPLE:
            await self._check_last_login(person)
        await self._check_accounts()
        await self._check_one_actor_each()

    def _check_all_was_applied(self) -> None:
        sent = Tally((service, subject) for service, subject, _ in self._event_ids)
        for (service, subject), count in sent.items():
            to = self.both.sides["identity" if service == "registration" else "registration"]
            assert to.tables.versions(subject) == list(range(1, count + 1)), "lost (I8)"

    async def _check_both_say_the_same(self, known: Known) -> None:
        """What became of the link is known at the counter, also that it came too late (I2, I6)."""
        link = await self.identity.store.load(GuestLink, known.guest_id)
        counter = (await self.registration.deps.store.load(Guest, known.guest_id)).state.link
        told: tuple[LinkState, str | None]
        match link.answer:
            case Linked(account_id, _, too_late):
                told = LinkState.TOO_LATE if too_late else LinkState.LINKED, account_id
            case Refused(account_id):
                told = LinkState.REFUSED, account_id
            case _:
                told = LinkState.NONE, None
        assert (counter.state, counter.account_id) == told, "the counter was told otherwise (I2, I6)"
        assert counter.account_id == known.asked, "what was answered was not asked for (I2)"

    async def _check_accounts(self) -> None:
        """Link and account say the same of each other (I3), with one guest at an organisation."""
        links, accounts = set(), set()
        for known in self.guests.values():
            link = await self.identity.store.find(GuestLink, known.guest_id)
            if link is not None and isinstance(link.answer, Linked):
                links.add((link.answer.account_id, known.guest_id, link.answer.actor_id, link.guest_status))
        for row in self.identity.log.rows("usernames"):
            account = await self.identity.store.load(LoginAccount, row["subject_id"])
            assert len(account.guests) <= 1, "two guests at an organisation (I3)"
            own_actor = account.own_actor_at(ORGANISATION)
            is_split = own_actor not in {None, account.actor_id}
            assert all(guest.too_late == is_split for guest in account.guests.values()), "not told (I6)"
            for guest in account.guests.values():
                accounts.add((account.account_id, guest.guest_id, guest.actor_id, guest.guest_status))
        assert links == accounts, "link and account differ (I3)"

    async def _check_one_actor_each(self) -> None:
        for stream in {answer.account_stream for _, answer in self.answers}:
            answers = [answer for _, answer in self.answers if answer.account_stream == stream]
            assert len({await self._surviving(answer.actor_id) for answer in answers}) == 1, "split (I5)"
            assert sum(answer.first_login for answer in answers) <= 1, "two first logins (I4)"
            assert sum(answer.new_actor for answer in answers) <= 1, "two new actors (I4)"

    async def _surviving(self, actor_id: UUID) -> UUID:
        actor = await self.identity.store.find(Actor, actor_id)
        return actor_id if actor is None or actor.merged_into is None else actor.merged_into

    async def _check_nothing_is_left(self, known: Known) -> None:
        """Nothing finds an erased guest, and nothing can be read of it (I9)."""
        link = await self.identity.store.find(GuestLink, known.guest_id)
        assert link is None or (link.erased and link.answer is None), "something is left (I9)"
        for log in (self.registration.log, self.identity.log):
            for table in ("data_keys", "registrations", "shared_references", "registration_accounts"):
                rows = log.rows(table)  # type: ignore[attr-defined]
                assert all(known.guest_id not in row.values() for row in rows), f"in {table} (I9)"

    async def _check_last_login(self, person: str) -> None:
        """Now that nothing is broken, each login is decided, and rightly."""
        answer = await self.log_in(person)
        account = await self.identity.store.find(LoginAccount, login_account_stream(f"acc-{person}"))
        guest = account.guest_at(ORGANISATION) if account and not account.erased else None
        if guest is not None:
            recognised = answer is not None and (answer.guest, answer.actor_id) == (guest, guest.actor_id)
            assert recognised, "a guest who is linked is not recognised (I4)"

    # Small things

    def _guest(self, number: int) -> Known | None:
        known = list(self.guests.values())
        return known[number % len(known)] if known else None

    def _choice(self, person: str, kind: str) -> LoginAccountChoice:
        other = PEOPLE[1 - PEOPLE.index(person)]
        choices: Mapping[str, LoginAccountChoice] = {
            "none": NoAccount(),
            "own": ExistingAccount(f"acc-{person}"),
            "other": ExistingAccount(f"acc-{other}", "gezin"),
            "new": NewLoginAccount(f"nieuw.{person}", f"nieuw.{person}@example.org"),
        }
        return choices[kind]

    def _home_says(self, person: str, *, valid: bool) -> None:
        verdict = Valid(DETAILS[person], None, self._cards[person]) if valid else CANCELLED
        for isil in (HOME, OLD):
            for card in (CARDS[person], self._cards[person]):
                self.registration.home.answers(isil, card, verdict)


def documented(error: Exception, problems: ProblemTypes) -> None:
    """Raise the error again unless the API documents it as an answer."""
    known = {**SHARED_PROBLEM_TYPES, **problems}
    if not any(kind in known for kind in type(error).__mro__):
        raise error
