"""The subscriptions on offer to guests (R7)."""

from __future__ import annotations

from dataclasses import dataclass

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


def picked(code: str | None) -> Subscription:
    """Return the subscription that the clerk picked; the only one on offer if the clerk picked none (R7).

    Raises UnknownSubscription.
    """
    if code is None and len(ON_OFFER) == 1:
        return ON_OFFER[0]
    return subscription(code or "")
