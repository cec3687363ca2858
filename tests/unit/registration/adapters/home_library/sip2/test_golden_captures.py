"""Every verdict of R4 from captures written by hand, however the network cuts and joins them."""

from collections.abc import Callable
from datetime import date

import pytest

from registration.adapters.home_library.errors import GarbledReply
from registration.domain.verdict import UNREADABLE, EndsOn, NotFound, PatronDetails, Reason, Refused, Valid
from tests.unit.registration.adapters.home_library.sip2.captures import CAPTURES
from tests.unit.registration.adapters.home_library.sip2.reading import CARD, verdicts

ZOE = PatronDetails("Zoë Brouwér")
END = date(2025, 12, 31)
YESTERDAY = date(2025, 9, 10)
TRAILER = len("AY1AZFFFF\r")


def valid(ends_on: EndsOn = END) -> Valid:
    return Valid(ZOE, ends_on, CARD)


def blocked(*reasons: Reason, ends_on: EndsOn = END) -> Refused:
    return Refused(reasons, because_ended=False, details=ZOE, ends_on=ends_on, canonical_card_number=CARD)


def ended(*reasons: Reason) -> Refused:
    return Refused(reasons, because_ended=True, details=ZOE, ends_on=YESTERDAY, canonical_card_number=CARD)


EXPECTED = {
    "valid": Valid(
        PatronDetails("Zoë Brouwér", date(1968, 4, 17), "Brink 3, 9301 JK Roden", "zoe@voorbeeld.nl"),
        END,
        CARD,
    ),
    "valid_no_end_known": valid(None),
    "valid_end_field_blank": valid(None),
    "valid_end_with_zone_and_time": valid(),
    "valid_end_in_utc_is_the_next_day_here": valid(date(2026, 1, 1)),
    "valid_ends_today": valid(date(2025, 9, 11)),
    "valid_end_already_past": valid(YESTERDAY),
    "valid_end_unreadable": valid(UNREADABLE),
    "valid_end_no_such_day": valid(UNREADABLE),
    "valid_two_ends": valid(UNREADABLE),
    "valid_counts_blank": valid(),
    "valid_fields_in_another_order": valid(),
    "valid_guest_subscription": Valid(ZOE, END, CARD, is_guest_subscription=True),
    "valid_other_patron_type": valid(),
    "valid_replaced_card": Valid(ZOE, END, "0990139362"),
    "valid_recall_alone_does_not_refuse": valid(),
    "valid_renewal_hold_renewals_claims": valid(),
    "refused_charge_denied": blocked(Reason.BLOCKED),
    "refused_card_lost": blocked(Reason.CARD_LOST),
    "refused_too_many_charged": blocked(Reason.TOO_MANY_CHARGED),
    "refused_overdue": blocked(Reason.OVERDUE),
    "refused_too_many_lost": blocked(Reason.TOO_MANY_LOST),
    "refused_fines": blocked(Reason.FINES),
    "refused_fees": blocked(Reason.FEES),
    "refused_recall_overdue": blocked(Reason.RECALL_OVERDUE),
    "refused_billed": blocked(Reason.BILLED),
    "refused_any_character_is_a_flag": blocked(Reason.FINES),
    "refused_fines_and_card_lost": blocked(Reason.CARD_LOST, Reason.FINES),
    "refused_expired": ended(Reason.EXPIRED),
    "refused_expired_with_flags": ended(Reason.EXPIRED, Reason.BLOCKED),
    "refused_flag_and_end_past": ended(Reason.EXPIRED, Reason.FINES),
    "refused_bare_no_is_a_block": blocked(Reason.BLOCKED, ends_on=None),
    "refused_no_with_end_to_come_is_a_block": blocked(Reason.BLOCKED),
    "refused_no_with_end_today_is_a_block": blocked(Reason.BLOCKED, ends_on=date(2025, 9, 11)),
    "refused_no_with_end_unreadable": blocked(Reason.BLOCKED, ends_on=UNREADABLE),
    "not_found": NotFound(),
    "not_found_without_name_field": NotFound(),
    "not_found_all_flags": NotFound(),
}
GARBLED = sorted(name for name in CAPTURES if name.startswith("garbled"))


def plain(capture: bytes) -> bytes:
    """The same reply from a library that sends no checksums."""
    return capture[:-TRAILER] + b"\r"


def as_it_is(capture: bytes) -> bytes:
    return capture


def with_line_feed(capture: bytes) -> bytes:
    return capture + b"\n"


@pytest.fixture(params=["cp850", "utf-8"])
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[as_it_is, plain, with_line_feed], ids=lambda way: way.__name__)
def sent(request: pytest.FixtureRequest, encoding: str) -> Callable[[str], bytes]:
    """The bytes of a capture by its name, in this encoding, sent this way."""

    def bytes_of(name: str) -> bytes:
        capture = CAPTURES[name]
        sent: bytes = request.param(capture.cp850 if encoding == "cp850" else capture.utf8)
        return sent

    return bytes_of


def test_every_capture_is_expected_to_say_something() -> None:
    assert EXPECTED.keys() | set(GARBLED) == CAPTURES.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_r4_a_reply_gives_its_verdict(name: str, encoding: str, sent: Callable[[str], bytes]) -> None:
    assert verdicts([sent(name)], encoding) == [EXPECTED[name]]


@pytest.mark.parametrize("name", EXPECTED)
def test_r4_a_reply_in_two_fragments_cut_anywhere(
    name: str, encoding: str, sent: Callable[[str], bytes]
) -> None:
    data = sent(name)
    for cut in range(1, len(data)):
        assert verdicts([data[:cut], data[cut:]], encoding) == [EXPECTED[name]]


def test_r4_replies_byte_by_byte(encoding: str, sent: Callable[[str], bytes]) -> None:
    data = b"".join(sent(name) for name in EXPECTED)
    assert verdicts([data[at : at + 1] for at in range(len(data))], encoding) == list(EXPECTED.values())


def test_r4_replies_pipelined_in_one_read(encoding: str, sent: Callable[[str], bytes]) -> None:
    assert verdicts([b"".join(map(sent, EXPECTED))], encoding) == list(EXPECTED.values())


@pytest.mark.parametrize("name", GARBLED)
def test_r4_a_reply_that_does_not_say_is_no_verdict(
    name: str, encoding: str, sent: Callable[[str], bytes]
) -> None:
    with pytest.raises(GarbledReply):
        verdicts([sent(name)], encoding)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_damaged_byte_is_noticed_by_its_checksum(name: str) -> None:
    data = CAPTURES[name].cp850
    for at in range(len(data) - TRAILER):
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(GarbledReply):
            verdicts([damaged], "cp850")


def test_r23_a_name_in_the_wrong_encoding_is_not_guessed_and_decides_nothing() -> None:
    [verdict] = verdicts([CAPTURES["valid"].cp850], "utf-8")
    assert isinstance(verdict, Valid)
    assert verdict.details.name == "Zo\ufffd Brouw\ufffdr"
