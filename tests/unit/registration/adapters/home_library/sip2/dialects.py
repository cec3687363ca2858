"""Replies as different systems send them, with made-up persons: each is called by what it does.

Asked on 11 September 2025 about card 0990139305, with sequence digit 1.
"""

from datetime import date
from typing import Any, NamedTuple

from registration.adapters.home_library.errors import AsksForPin, FailedInside, NoAnswer
from registration.domain.verdict import NotFound, PatronDetails, Reason, Refused, Valid
from tests.unit.registration.adapters.home_library.sip2.reading import CARD


class Dialect(NamedTuple):
    """A reply with its end, the settings of the library, and what it says."""

    reply: bytes
    settings: dict[str, Any]
    says: Valid | Refused | NotFound | type[NoAnswer]


DIALECTS = {
    "no encoding set: UTF-8 on the wire, the sum over characters": Dialect(
        b"64              00520250911    101530000000000000000000000000AONL-0702"
        b"88|AA0990139305|AEZo\xc3\xab Voorbeeld|BLY|BD\xc5\x81\xc4\x85kstraat 1|PA20271231|AY1AZD"
        b"CFF\r",
        {"encoding": "utf-8"},
        Valid(PatronDetails("Zoë Voorbeeld", None, "Łąkstraat 1"), date(2027, 12, 31), CARD),
    ),
    "BL without a delimiter, a fee field behind it": Dialect(
        b"64              00520250911    101530000000000000000000000000AOMAIN|AA"
        b"0990139305|AEVOORBEELD, ANNA|BZ0050CA0000CB0050BLYCQYBHEURBV7.00|BEann"
        b"a@voorbeeld.nl|PA20271231    235900STAFF|AY1AZD356\r",
        {},
        Valid(PatronDetails("VOORBEELD, ANNA", None, None, "anna@voorbeeld.nl"), date(2027, 12, 31), CARD),
    ),
    "separators in texts, blank counts, dates of its own": Dialect(
        b"64              00520250911    101530                        AO|AA0990"
        b"139305|AEAnna Voorbeeld|BLY|BEanna|x@|voorbeeld.nl|AFOpen: ma-vr | za "
        b"gesloten|PA2027-12-31 23:59:59|PB1990-02-03|AY1AZCF14\r",
        {"date_format": "YYYY-MM-DD"},
        Valid(
            PatronDetails("Anna Voorbeeld", date(1990, 2, 3), None, "anna|x@|voorbeeld.nl"),
            date(2027, 12, 31),
            CARD,
        ),
    ),
    "LF alone, no checksums, ISO-8859-1, members without end": Dialect(
        b"64              00520250911    101530000000000000000000000000AO|AA0990"
        b"139305|AEJos\xe9 Voorbeeld|BLY|PANEVER|\n",
        {"encoding": "latin-1"},
        Valid(PatronDetails("José Voorbeeld"), None, CARD),
    ),
    "its own form of the card number, a padded sum": Dialect(
        b"64              00520250911    101530000000000000000000000000AO|AALN:0"
        b"990139305|AEVoorbeeld, Anna|BLY|AFok ok ok ok ok ok ok ok ok ok ok ok "
        b"ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok o"
        b"k ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok"
        b" ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok "
        b"ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok o"
        b"k ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok"
        b" ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok "
        b"ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok o"
        b"k ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok"
        b" ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok |AY1AZ"
        b"F8C \r",
        {},
        Valid(PatronDetails("Voorbeeld, Anna"), None, CARD),
    ),
    "unknown card: all flags, the number as the name": Dialect(
        b"64YYYYYYYYYYYYYY00520250911    101530000000000000000000000000AONL-0702"
        b"88|AA0990139305|AE0990139305|BLN|AFDeze pas is bij ons niet bekend.|AY"
        b"1AZDA56\r",
        {},
        NotFound(),
    ),
    "unknown card: flags, a comma as the name": Dialect(
        b"64YYYY          00520250911    101530000000000000000000000000AO|AA0990"
        b"139305|AE, |BLN|CQN|AY1AZEB24\r",
        {},
        NotFound(),
    ),
    "unknown card: BL left out": Dialect(
        b"64              00520250911    101530                        AO|AA0990"
        b"139305|AE|AFOnbekend|AY1AZEC61\r",
        {},
        NotFound(),
    ),
    "a PIN that nobody gave": Dialect(
        b"64YYYY          00520250911    101530000000000000000000000000AO|AA0990"
        b"139305|AEVoorbeeld, Anna|BLN|CQN|AFPincode onjuist|AY1AZDF13\r",
        {},
        AsksForPin,
    ),
    "failed inside": Dialect(
        b"64              00520250911    101530000000000000000000000000AO|AA|AE|"
        b"BLN|CQN|AFINTERNAL SERVER ERROR|AY1AZE75A\r",
        {},
        FailedInside,
    ),
    "blocked for fines, with a message of two lines": Dialect(
        b"64Y         Y   00520250911    101530000000000000000000000000AO|AA0990"
        b"139305|AEVoorbeeld, Anna|BLN|CQY|BV12.50|AFBetaal eerst.\nDank u|PA2027"
        b"1231|AY1AZD9E8\r",
        {},
        Refused(
            (Reason.BLOCKED, Reason.FINES), False, PatronDetails("Voorbeeld, Anna"), date(2027, 12, 31), CARD
        ),
    ),
}
