"""The commands `registration guests export` and `guests find`: many guests, or the one that is looked for."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO
from uuid import UUID, uuid4

import typer

from registration.service_handle import settings_of_command
from shared.cli.console import echo, progress_bar, show_json, show_records
from shared.cli.running import By, Failed, in_loop, name_of
from shared.kernel.errors import english_sentence
from shared.kernel.text import harmless, require_text

if TYPE_CHECKING:
    from registration.application.dependencies import Context, Dependencies
    from registration.bootstrap import Service
    from registration.read_models.guest_list import ListedGuest
    from registration.settings import Settings

Organisation = Annotated[str, typer.Option(help="The organisation whose guests these are, such as 1001.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

EXPORT_EXAMPLE = "Example: registration guests export guests.csv --organisation 1001"
FIND_EXAMPLE = "Example: registration guests find 0990139305 --organisation 1001"
COLUMNS = (
    *("guest_id", "organisation", "branch", "status", "home_isil", "subscription_code", "begins_on"),
    *("ends_on", "header", "login_link", "merged_into"),
)
PERSONAL = ("card_number", "aliases", "name", "birth_date")
DECRYPTED = ("address", "email")


def export(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file; `-` is standard output.")],
    organisation: Organisation,
    personal_data: Annotated[
        bool, typer.Option("--personal-data", help="Also cards, names, birth dates, addresses and e-mail.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why personal data is needed; it is stored with your name.")
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Write all guests of an organisation to a CSV file, for reports; nothing personal unless asked for."""
    who = name_of(by)
    if personal_data != (reason is not None):
        raise typer.BadParameter("personal data needs both --personal-data and --reason")
    count = in_loop(_export(settings_of_command(), file, organisation, _reason(reason), who))
    if str(file) != "-":
        show_json({"guests": count}) if as_json else echo(f"{count} guests written to {file}.")


LONGEST_REASON = 500


def _reason(reason: str | None) -> str | None:
    try:
        text = None if reason is None else require_text(reason)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--reason") from None
    if text is not None and len(text) > LONGEST_REASON:
        raise typer.BadParameter(f"at most {LONGEST_REASON} characters", param_hint="--reason")
    return text


async def _export(settings: Settings, file: Path, organisation: str, reason: str | None, by: str) -> int:
    """Write the guests; with a reason also their personal data, after the reason is stored."""
    from registration.application.dependencies import Lookup, LookupKind  # noqa: PLC0415
    from registration.bootstrap import open_service  # noqa: PLC0415
    from registration.read_models.guest_list import all_guests  # noqa: PLC0415

    async with open_service(settings) as service:
        context = _context(service, organisation, by)
        with _output(file) as output, progress_bar("exporting", None, "guests") as on_progress:
            if reason is not None:
                lookup = Lookup(LookupKind.EXPORT, "", outcome="exported", reason=reason)
                await service.deps.lookups.record(lookup, context)
            columns = (*COLUMNS, *PERSONAL, *DECRYPTED) if reason else COLUMNS
            output.write(_line(columns))
            count = 0
            async for guest in all_guests(service.pool, organisation):
                decrypted = await _decrypted(guest.guest_id, service.deps) if reason else ()
                output.write(_line((*_cells(guest, personal=reason is not None), *decrypted)))
                count += 1
                on_progress(1)
    return count


def _context(service: Service, organisation: str, by: str) -> Context:
    """Return who asks, and for which organisation. Raises Failed for an unknown one."""
    from registration.application.dependencies import Context  # noqa: PLC0415
    from shared.event_log import Metadata  # noqa: PLC0415

    if organisation not in service.deps.organisations:
        raise Failed(f"There is no organisation {organisation} in the settings.")
    return Context(organisation, Metadata(by, uuid4()))


def _cells(guest: ListedGuest, *, personal: bool) -> list[str]:
    names = (*COLUMNS, *PERSONAL) if personal else COLUMNS
    return [_cell(getattr(guest, name)) for name in names]


async def _decrypted(guest_id: UUID, deps: Dependencies) -> Sequence[str]:
    """Return address and e-mail, which no view has in clear text; empty after an erasure."""
    from registration.application.repository import decrypt_personal_data  # noqa: PLC0415
    from registration.domain.guest import Guest  # noqa: PLC0415

    person = decrypt_personal_data(await deps.store.load(Guest, guest_id))
    return [_cell(getattr(person.details, name)) if person else "" for name in DECRYPTED]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return harmless(" ".join(value) if isinstance(value, list) else str(value))


def _line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


@contextmanager
def _output(file: Path) -> Iterator[TextIO]:
    """Open the new file; `-` is standard output. Raises Failed."""
    if str(file) == "-":
        yield sys.stdout
        return
    try:
        output = file.open("x", encoding="utf-8", newline="")
    except FileExistsError:
        raise Failed(f"{file} exists already: name a new file.") from None
    with output:
        yield output


def find(
    *,
    words: Annotated[
        str,
        typer.Argument(help="A card, a name, a birth date, or the username of an account opened here."),
    ],
    organisation: Organisation,
    username_at: Annotated[
        str | None,
        typer.Option(metavar="ISIL", help="WORDS is a username of any login account of this home library."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Find guests of an organisation, as a clerk does. The look-up is recorded under your name."""
    who = name_of(by)
    if not words.strip():
        raise typer.BadParameter("name a card, a name, a birth date or a username")
    look = (
        partial(_by_words, words, limit) if username_at is None else partial(_of_account, words, username_at)
    )
    rows = in_loop(_find(settings_of_command(), organisation, who, look))
    show_records(rows, as_json=as_json, empty="No guest fits.")


async def _find(
    settings: Settings,
    organisation: str,
    by: str,
    look: Callable[[Service, Context], Awaitable[list[dict[str, Any]]]],
) -> list[dict[str, Any]]:
    from registration.bootstrap import open_service  # noqa: PLC0415
    from registration.domain.errors import LoginAccountsUnavailable, TooManyLookups  # noqa: PLC0415
    from shared.kernel.library_card import MalformedIsil  # noqa: PLC0415

    async with open_service(settings) as service:
        try:
            return await look(service, _context(service, organisation, by))
        except TooManyLookups:
            raise Failed("These are too many look-ups. Wait a while, then try again.") from None
        except LoginAccountsUnavailable:
            raise Failed("Identity, which knows the usernames, cannot be asked now. Try again.") from None
        except MalformedIsil as malformed:
            raise Failed(english_sentence(type(malformed))) from None


async def _by_words(words: str, limit: int, service: Service, context: Context) -> list[dict[str, Any]]:
    """Find guests by the beginnings of words, as clerks do."""
    from registration.application.dependencies import LookupKind  # noqa: PLC0415
    from registration.application.looking_up import looking_up  # noqa: PLC0415
    from registration.read_models.guest_directory import GuestDirectory, Search, asked_for  # noqa: PLC0415

    asked = asked_for(words) or ()
    async with looking_up(LookupKind.GUESTS, " ".join(asked), context, service.deps) as lookup:
        search = Search(context.organisation, asked, limit=limit)
        found = await GuestDirectory(service.pool).find(search)
        lookup.guest_ids = [guest.guest_id for guest in found]
        lookup.outcome = "found" if found else "none"
    return [{name: getattr(guest, name) for name in FOUND} for guest in found]


async def _of_account(username: str, isil: str, service: Service, context: Context) -> list[dict[str, Any]]:
    """Find guests by the username of their login account, which identity knows."""
    from registration.application.find_login_account import find_guests_of_account  # noqa: PLC0415
    from registration.application.show_guest import show_guest  # noqa: PLC0415

    found = await find_guests_of_account(username, isil, context, service.deps)
    views = [await show_guest(guest_id, context.organisation, service.deps) for guest_id in found]
    return [
        {
            **{name: getattr(view, name, None) for name in FOUND},
            "name": view.details.name if view.details else None,
            "birth_date": view.details.birth_date if view.details else None,
            "login_link": view.login_link.state.value,
        }
        for view in views
    ]


FOUND = ("guest_id", "name", "birth_date", "card_number", "home_isil", "branch", "header", "login_link")
