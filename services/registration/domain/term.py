"""The period for which a subscription runs (R6), and how the screen words it (R16)."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import NamedTuple

PROVISIONAL_MONTHS = 3

# By hand: what a month is called here must not depend on the locales of a machine.
MONTHS = (
    "januari",
    "februari",
    "maart",
    "april",
    "mei",
    "juni",
    "juli",
    "augustus",
    "september",
    "oktober",
    "november",
    "december",
)


class Term(NamedTuple):
    """From `begin` up to and including `end`; no end: open-ended. Provisional until home was asked (R12)."""

    begin: date
    end: date | None
    provisional: bool


def months_later(day: date, months: int) -> date:
    """Give the same day some months on, or that month's last day when it is shorter."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


@lru_cache(maxsize=8)  # everybody who is registered on a day has the same
def provisional_term(begin: date) -> Term:
    """Give the term of a guest registered on `begin`: three calendar months (R6)."""
    return Term(begin, months_later(begin, PROVISIONAL_MONTHS), provisional=True)


def last_of_month(day: date) -> date:
    """Give the last day of the month: what the screen shows as the end (R16)."""
    return day.replace(day=monthrange(day.year, day.month)[1])


def valid_header(end: date | None) -> str:
    """Word the header of a valid guest: `Normaal December 2025`; `Normaal` when open-ended (R16)."""
    return "Normaal" if end is None else f"Normaal {MONTHS[end.month - 1].capitalize()} {end.year}"


def expiry_line(end: date) -> str:
    """Word `Vervalt 31-12-2025`: the last day of the end's month (R16)."""
    return f"Vervalt {last_of_month(end):%d-%m-%Y}"


def reregistration_preview(today: date, tariff_months: int) -> str:
    """Word what the clerk is shown before re-registration: tariff months from today (R16)."""
    end = months_later(today, tariff_months)
    month = MONTHS[end.month - 1]
    return f"Abonnement Geldig t/m {month} {end.year} (tijdelijk abonnement {tariff_months} mnd.)"
