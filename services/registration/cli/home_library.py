"""The command `registration home-library probe`."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text
from typer import BadParameter

from registration.adapters.home_library.client import probe_of
from registration.adapters.home_library.probe import Probe, ProbeStep
from registration.adapters.home_library.settings import Directory, Library, load_directory
from registration.adapters.nightly_checks import PostgresNightlyChecks
from registration.domain.verdict import NotFound, Refused, Valid
from registration.settings import Settings, environment
from shared.cli.console import show_json
from shared.cli.running import Failed
from shared.cli.service_handle import database_of
from shared.kernel import amsterdam
from shared.kernel.errors import ConfigurationError
from shared.kernel.library_card import Isil, MalformedCardNumber, MalformedIsil, canonical_card_number
from shared.kernel.text import visible

_NAMES = {Valid: "valid", Refused: "refused", NotFound: "not_found"}


async def probe(settings: Settings, typed_isil: str, card_number: str, *, as_json: bool) -> bool:
    """Ask one home library about a card and show every step. Return whether all of them succeeded.

    Raises Failed if the library is not in the file of home libraries, or if that file is wrong.
    """
    from registration.bootstrap import home_library_http  # noqa: PLC0415 - other commands start without it

    isil, card = _isil(typed_isil), _card(card_number)
    directory = _directory(settings)
    home = isil.surviving(directory.aliases).base
    library = directory.libraries.get(home)
    if library is None:
        known = ", ".join(sorted(directory.libraries)) or "none"
        raise Failed(f"{home} is not in {settings.home_libraries}. The libraries there: {known}.")
    credentials = directory.credentials.get(home)
    asked = probe_of(library, credentials, card, amsterdam.today(), home_library_http)
    console = Console(highlight=False, quiet=as_json, soft_wrap=True)
    _heading(console, isil, home, library)
    steps = []
    async for step in asked.steps():
        steps.append(step)
        _show(console, step)
    if as_json:
        show_json(_as_json(home, library, steps, asked))
    return all(step.ok for step in steps)


async def libraries(settings: Settings) -> list[dict[str, Any]]:
    """Return each home library of the file, with its part of the last nightly report."""
    directory = _directory(settings)
    async with database_of(settings) as pool:
        report = await PostgresNightlyChecks(pool).last()
    night = {} if report is None else {library.home_isil: library for library in report.libraries}
    rows = []
    for isil, library in sorted(directory.libraries.items()):
        found = night.get(isil)
        rows.append(
            {
                "isil": isil,
                "name": library.name,
                "night": str(report.nightly.day) if report and found else "",
                "asked": found.tally.asked if found else 0,
                "left": found.left if found else 0,
                "problem": (found.problem if found else None) or "",
            }
        )
    return rows


def _isil(typed: str) -> Isil:
    try:
        return Isil.parse(typed)
    except MalformedIsil:
        raise BadParameter("NL- and six digits, as in NL-070288", param_hint="ISIL") from None


def _card(typed: str) -> str:
    try:
        return canonical_card_number(typed)
    except MalformedCardNumber:
        raise BadParameter("1 to 20 digits or letters", param_hint="CARD") from None


def _directory(settings: Settings) -> Directory:
    try:
        return load_directory(settings.home_libraries, environment())
    except ConfigurationError as error:
        raise Failed(f"{error}. Correct REGISTRATION_HOME_LIBRARIES.") from None


def _heading(console: Console, typed: Isil, home: str, library: Library) -> None:
    line = Text(home, style="bold")
    line.append(f"  {visible(library.name)}" if library.name else "")
    line.append(f"  ({typed.base} merged into it)" if typed.base != home else "", style="yellow")
    line.append(f"  {library.described}, {'TLS' if library.uses_tls else 'no TLS'}", "dim")
    console.print(line)


def _show(console: Console, step: ProbeStep) -> None:
    mark = Text("✓ ", style="green") if step.ok else Text("✗ ", style="bold red")
    line = Text.assemble(mark, f"{step.step:<8}", (f"{1000 * step.seconds:>7.0f} ms", "dim"), "  ")
    line.append(visible(step.found), style=_colour(step))
    console.print(line)
    for frame in step.wire:
        console.print(Text.assemble("    ", (f"{frame.direction} ", "cyan"), (visible(frame.text), "dim")))
    if step.advice:
        console.print(Text.assemble("    ", ("→ ", "yellow"), (step.advice, "yellow")))


def _colour(step: ProbeStep) -> str:
    if not step.ok:
        return "bold red"
    if step.step != "verdict":
        return ""
    return "bold green" if step.found.startswith("valid;") else "bold yellow"


def _as_json(home: str, library: Library, steps: list[ProbeStep], asked: Probe) -> dict[str, Any]:
    verdict = asked.verdict
    return {
        "isil": home,
        "name": library.name,
        "verdict": "unavailable" if verdict is None else _NAMES[type(verdict)],
        "reasons": list(verdict.reasons) if isinstance(verdict, Refused) else [],
        "steps": steps,
    }
