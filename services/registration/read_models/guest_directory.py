"""The guest directory: finds guests by words or birth date, and counts those that need attention today."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from typing import Literal, NamedTuple
from uuid import UUID

import asyncpg

from registration.domain.guest_state import GuestState, display
from registration.domain.login_link import LinkState
from registration.domain.term_check import Status
from registration.domain.text_matching import joined_words_of, what_shows_a_person, words_of
from registration.domain.verdict import PatronDetails
from registration.read_models.guest_events import GUEST_TOPICS, fold_guest
from shared.event_log import DataKey
from shared.kernel.login_account import LONGEST_USERNAME
from shared.platform.asked_together import AskedTogether
from shared.platform.postgres import fitting
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable
from shared.projections.live import wait_until_at

_MONTHS = {
    name: month
    for month, names in enumerate(
        (
            *("januari january jan", "februari february feb", "maart march mrt mar", "april apr", "mei may"),
            *("juni june jun", "juli july jul", "augustus august aug", "september sept sep"),
            *("oktober october okt oct", "november nov", "december dec"),
        ),
        start=1,
    )
    for name in names.split()
}
_MONTH = f"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})"
_DATES = tuple(
    re.compile(rf"(?<!\w){form}(?!\w)", re.IGNORECASE)
    for form in (
        r"(?P<day>\d{1,2})[-/.\s]+(?P<month>\d{1,2})[-/.\s]+(?P<year>\d{4})",
        r"(?P<year>\d{4})[-/.\s]+(?P<month>\d{1,2})[-/.\s]+(?P<day>\d{1,2})",
        rf"(?P<day>\d{{1,2}})[-/.\s]*{_MONTH}[-/.\s]*(?P<year>\d{{4}})",
        rf"{_MONTH}[-/.\s]*(?P<day>\d{{1,2}})[,\s]+(?P<year>\d{{4}})",
    )
)
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
MOST_WORDS = 6
MOST_ALIKE = 20
LONGEST_SORTED_BY = 200  # characters: an index of the database takes no value of any length


def asked_for(query: str) -> list[str] | None:
    """Return the words of a query. For each of them a guest must have a word that begins with it.

    A day is one word, in digits or with the name of its month, Dutch or English. Eight digits stay as they
    are: they may be the beginning of a card, and every guest has the birth date in eight digits, too. None:
    the query is empty, so it asks for all guests. A query of signs only has no words, and finds nobody.
    """
    if not query.strip():
        return None
    for form in _DATES:
        query = form.sub(_as_iso, query)
    words: list[str] = []
    for part in query.split():
        words += [part] if _ISO_DAY.fullmatch(part) else words_of(part)
    return list(dict.fromkeys(words))[:MOST_WORDS]


def username_in(query: str) -> str | None:
    """Return the query if it may be a username: one word that is no day."""
    typed = query.strip()
    words = asked_for(typed) or []
    if not words or len(typed) > LONGEST_USERNAME or typed.split() != [typed]:
        return None
    return None if any(_ISO_DAY.fullmatch(word) for word in words) else typed


def _as_iso(found: re.Match[str]) -> str:
    """Return the day in ISO form; what was typed, if there is no such day."""
    try:  # a letter that is one of a month's only without regard to case is in no name: "aprıl"
        month = _MONTHS.get(found["month"].lower()) or int(found["month"])
        return date(int(found["year"]), month, int(found["day"])).isoformat()
    except ValueError:
        return found[0]


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
        words |= {born.isoformat(), f"{born:%d%m%Y}", f"{born:%Y%m%d}"}
    words |= _username_words(state, key)
    if likeness := _likeness(PatronDetails(**details)):
        words.add(likeness)
    shown = display(state, state.changed_on)
    sorted_by = " ".join(reversed(name_words))[:LONGEST_SORTED_BY]
    guest = (
        *(guest_id, state.organisation, state.branch, state.status.value, card["number"], card["aliases"]),
        *(details["name"], sorted_by, born, state.home_isil),
        *(shown.header, shown.expires_on, state.link.state.value, state.merged_into),
    )
    return [guest], [
        (guest_id, state.organisation, word, sorted_by, state.merged_into) for word in sorted(words)
    ]


def _username_words(state: GuestState, key: DataKey) -> set[str]:
    """Return the words of the username, if the guest's account was opened here: only then it is known."""
    sealed = state.new_accounts.get(state.link.account_id or "")
    if sealed is None or state.link.state is LinkState.REFUSED:
        return set()
    username = key.decrypt(sealed)["username"]
    return {*words_of(username), *joined_words_of(username)}


def _likeness(details: PatronDetails) -> str | None:
    """Return the word that guests share who look like the same person (R28). Nobody can type it."""
    compared = what_shows_a_person(details)
    return f"={sha256(repr(compared).encode()).hexdigest()}" if compared else None


# COLLATE "C": all words with one beginning are then one range of the index.
VIEW = View(
    name="guest_directory",
    about="finds guests by name, card number, alias, birth date, username and status",
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
                "(organisation, sorted_by, stream_id) WHERE merged_into IS NULL",
                "(organisation, status, sorted_by, stream_id) WHERE merged_into IS NULL",
                "(organisation, sorted_by, stream_id) WHERE login_link = 'pending'",
            ),
        ),
        ViewTable(
            name="guest_words",
            columns="""
                organisation text NOT NULL, word text COLLATE "C" NOT NULL,
                sorted_by text COLLATE "C", merged_into uuid
            """,
            key="stream_id, word",
            # All that sorts the matches is in the index: the guests themselves are read for one page only.
            indexes=("(organisation, word, stream_id) INCLUDE (sorted_by, merged_into)",),
        ),
    ),
    fold=fold,
    decrypts=True,
    version=3,  # birth dates in eight digits, usernames, likeness
)


class FoundGuest(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class Search:
    """A search. `words`: from `asked_for`. `link_pending`, `registered_on`: ignored when there are words.

    `cursor`: the id of the last guest on the page before; with `backwards` the first one on the page behind.
    `also`: guests who match without the words, because of their login account.
    """

    organisation: str
    words: Sequence[str] | None = None
    status: str | None = None
    cursor: UUID | None = None
    limit: int = 50
    backwards: bool = False
    link_pending: bool = False
    registered_on: date | None = None
    also: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class GuestPage:
    """One page of guests, by name. `total`: on all pages. The cursors are None where there is no page.

    `login_accounts`: whether identity was asked for accounts with this username; "not-searched": the query is
    no username.
    """

    guests: Sequence[FoundGuest]
    total: int
    previous_cursor: UUID | None
    next_cursor: UUID | None
    login_accounts: Literal["searched", "unavailable", "not-searched"] = "not-searched"


SHOWN = """guest.stream_id, guest.branch, guest.status, guest.card_number, guest.aliases, guest.name,
    guest.birth_date, guest.home_isil, guest.header, guest.expires_on, guest.login_link"""

# A cursor is a guest id, because a name in a URL would be personal data there. Only the guests of a page are
# read in full.
PAGE = f"""
SELECT {SHOWN}, page.found_as, page.total FROM (
    SELECT guest_id, found_as, total FROM ({{found}}) AS found WHERE {{beyond}}
    ORDER BY sorted_by {{order}}, guest_id {{order}} LIMIT $4
) AS page JOIN guest_directory AS guest ON guest.stream_id = page.guest_id
ORDER BY guest.sorted_by {{order}}, guest.stream_id {{order}}
"""  # noqa: S608 - constants only
BEYOND = """(sorted_by, guest_id) {sign} (
    (SELECT sorted_by FROM guest_directory WHERE stream_id = $3 AND organisation = $1), $3)"""
COUNTED = """
SELECT listed.*, (SELECT count(*) FROM ({listed}) AS each_one) AS total FROM ({listed}) AS listed
"""

# Merged records are left out: the guests to which they point are in the list.
ALL = """
SELECT stream_id AS guest_id, sorted_by, NULL::uuid AS found_as FROM guest_directory
WHERE merged_into IS NULL AND organisation = $1 AND {of_status}
"""
LINK_PENDING = f"{ALL} AND login_link = 'pending'"  # the condition of the index
REGISTERED_ON = """
SELECT stream_id AS guest_id, sorted_by, NULL::uuid AS found_as
FROM desk_statistics JOIN guest_directory USING (stream_id)
WHERE desk_statistics.organisation = $1 AND day = $5 AND registered + reregistered > 0 AND {of_status}
"""
# A merged record (R18) leads to its guest, unless the guest itself matches; a merged record never points to
# another one. All matches are sorted, so a page costs as much as there are guests with the longest word. Rows
# that the release before wrote have no `sorted_by` until the rebuild: theirs is read from the guest.
BY_WORDS = """
WITH matched AS MATERIALIZED (
    SELECT found.stream_id, coalesce(found.sorted_by, (
            SELECT guest.sorted_by FROM guest_directory AS guest WHERE guest.stream_id = found.stream_id
        )) AS sorted_by,
        CASE WHEN found.sorted_by IS NOT NULL THEN found.merged_into ELSE (
            SELECT guest.merged_into FROM guest_directory AS guest WHERE guest.stream_id = found.stream_id
        ) END AS merged_into
    FROM guest_words AS found WHERE found.organisation = $1 AND found.word BETWEEN $5 AND $5 || chr(1114111)
    AND NOT EXISTS (
        SELECT FROM unnest($6::text[]) AS other (word) WHERE NOT EXISTS (
            SELECT FROM guest_words AS has WHERE has.stream_id = found.stream_id
            AND has.word BETWEEN other.word AND other.word || chr(1114111)))
    UNION SELECT stream_id, sorted_by, merged_into FROM guest_directory
    WHERE organisation = $1 AND stream_id = ANY ($7::uuid[])
), guests AS (
    SELECT stream_id AS guest_id, sorted_by, NULL::uuid AS found_as FROM matched WHERE merged_into IS NULL
    UNION ALL (
    SELECT DISTINCT ON (merged_into) merged_into,
        (SELECT guest.sorted_by FROM guest_directory AS guest WHERE guest.stream_id = matched.merged_into),
        stream_id
    FROM matched WHERE merged_into IS NOT NULL AND merged_into NOT IN (SELECT stream_id FROM matched)
    ORDER BY merged_into, stream_id)
)
SELECT *, count(*) OVER () AS total FROM guests WHERE sorted_by IS NOT NULL AND {of_status}
"""
OF_FOUND = "EXISTS (SELECT FROM guest_directory WHERE stream_id = guest_id AND status = $2)"


# Not a search: each registration asks this.
ALIKE = """
SELECT ARRAY(
    SELECT stream_id FROM guest_words
     WHERE organisation = wanted.organisation AND word = wanted.word LIMIT $3
) AS guest_ids
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (organisation, word, number)
 ORDER BY number
"""
NAMES = "SELECT stream_id, name FROM guest_directory WHERE organisation = $1 AND stream_id = ANY ($2)"


class GuestDirectory:
    """Reads the view."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._alike = AskedTogether(self._ask_alike)

    async def names(self, organisation: str, guest_ids: Collection[UUID]) -> dict[UUID, str]:
        """Return the names of those guests who are of this organisation. The caller records the look-up."""
        rows = await self._pool.fetch(NAMES, organisation, list(guest_ids))
        return {row["stream_id"]: row["name"] for row in rows}

    async def page(self, search: Search, after_position: int = 0) -> GuestPage:
        """Return one page of guests that match all words, after the view has reached a position.

        Raises ViewBehind.
        """
        found, total = await self._find(replace(search, limit=search.limit + 1), after_position)
        more, back = len(found) > search.limit, search.backwards
        shown = (found[1:] if back else found[:-1]) if more else found
        before, behind = (more, True) if back else (search.cursor is not None, more)
        if not found and search.cursor is not None:  # no row says it
            _, total = await self._find(replace(search, cursor=None, limit=1))
        return GuestPage(
            guests=shown,
            total=total,
            previous_cursor=shown[0].guest_id if shown and before else None,
            next_cursor=shown[-1].guest_id if shown and behind else None,
        )

    async def find(self, search: Search, after_position: int = 0) -> list[FoundGuest]:
        """Return so many guests behind the cursor, or before it, by name. Raises ViewBehind."""
        found, _ = await self._find(search, after_position)
        return found

    async def _find(self, search: Search, after_position: int = 0) -> tuple[list[FoundGuest], int]:
        """Return so many guests, and how many there are on all pages; 0 when none is returned."""
        if after_position > 0:
            await wait_until_at(self._pool, VIEW, after_position)
        if search.words is not None and not search.words:
            return [], 0
        query, values = _query(search)
        parameters = (search.organisation, search.status, search.cursor, search.limit, *values)
        rows = await self._pool.fetch(query, *parameters)
        guests = [FoundGuest._make(row[:-1]) for row in rows]
        return guests[::-1] if search.backwards else guests, rows[0]["total"] if rows else 0

    async def like(self, organisation: str, details: PatronDetails) -> Sequence[UUID]:
        """See `GuestsByPerson.like`."""
        word = _likeness(details)
        return [] if word is None else await self._alike.ask((organisation, word))

    async def _ask_alike(self, wanted: Sequence[tuple[str, str]]) -> Sequence[Sequence[UUID]]:
        rows = await self._pool.fetch(ALIKE, *map(list, zip(*wanted, strict=True)), MOST_ALIKE)
        return [row["guest_ids"] for row in rows]


def _query(search: Search) -> tuple[str, Sequence[object]]:
    """Return the query for a page of a search, and its parameters from the fifth on."""
    sign, order = ("<", "DESC") if search.backwards else (">", "ASC")
    beyond = fitting([("uuid", BEYOND.format(sign=sign))], [search.cursor], first=3)
    found, values = _found(search)
    return PAGE.format(found=found, beyond=beyond, order=order), values


def _found(search: Search) -> tuple[str, Sequence[object]]:
    """Return the query for all guests of a search and for their number, and its parameters."""
    if search.words:
        longest, *others = sorted(search.words, key=len, reverse=True)
        of_status = fitting([("text", OF_FOUND)], [search.status], first=2)
        return BY_WORDS.format(of_status=of_status), (longest, others, list(search.also))
    listed, values = (
        (REGISTERED_ON, [search.registered_on])
        if search.registered_on is not None
        else (LINK_PENDING if search.link_pending else ALL, [])
    )
    of_status = fitting([("text", "status = $2")], [search.status], first=2)
    return COUNTED.format(listed=listed.format(of_status=of_status)), values


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
    (SELECT count(*) FROM guest_directory
     WHERE organisation = $1 AND status = 'expired' AND merged_into IS NULL),
    (SELECT count(*) FROM desk_statistics JOIN guest_directory AS guest USING (stream_id)
     WHERE desk_statistics.organisation = $1 AND day = $2 AND expired > 0 AND guest.status = 'expired'),
    (SELECT count(*) FROM guest_directory WHERE organisation = $1 AND login_link = 'pending')
"""


class DeskOverviews:
    """Reads the guest directory and the desk statistics."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of(self, organisation: str, today: date) -> DeskOverview:
        """Return the counts of an organisation."""
        [row] = await self._pool.fetch(COUNTS, organisation, today)
        return DeskOverview(*row)
