"""What differs between libraries: which of their flags refuse, how they write the end (R4, R12)."""

from datetime import date

import pytest

from registration.domain.verdict import NotFound, Reason, Refused, Valid
from tests.unit.registration.adapters.home_library.sip2.reading import library, read_one

LINE = "64{status}00520250911    101530" + "0000" * 6 + "AA0990139305|AEJan|BLY|PA{end}|"


def asked(flags: set[int], end: str = "20251231", **settings: object) -> Valid | Refused | NotFound:
    """The verdict on a patron with these flags set and this end date, by a library with these settings."""
    status = "".join("Y" if position in flags else " " for position in range(14))
    return read_one(LINE.format(status=status, end=end).encode(), library("cp850", **settings))


@pytest.mark.parametrize(
    ("settings", "flags", "reasons"),
    [
        ({}, {1, 2, 3, 7, 8}, None),
        ({}, {0}, [Reason.BLOCKED]),
        ({"refusing_flags": ["card-lost", 10]}, {0, 5, 6, 9, 11, 12, 13}, None),
        ({"refusing_flags": ["card-lost", 10]}, {4, 10}, [Reason.CARD_LOST, Reason.FINES]),
        (
            {"refusing_flags": ["too-many-renewals", 8]},
            {7, 8},
            [Reason.TOO_MANY_RENEWALS, Reason.TOO_MANY_CLAIMS],
        ),
        ({"refusing_flags": [1, 3]}, {1, 3}, [Reason.BLOCKED]),
        ({"refusing_flags": []}, set(range(14)), None),
    ],
    ids=[
        "usual, none of them",
        "usual, charge",
        "others",
        "by name and position",
        "unusual",
        "twice",
        "none",
    ],
)
def test_r4_the_flags_that_the_library_names_refuse(
    settings: dict[str, object], flags: set[int], reasons: list[Reason] | None
) -> None:
    verdict = asked(flags, "20251231", **settings)
    if reasons is None:
        assert isinstance(verdict, Valid)
    else:
        assert isinstance(verdict, Refused)
        assert list(verdict.reasons) == reasons


def test_r4_without_any_flag_bl_no_still_refuses() -> None:
    line = LINE.replace("BLY", "BLN").format(status=" " * 14, end="")
    verdict = read_one(line.encode(), library("cp850", refusing_flags=[]))
    assert isinstance(verdict, Refused)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("YYYYMMDD", "20251231"),
        ("YYYYMMDD", "20251231    235900"),
        ("DD-MM-YYYY", "31-12-2025"),
        ("DD/MM/YYYY", " 31/12/2025 "),
        ("MM/DD/YYYY", "12/31/2025"),
        ("YYYY-MM-DD", "2025-12-31"),
        ("DD.MM.YYYY", "31.12.2025"),
        ("DDMMYYYY", "31122025"),
    ],
)
def test_r12_the_end_is_read_as_the_library_writes_it(form: str, text: str) -> None:
    verdict = asked(set(), text, date_format=form)
    assert isinstance(verdict, Valid)
    assert verdict.ends_on == date(2025, 12, 31)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("J\u202ean \u2067Jansen\u200b", "Jan Jansen"),
        ("Zoe\u0308", "Zoë"),
        ("علی\u200cرضا", "علی\u200cرضا"),
        ("x" * 5000, "x" * 200),
    ],
)
def test_r5_details_are_kept_as_they_look_and_not_endlessly(sent: str, kept: str) -> None:
    line = f"64{' ' * 14}00520250911    101530{'0000' * 6}AA0990139305|AE{sent}|BD{sent}|BE{sent}|BLY|"
    verdict = read_one(line.encode(), library("utf-8"))
    assert isinstance(verdict, Valid)
    assert verdict.details.name == kept
    assert verdict.details.address == kept.replace("x" * 200, "x" * 500)
    assert verdict.details.email == kept.replace("x" * 200, "x" * 254)
