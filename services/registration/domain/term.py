"""The subscriptions on offer (R7), and the period for which one runs (R6, R16)."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from registration.domain.errors import UnknownSubscription


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription that a guest can have. `cost` is in euros, with two decimals."""

    code: str
    name: str
    tariff_code: str
    tariff_months: int
    cost: str
    sector: str

    @property
    def label(self) -> str:
        """The name in contribution rows: `346-gastleen abonnement`."""
        return f"{self.code}-{self.name}"


ON_OFFER = (
    Subscription(
        code="346",
        name="gastleen abonnement",
        tariff_code="0346",
        tariff_months=12,
        cost="0.00",
        sector="BIEB",
    ),
)


def subscription(code: str) -> Subscription:
    """Return the subscription with this code. Raises UnknownSubscription."""
    for offered in ON_OFFER:
        if offered.code == code:
            return offered
    raise UnknownSubscription


def is_on_offer(code: str) -> bool:
    """Return whether there is a subscription with this code."""
    return any(offered.code == code for offered in ON_OFFER)


def picked(code: str | None) -> Subscription:
    """Return the subscription that the clerk picked; the only one on offer if the clerk picked none (R7).

    Raises UnknownSubscription.
    """
    if code is None and len(ON_OFFER) == 1:
        return ON_OFFER[0]
    return subscription(code or "")


PROVISIONAL_MONTHS = 3

# Spelled out, because the names must not depend on the locales of a machine.
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
    """A period, `end` included; None: open-ended. `provisional`: before the home library was asked (R12)."""

    begin: date
    end: date | None
    provisional: bool


def months_later(day: date, months: int) -> date:
    """Return the same day some months later, or the last day of that month if the month is shorter."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


@lru_cache(maxsize=8)  # all guests who are registered on a day have the same
def provisional_term(begin: date) -> Term:
    """Return the term of a guest who is registered on `begin`: three calendar months (R6)."""
    return Term(begin, months_later(begin, PROVISIONAL_MONTHS), provisional=True)


def last_of_month(day: date) -> date:
    """Return the last day of the month, which the screen shows as the end (R16)."""
    return day.replace(day=monthrange(day.year, day.month)[1])


def valid_header(end: date | None) -> str:
    """Return the header of a valid guest: `Normaal December 2025`, or `Normaal` when open-ended (R16)."""
    return "Normaal" if end is None else f"Normaal {MONTHS[end.month - 1].capitalize()} {end.year}"


def expiry_line(end: date) -> str:
    """Return the line `Vervalt 31-12-2025`, with the last day of the month of `end` (R16)."""
    return f"Vervalt {last_of_month(end):%d-%m-%Y}"


def reregistration_preview(today: date, tariff_months: int) -> str:
    """Return the line that a clerk sees before a re-registration: tariff months from today (R16)."""
    end = months_later(today, tariff_months)
    month = MONTHS[end.month - 1]
    return f"Abonnement Geldig t/m {month} {end.year} (tijdelijk abonnement {tariff_months} mnd.)"
