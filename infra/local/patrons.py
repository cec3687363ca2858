"""The demo patrons of the local home library, in a file that a user can edit (docs/contract.md)."""

import json
import os
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from shared.kernel.amsterdam import AMSTERDAM

DEMO_ISIL = "NL-070288"
FOUND_FROM_CARD_ISIL = "NL-083424"
LOAD_CARDS = range(991_000_000, 992_000_000)


class Status(StrEnum):
    """The state of a patron at the library. `SILENT`: the connection closes without a reply."""

    VALID = "valid"
    EXPIRED = "expired"
    FINES = "fines"
    LOST = "lost"
    GUEST = "guest"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Patron:
    """One line of the file. All people are invented."""

    status: Status
    ends_on: date | None
    name: str
    birth_date: date
    address: str
    email: str
    chip: bool = False
    answers_as: str | None = None


class Patrons:
    """The patrons in a file, which is read for every request. A missing file is created."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            _write(path, demo_patrons(now_in_amsterdam().date()))

    def find(self, isil: str, card_number: str) -> tuple[str, Patron] | None:
        """Find the patron with this card at this library. Return their current card number and the patron.

        Returns None when there is no such card. Raises ValueError when the file is not valid, for example
        while a user is editing it.
        """
        if isil != library_of(card_number):
            return None
        lines = json.loads(self._path.read_text(encoding="utf-8"))
        patron = _patron(card_number, lines)
        if patron is not None and patron.answers_as is not None:
            card_number = patron.answers_as
            patron = _patron(card_number, lines)
        return None if patron is None else (card_number, patron)


def now_in_amsterdam() -> datetime:
    """Return the time in Europe/Amsterdam, in whatever time zone the machine is."""
    return datetime.now(AMSTERDAM)


def library_of(card_number: str) -> str:
    """Return the ISIL of a card's library: the Frisian library for 18447…, else the demo library."""
    return FOUND_FROM_CARD_ISIL if _is_frisian(card_number) else DEMO_ISIL


def is_load_card(card_number: str) -> bool:
    """Return whether this is one of the million cards for load tests, which are all valid."""
    return _is_number(card_number) and card_number[0] == "0" and int(card_number) in LOAD_CARDS


def _is_frisian(card_number: str) -> bool:
    return _is_number(card_number) and card_number.startswith("18447")


def _is_number(card_number: str) -> bool:
    return len(card_number) == 10 and card_number.isascii() and card_number.isdigit()


def _patron(card_number: str, lines: dict[str, Any]) -> Patron | None:
    line = lines.get(card_number)
    invented = invented_patron(card_number, now_in_amsterdam().date())
    if line is None:
        return invented if is_load_card(card_number) or _is_frisian(card_number) else None
    return Patron(
        status=Status(line.get("status", "valid")),
        ends_on=_day(line["ends_on"]) if "ends_on" in line else invented.ends_on,
        name=line.get("name") or invented.name,
        birth_date=_day(line.get("birth_date")) or invented.birth_date,
        address=line.get("address") or invented.address,
        email=line.get("email") or invented.email,
        chip=bool(line.get("chip")),
        answers_as=line.get("answers_as"),
    )


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


_GIVEN = ("Fenna", "Joris", "Zoë", "Sjoerd", "Marit", "Daniël", "Aaltje", "Bram", "Ilse", "René", "Noor")
_FAMILY = (
    "de Vries",
    "Bakker",
    "Hoekstra",
    "van der Meer",
    "Smit",
    "Coenraad",
    "Brouwer",
    "Wiersma",
    "Kiers",
)
_STREETS = ("Brinkstraat", "Heerestraat", "Kerklaan", "Schoolweg", "Albertsbaan", "Roderweg", "Touwslager")
_PLACES = ("9301 AB Roden", "9321 BM Peize", "9331 CD Norg", "8601 EX Sneek", "9451 GH Rolde")


def invented_patron(card_number: str, today: date) -> Patron:
    """Return an invented patron, valid until the end of next year. A card always has the same patron.

    Each card for load tests has an address of its own: nobody looks like another guest (R28).
    """
    number = int.from_bytes(card_number.encode(), "big") % 1_000_003
    given, family = _GIVEN[number % len(_GIVEN)], _FAMILY[number % len(_FAMILY)]
    house = f"{1 + number % 140}" + (f"-{int(card_number) % 1_000_000}" if is_load_card(card_number) else "")
    return Patron(
        status=Status.VALID,
        ends_on=date(today.year + 1, 12, 31),
        name=f"{given} {family}",
        birth_date=date(1940 + number % 70, 1 + number % 12, 1 + number % 28),
        address=f"{_STREETS[number % len(_STREETS)]} {house}, {_PLACES[number % len(_PLACES)]}",
        email=f"lid.{card_number}@voorbeeld.nl",
        chip=True,
    )


def demo_patrons(today: date) -> dict[str, dict[str, Any]]:
    """Return the demo patrons (docs/contract.md) in the form of the file."""
    end = date(today.year + 1, 12, 31).isoformat()
    return {
        "0990139305": _line("valid", end, "Jan Jansen", "1968-04-17", "Brink 3, 9301 JK Roden", chip=True),
        "0990139313": _line("valid", None, "Petra de Vries", "1975-09-02", "Kanaalstraat 21, 9301 LS Roden"),
        "0990139321": _line("expired", None, "Geert Huizinga", "1951-01-30", "Norgerweg 8, 9301 JR Roden"),
        "0990139339": _line("fines", end, "Ineke Bruins", "1983-11-12", "Heerestraat 44, 9301 AG Roden"),
        "0990139347": _line("lost", end, "Henk Postma", "1990-06-25", "Wilhelminastraat 5, 9301 AL Roden"),
        "0990139354": _line(
            "guest", end, "Annelies Dijkstra", "1979-03-08", "Ceintuurbaan 70, 9301 NZ Roden"
        ),
        "0990139362": _line(
            "valid", end, "Jan Jansen", "1968-04-17", "Brink 3, 9301 JK Roden", answers_as="0990139305"
        ),
        "0990139370": _line("silent", end, "Wim Zijlstra", "1962-12-19", "Zuideinde 17, 9321 AB Peize"),
    }


def _line(
    status: str,
    ends_on: str | None,
    name: str,
    birth_date: str,
    address: str,
    *,
    chip: bool = False,
    answers_as: str | None = None,
) -> dict[str, Any]:
    return {
        "status": status,
        "ends_on": ends_on,
        "name": name,
        "birth_date": birth_date,
        "address": address,
        "email": f"{name.lower().replace(' ', '.')}@voorbeeld.nl",
        "chip": chip,
        "answers_as": answers_as,
    }


def _write(path: Path, patrons: dict[str, dict[str, Any]]) -> None:
    """Write one line for each patron, so that a user can end a membership by editing one line."""
    lines = (
        f"  {json.dumps(card)}: {json.dumps(line, ensure_ascii=False)}" for card, line in patrons.items()
    )
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    os.replace(fresh, path)
