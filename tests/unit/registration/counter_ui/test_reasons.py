"""What a clerk or an operator writes as a reason (R21), and what the scanner typed there."""

import pytest

from registration.counter_ui.forms import NO_REASON, SCANNED, fault_of_reason


@pytest.mark.parametrize("typed", ["0990139305", " 0990139305\r", "A0990139305B", "123456"])
def test_r21_a_scanned_card_is_no_reason(typed: str) -> None:
    assert fault_of_reason(typed) == SCANNED


@pytest.mark.parametrize("typed", ["", "  ", "\u200b", "\t\n"])
def test_r21_what_cannot_be_seen_is_no_reason(typed: str) -> None:
    assert fault_of_reason(typed) == NO_REASON


@pytest.mark.parametrize("typed", ["vergissing", "pas 0990139305", "INC0123456", "x", "12345"])
def test_r21_words_and_the_number_of_a_ticket_are_reasons(typed: str) -> None:
    assert fault_of_reason(typed) is None
