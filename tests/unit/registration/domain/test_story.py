"""The story of the seed, which must come out to the letter (domain.md)."""

from __future__ import annotations

from datetime import date

from registration.domain.contributions import Row
from registration.domain.guest import Guest
from registration.domain.guest_state import display
from registration.domain.term import subscription
from tests.support.scenario import noon
from tests.unit.registration.guest_events import CANCELLED, GUEST_ID, SEPT_11, SEPT_15, admission, renewal


def line(row: Row) -> str:
    """A row as the screen has it."""
    sold = subscription(row.subscription_code)
    end = "" if row.end is None else f"{row.end:%d-%m-%Y}"
    cost = sold.cost.replace(".", ",")
    return (
        f"{row.organisation} / {row.branch}  {row.begin:%d-%m-%Y}  {end}  "
        f"{sold.label}  {row.status}  {cost}  {sold.sector}"
    )


def lines(guest: Guest) -> list[str]:
    return [line(row) for row in guest.state.contributions.rows]


def test_the_story_of_the_seed_comes_out_to_the_letter() -> None:
    guest = Guest.register(GUEST_ID, admission(), today=SEPT_11, now=noon(SEPT_11))
    assert lines(guest) == [
        "1001 / 9453  11-09-2025  11-12-2025  346-gastleen abonnement  Normaal  0,00  BIEB"
    ]

    guest.check_term(CANCELLED, today=SEPT_11, now=noon(SEPT_11))
    assert lines(guest) == [
        "1001 / 9453  11-09-2025  11-12-2025  346-gastleen abonnement  Ongeldig  0,00  BIEB",
        "1001 / 9453  11-09-2025  10-09-2025  346-gastleen abonnement  Normaal  0,00  BIEB",
    ]
    expired = display(guest.state, SEPT_15)
    assert expired.header == "Ongeldig  Opgezegd, reden overig"
    assert expired.card_notice == "Pas niet geldig!"
    assert (
        expired.reregistration_preview
        == "Abonnement Geldig t/m september 2026 (tijdelijk abonnement 12 mnd.)"
    )

    guest.reregister("04", renewal(), today=SEPT_15, now=noon(SEPT_15))
    assert lines(guest) == [
        "1001 / 9453  15-09-2025  15-12-2025  346-gastleen abonnement  Normaal  0,00  BIEB",
        "1001 / 9453  11-09-2025  14-09-2025  346-gastleen abonnement  Ongeldig  0,00  BIEB",
        "1001 / 9453  11-09-2025  10-09-2025  346-gastleen abonnement  Normaal  0,00  BIEB",
    ]
    renewed = display(guest.state, SEPT_15)
    assert renewed.header == "Normaal December 2025"
    assert renewed.expiry_line == "Vervalt 31-12-2025"
    assert renewed.expires_on == date(2025, 12, 31)
    assert renewed.card_notice is None


def test_the_balance_of_strips_stays_what_it_was_through_the_story() -> None:
    guest = Guest.register(GUEST_ID, admission(), today=SEPT_11, now=noon(SEPT_11))
    guest.grant_strips(now=noon(SEPT_11))
    guest.check_term(CANCELLED, today=SEPT_11, now=noon(SEPT_11))
    guest.reregister("04", renewal(), today=SEPT_15, now=noon(SEPT_15))
    assert guest.state.lending_strips == 125
