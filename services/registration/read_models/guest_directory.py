"""The guest directory: finds guests by words or birth date, and counts those that need attention today."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import asyncpg

from registration.domain.guest_state import display
from registration.domain.term_check import Status
from registration.domain.text_matching import joined_words_of, words_of
from registration.read_models.guest_events import GUEST_TOPICS, fold_guest
from shared.event_log import DataKey
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable
from shared.projections.live import wait_until_at

_DATES = (
    re.compile(r"(?P<day>\d{1,2})[-/.](?P<month>\d{1,2})[-/.](?P<year>\d{4})"),
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"),
)
MOST_WORDS = 6
LONGEST_SORTED_BY = 200  # characters: an index of the database takes no value of any length


def asked_for(query: str) -> list[str] | None:
    """Return the words of a query. For each of them a guest must have a word that begins with it.

    A day in Dutch or ISO form is one word. None: the query is empty, so it asks for all guests. A query of
    signs only has no words, and finds nobody.
    """
    if not query.strip():
        return None
    words: list[str] = []
    for part in query.split():
        day = _day(part)
        words += words_of(part) if day is None else [day.isoformat()]
    return list(dict.fromkeys(words))[:MOST_WORDS]


def _day(text: str) -> date | None:
    for form in _DATES:
        if found := form.fullmatch(text):
            try:
                return date(*(int(found[part]) for part in ("year", "month", "day")))
            except ValueError:
                return None
    return None


def fold(events: Sequence[RecordedDomainEvent], key: DataKey | None) -> Rows:
    """Return the row of the guest and the rows of its words; none after an erasure (R19)."""
    state = fold_guest(events)
    if key is None or state.status is Status.ERASED:
        return [], []
    guest_id = events[0].event.originator_id
    card, details = key.decrypt(state.sealed_card), key.decrypt(state.sealed_details)
    numbers = [card["number"], *card["aliases"]]
    name_words, born = words_of(details["name"]), details["birth_date"]
    words = {*name_words, *joined_words_of(details["name"]), *(number.lower() for number in numbers)}
    if born:
        words.add(born.isoformat())
    shown = display(state, state.changed_on)
    guest = (
        *(guest_id, state.organisation, state.branch, state.status.value, card["number"], card["aliases"]),
        *(details["name"], " ".join(reversed(name_words))[:LONGEST_SORTED_BY], born, state.home_isil),
        *(shown.header, shown.expires_on, state.link.state.value, state.merged_into),
    )
    return [guest], [(guest_id, state.organisation, word) for word in sorted(words)]


# COLLATE "C": all words with one beginning are then one range of the index.
VIEW = View(
    name="guest_directory",
    about="finds guests by name, card number, alias, birth date and status",
    topics=GUEST_TOPICS,
    tables=(
        ViewTable(
            name="guest_directory",
            columns="""
                organisation text NOT NULL, branch text NOT NULL, status text NOT NULL,
                card_number text NOT NULL, aliases text[] NOT NULL, name text NOT NULL,
                sorted_by text COLLATE "C" NOT NULL, birth_date date, home_isil text NOT NULL,
                header text NOT NULL, expires_on date, login_link text NOT NULL, merged_into uuid
            """,
            indexes=(
                "(organisation, sorted_by, stream_id)",
                "(organisation, status, sorted_by, stream_id)",
                "(organisation, sorted_by, stream_id) WHERE login_link = 'pending'",
            ),
        ),
        ViewTable(
            name="guest_words",
            columns='organisation text NOT NULL, word text COLLATE "C" NOT NULL',
            key="stream_id, word",
            indexes=("(organisation, word, stream_id)",),
        ),
    ),
    fold=fold,
    decrypts=True,
    version=2,  # words of any script
)


@dataclass(frozen=True, slots=True)
class FoundGuest:
    """A guest as a search shows it. `found_as`: the merged record by which the guest was found (R18)."""

    guest_id: UUID
    branch: str
    status: str
    card_number: str
    aliases: Sequence[str]
    name: str
    birth_date: date | None
    home_isil: str
    header: str
    expires_on: date | None
    login_link: str
    found_as: UUID | None = None

    @property
    def cursor(self) -> UUID:
        """The record after which the next page begins."""
        return self.found_as or self.guest_id


@dataclass(frozen=True, slots=True)
class Search:
    """A search. `words`: from `asked_for`. `after`: the `cursor` of the last guest on the previous page.

    `link_pending`: only guests whose link to a login account is pending; ignored when there are words.
    """

    organisation: str
    words: Sequence[str] | None = None
    status: str | None = None
    after: UUID | None = None
    limit: int = 50
    link_pending: bool = False


SHOWN = """guest.stream_id, guest.branch, guest.status, guest.card_number, guest.aliases, guest.name,
    guest.birth_date, guest.home_isil, guest.header, guest.expires_on, guest.login_link"""

# Ordered by name. The cursor is a guest id, because a name in a URL would be personal data there. Merged
# records are left out: the guests to which they point are in the list.
ALL = f"""
SELECT {SHOWN} FROM guest_directory guest
WHERE merged_into IS NULL AND organisation = $1 AND ($2::text IS NULL OR status = $2)
AND ($3::uuid IS NULL OR (sorted_by, stream_id) > (
    (SELECT sorted_by FROM guest_directory WHERE stream_id = $3 AND organisation = $1), $3))
{{more}} ORDER BY sorted_by, stream_id LIMIT $4
"""  # noqa: S608 - constants only

LINK_PENDING = "AND login_link = 'pending'"  # exactly the condition of the index

# In the order of the index on words, so that a page costs the same however many words match. A guest with two
# matching words (Jan Jansen) is found by the first of them. A merged record (R18) leads to its guest, unless
# the guest itself matches. A merged record never points to another merged record.
BY_WORDS = f"""
SELECT {SHOWN}, nullif(found.stream_id, guest.stream_id)
FROM guest_words found JOIN guest_directory record USING (stream_id)
JOIN guest_directory guest ON guest.stream_id = coalesce(record.merged_into, record.stream_id)
WHERE found.organisation = $1 AND found.word BETWEEN $5 AND $5 || chr(1114111)
AND ($2::text IS NULL OR guest.status = $2)
AND ($3::uuid IS NULL OR (found.word, found.stream_id) > (
    (SELECT min(word) FROM guest_words
     WHERE stream_id = $3 AND organisation = $1 AND word BETWEEN $5 AND $5 || chr(1114111)), $3))
AND NOT EXISTS (
    SELECT FROM guest_words earlier WHERE earlier.stream_id = found.stream_id
    AND earlier.word BETWEEN $5 AND $5 || chr(1114111) AND earlier.word < found.word)
AND NOT EXISTS (
    SELECT FROM unnest($6::text[]) AS other (word) WHERE NOT EXISTS (
        SELECT FROM guest_words has WHERE has.stream_id = found.stream_id
        AND has.word BETWEEN other.word AND other.word || chr(1114111)))
AND (record.merged_into IS NULL OR EXISTS (
    SELECT FROM unnest($6::text[] || $5::text) AS other (word) WHERE NOT EXISTS (
        SELECT FROM guest_words has WHERE has.stream_id = record.merged_into
        AND has.word BETWEEN other.word AND other.word || chr(1114111))))
ORDER BY found.word, found.stream_id LIMIT $4
"""  # noqa: S608 - constants only


NAMES = "SELECT stream_id, name FROM guest_directory WHERE organisation = $1 AND stream_id = ANY ($2)"


class GuestDirectory:
    """Reads the view."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def names(self, organisation: str, guest_ids: Collection[UUID]) -> dict[UUID, str]:
        """Return the names of those guests who are of this organisation. The caller records the look-up."""
        rows = await self._pool.fetch(NAMES, organisation, list(guest_ids))
        return {row["stream_id"]: row["name"] for row in rows}

    async def find(self, search: Search, after_position: int = 0) -> list[FoundGuest]:
        """Return one page of guests that match all words, after the view has reached a position.

        Raises ViewBehind.
        """
        await wait_until_at(self._pool, VIEW, after_position)
        parameters = (search.organisation, search.status, search.after, search.limit)
        if search.words is None:
            only = LINK_PENDING if search.link_pending else ""
            rows = await self._pool.fetch(ALL.format(more=only), *parameters)
        elif not search.words:
            return []
        else:
            longest, *others = sorted(search.words, key=len, reverse=True)
            rows = await self._pool.fetch(BY_WORDS, *parameters, longest, others)
        return [FoundGuest(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class DeskOverview:
    """Counts of one organisation. `expired_today`: how many of the expired guests expired today."""

    registered_today: int
    expired: int
    expired_today: int
    links_pending: int


COUNTS = """
SELECT
    (SELECT count(*) FROM desk_statistics
     WHERE organisation = $1 AND day = $2 AND registered + reregistered > 0),
    (SELECT count(*) FROM guest_directory WHERE organisation = $1 AND status = 'expired'),
    (SELECT count(*) FROM desk_statistics JOIN guest_directory AS guest USING (stream_id)
     WHERE desk_statistics.organisation = $1 AND day = $2 AND expired > 0 AND guest.status = 'expired'),
    (SELECT count(*) FROM guest_directory WHERE organisation = $1 AND login_link = 'pending')
"""

REGISTERED_ON = f"""
SELECT {SHOWN} FROM desk_statistics JOIN guest_directory AS guest USING (stream_id)
WHERE desk_statistics.organisation = $1 AND day = $2 AND registered + reregistered > 0
AND ($3::uuid IS NULL OR (sorted_by, stream_id) > (
    (SELECT sorted_by FROM guest_directory WHERE stream_id = $3 AND organisation = $1), $3))
ORDER BY sorted_by, stream_id LIMIT $4
"""  # noqa: S608 - constants only


class DeskOverviews:
    """Reads the guest directory and the desk statistics."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of(self, organisation: str, today: date) -> DeskOverview:
        """Return the counts of an organisation."""
        [row] = await self._pool.fetch(COUNTS, organisation, today)
        return DeskOverview(*row)

    async def registered_on(
        self, organisation: str, day: date, after: UUID | None, limit: int
    ) -> list[FoundGuest]:
        """Return a page of guests who were registered or re-registered on a day, ordered by name."""
        rows = await self._pool.fetch(REGISTERED_ON, organisation, day, after, limit)
        return [FoundGuest(*row) for row in rows]
