"""One row of an import: what another system knows of a guest, checked without looking anywhere (R29)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from registration.domain.contributions import RowStatus
from registration.domain.guest import ImportedRow
from shared.kernel.errors import RuleBroken, english_sentence
from shared.kernel.library_card import Isil, canonical_card_number
from shared.kernel.login_account import is_account_id
from shared.kernel.text import require_identifier, require_text

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_ROW = re.compile(r"(\d{4}-\d{2}-\d{2})/(\d{4}-\d{2}-\d{2}|\.\.) (\w+)", re.ASCII)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
FIRST_DAY = date(1900, 1, 1)
LAST_DAY = date(2199, 12, 31)
MOST_ROWS = 200
MOST_ALIASES = 20
YES, NO = ("yes", "ja"), ("no", "nee")


def _day(value: object) -> date:
    if not isinstance(value, str) or _DAY.fullmatch(value) is None:
        raise ValueError("must be a day like 2026-11-30")
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise ValueError("there is no such day") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"must be from {FIRST_DAY} to {LAST_DAY}")
    return day


def _yes_or_no(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.casefold() if isinstance(value, str) else ""
    if word not in YES + NO:
        raise ValueError("must be yes or no")
    return word in YES


def _card(value: str) -> str:
    try:
        return canonical_card_number(value)
    except RuleBroken as wrong:
        raise ValueError(english_sentence(type(wrong))) from None


def _isil(value: str) -> str:
    try:
        return str(Isil.parse(value))
    except RuleBroken as wrong:
        raise ValueError(english_sentence(type(wrong))) from None


def _words(value: object) -> object:
    """Return the parts of a cell of CSV; a list of JSON Lines as it is."""
    return value.split() if isinstance(value, str) else value or ()


def _rows(value: object) -> object:
    """Return the rows of a cell of CSV as JSON Lines has them."""
    if not isinstance(value, str):
        return value or ()
    rows = []
    for part in value.split("|"):
        found = _ROW.fullmatch(part.strip())
        if found is None:
            raise ValueError("must hold rows like 2025-09-11/2025-12-11 Normaal, with | between them")
        begin, end, status = found.groups()
        rows.append({"begin": begin, "end": None if end == ".." else end, "status": status})
    return rows


def _account_id(value: str) -> str:
    """As identity takes it (I1): one that it refuses could never be linked, nor its name shown."""
    if not is_account_id(value):
        raise ValueError("is no id of a login account")
    return value


def _email(value: str) -> str:
    if _EMAIL.fullmatch(value) is None:
        raise ValueError("is no e-mail address")
    return value


Day = Annotated[date, BeforeValidator(_day)]
OptionalDay = Annotated[date | None, BeforeValidator(lambda value: None if value is None else _day(value))]
YesOrNo = Annotated[bool, BeforeValidator(_yes_or_no)]
Name = Annotated[str, Field(strict=True, max_length=200), AfterValidator(require_text)]
Address = Annotated[str, Field(strict=True, max_length=500), AfterValidator(require_text)]
Email = Annotated[str, Field(strict=True, max_length=254), AfterValidator(_email)]
Id = Annotated[str, Field(strict=True), AfterValidator(require_identifier)]
CardNumber = Annotated[str, Field(strict=True), AfterValidator(_card)]
ListedAccountId = Annotated[str, Field(strict=True), AfterValidator(_account_id)]


class ContributionOfRow(BaseModel):
    """A contribution row; `end` None: open-ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    begin: Day
    end: OptionalDay = None
    status: RowStatus


class GuestRow(BaseModel):
    """What another system knows of one guest. Most of it is personal data.

    `key`: the guest's own key there; None: the card is the key. `valid_until` None: no end date is known.
    `contributions`: newest first; empty: one row from the registration to the end of the term.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Id | None = None
    card_number: CardNumber
    home_isil: Annotated[str, Field(strict=True), AfterValidator(_isil)]
    card_aliases: Annotated[
        tuple[CardNumber, ...], BeforeValidator(_words), Field(max_length=MOST_ALIASES)
    ] = ()
    name: Name
    birth_date: OptionalDay = None
    address: Address | None = None
    email: Email | None = None
    branch: Id
    subscription: Id
    registered_on: Day
    valid_until: OptionalDay
    contributions: Annotated[
        tuple[ContributionOfRow, ...], BeforeValidator(_rows), Field(max_length=MOST_ROWS)
    ] = ()
    card_has_chip: YesOrNo
    strips_granted: YesOrNo
    login_account_id: ListedAccountId | None = None

    @property
    def rows(self) -> tuple[ImportedRow, ...]:
        """The contribution rows, newest first; there is at least one."""
        if self.contributions:
            return tuple(ImportedRow(row.begin, row.end, row.status) for row in self.contributions)
        return (ImportedRow(self.registered_on, self.valid_until, RowStatus.VALID),)


COLUMNS = tuple(GuestRow.model_fields)
NEEDED_COLUMNS = tuple(name for name, field in GuestRow.model_fields.items() if field.is_required())


def read_row(fields: Mapping[str, Any], today: date) -> tuple[GuestRow | None, tuple[str, ...]]:
    """Return the row, or all that is wrong with it. No value of the row is in the texts."""
    try:
        row = GuestRow.model_validate(fields)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False)
        return None, tuple(dict.fromkeys(_text_of(fault) for fault in wrong))
    mistakes = (*_impossible_days(row, today), *_impossible_rows(row, today))
    return (None, mistakes) if mistakes else (row, ())


def _text_of(fault: Any) -> str:
    field = str(fault["loc"][0]) if fault["loc"] else "line"
    if fault["type"] == "extra_forbidden":
        return "it has an unknown field" if len(fault["loc"]) == 1 else f"{field}: it has an unknown field"
    if fault["type"] == "missing" or fault["input"] is None:
        return f"{field}: it is missing"
    text = fault["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{field}: {text[:1].lower()}{text[1:]}"


def _impossible_days(row: GuestRow, today: date) -> list[str]:
    mistakes = []
    if row.registered_on > today:
        mistakes.append("registered_on: it is in the future")
    if row.birth_date is not None and row.birth_date >= row.registered_on:
        mistakes.append("birth_date: it is not before the registration")
    if row.valid_until is not None and row.valid_until < row.registered_on - timedelta(days=1):
        mistakes.append("valid_until: it is before the registration")
    return mistakes


def _impossible_rows(row: GuestRow, today: date) -> list[str]:
    if not row.contributions:
        return []
    mistakes = []
    rows = row.contributions
    if rows[0].end != row.valid_until:
        mistakes.append("contributions: the newest row does not end with valid_until")
    if any(older.end is None or older.end >= newer.begin for newer, older in pairwise(rows)):
        mistakes.append("contributions: the rows overlap, or are not newest first")
    # A row that was closed on its first day ends the day before (R15).
    closed = rows[1:] if rows[0].status is RowStatus.INVALID else rows
    if any(period.end is not None and period.end < period.begin - timedelta(days=1) for period in closed):
        mistakes.append("contributions: a row ends before it begins")
    if rows[-1].begin < row.registered_on or rows[0].begin > today:
        mistakes.append("contributions: a row begins before the registration, or in the future")
    return mistakes
