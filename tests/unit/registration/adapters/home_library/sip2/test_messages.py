"""How a library writes dates (R12)."""

import pytest

from registration.adapters.home_library.sip2.messages import date_reader, is_date_format


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("DD-MM-YYYY", "2025-12-31"),
        ("DD-MM-YYYY", "1-1-2025"),
        ("DD-MM-YYYY", "31-11-2025"),
        ("DD.MM.YYYY", "31x12x2025"),
        ("DD-MM-YYYY", "31-12-2025 12:60"),
        ("DD-MM-YYYY", "31-12-2025 13:00 PM"),
        ("DD-MM-YYYY", "31-12-2025 1200"),
        ("DD-MM-YYYY", "31-12-2025x12:00"),
        ("YYYYMMDD", "20251231    2359001"),
        ("YYYYMMDD", "20251231EST 235900"),
        ("YYYYMMDD", "20251231STAFF"),
        ("YYYYMMDD", "31-12-2025"),
    ],
)
def test_r12_an_end_in_another_form_is_not_guessed(form: str, text: str) -> None:
    assert date_reader(form)(text) is None


@pytest.mark.parametrize(
    "form", ["", "YYYYMM", "YYYYMMDDDD", "YYYYMMDDYYYY", "DD-MM-YY", "%d-%m-%Y", "DD--MM-YYYY"]
)
def test_a_form_of_dates_that_cannot_be_read_is_none(form: str) -> None:
    assert not is_date_format(form)
