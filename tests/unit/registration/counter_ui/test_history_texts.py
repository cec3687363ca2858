"""The history in the language of the page: each event, each reason that is a code, and who caused it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from identity.domain.errors import RefusalReason
from registration.adapters.messages import MESSAGE_TYPES
from registration.counter_ui.i18n import (
    EVENT_TEXTS,
    HOME_REASONS,
    LINK_REFUSALS,
    NOT_STAFF,
    because,
    caused_by,
    happened,
)
from registration.domain.term_check import GUEST_SUBSCRIPTION, REASON_OF_EXPIRY
from registration.domain.verdict import Mismatch, Reason
from registration.read_models.history import HistoryLine


def dutch(text: str, _english: str) -> str:
    return text


def english(_dutch: str, text: str) -> str:
    return text


LANGUAGES = (dutch, english)
NAMES = {"m.visser": "Marijke Visser"}


def line(what: str, by: str = "m.visser", **details: Any) -> HistoryLine:
    return HistoryLine(1, 1, datetime(2025, 9, 11, tzinfo=UTC), by, what, details)


def test_every_event_and_every_code_has_a_text_in_both_languages() -> None:
    assert EVENT_TEXTS.keys() == {topic.partition(".")[2] for topic in MESSAGE_TYPES}
    assert HOME_REASONS.keys() == {*Reason, *Mismatch, GUEST_SUBSCRIPTION}
    assert LINK_REFUSALS.keys() == set(RefusalReason)
    for texts in (EVENT_TEXTS, HOME_REASONS, LINK_REFUSALS, NOT_STAFF):
        assert [code for code, (first, second) in texts.items() if not first or first == second] == []


CODES = [
    *(("guest-suspended", reason.value) for reason in Reason if reason is not Reason.EXPIRED),
    ("guest-suspended", f"{Reason.FINES}, {Reason.CARD_LOST}"),
    ("subscription-expired", REASON_OF_EXPIRY),
    ("subscription-expired", Reason.EXPIRED.value),
    *(("login-account-link-refused", reason.value) for reason in RefusalReason),
]


@pytest.mark.parametrize(("what", "code"), CODES)
def test_a_reason_that_is_a_code_is_read_in_the_language_of_the_page(what: str, code: str) -> None:
    first, second = (because(line(what, reason=code), language) for language in LANGUAGES)
    assert first != second
    assert second != code
    assert not {"fines", "lost"} & set(first.split())


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_clerk_wrote_is_shown_as_it_is_also_where_it_reads_like_a_code(
    language: Callable[[str, str], str],
) -> None:
    assert because(line("guest-deregistered", reason="fines, billed"), language) == "fines, billed"
    assert because(line("guest-registered", login_account_reason="de vader"), language) == "de vader"
    assert because(line("guest-reinstated"), language) == ""


@pytest.mark.parametrize(
    ("by", "shown", "shown_in_english"),
    [
        ("m.visser", "Marijke Visser", "Marijke Visser"),
        ("p.vanveen", "p.vanveen", "p.vanveen"),
        ("nightly", "de nachtelijke controle", "the nightly check"),
        ("identity", "het inlogsysteem", "the login system"),
        ("retention period", "de bewaartermijn", "the retention period"),
        ("erasure ledger", "het wislogboek", "the erasure ledger"),
    ],
)
def test_who_caused_it_has_a_name(by: str, shown: str, shown_in_english: str) -> None:
    assert caused_by(line("guest-deregistered", by), NAMES, dutch) == shown
    assert caused_by(line("guest-deregistered", by), NAMES, english) == shown_in_english


OF_HOME = {
    *("term-confirmed", "subscription-expired", "guest-suspended", "guest-reinstated"),
    *("card-number-changed", "patron-details-changed"),
}


@pytest.mark.parametrize("what", sorted(EVENT_TEXTS))
def test_r26_what_home_said_is_caused_by_home_and_not_by_the_clerk_who_asked(what: str) -> None:
    asked, at_night = line(what), line(what, "nightly")
    if what in OF_HOME:
        assert caused_by(asked, NAMES, dutch) == "thuisbibliotheek, gevraagd door Marijke Visser"
        assert caused_by(at_night, NAMES, english) == "home library, asked by the nightly check"
    else:
        assert caused_by(asked, NAMES, english) == "Marijke Visser"
    assert happened(what, dutch) != what


def test_r29_the_history_says_from_which_system_a_guest_was_taken_over() -> None:
    imported = line("guest-imported", by="beheer", source="vubis", registered_on="2023-02-01")
    assert [happened(imported.what, language) for language in LANGUAGES] == [
        "Overgenomen uit een ander systeem",
        "Taken over from another system",
    ]
    assert [because(imported, language) for language in LANGUAGES] == [
        "vubis, daar ingeschreven op 01-02-2023",
        "vubis, registered there on 01-02-2023",
    ]
    assert caused_by(imported, NAMES, dutch) == "beheer"
