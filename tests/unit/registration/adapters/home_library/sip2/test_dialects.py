"""Each system's own way to say it gives the same verdicts, cut anywhere by the network (R4, R23)."""

import pytest

from registration.adapters.home_library.errors import NoAnswer
from registration.adapters.home_library.sip2.framing import FrameReader
from registration.adapters.home_library.sip2.messages import Expected
from registration.domain.verdict import NotFound, Refused, Valid
from tests.unit.registration.adapters.home_library.sip2.dialects import DIALECTS, Dialect
from tests.unit.registration.adapters.home_library.sip2.reading import library, read_one


def read(dialect: Dialect, cut: int) -> Valid | Refused | NotFound | type[NoAnswer]:
    reader = FrameReader()
    reader.feed(dialect.reply[:cut])
    assert cut == len(dialect.reply) or reader.next() is None
    reader.feed(dialect.reply[cut:])
    frame = reader.next()
    assert frame is not None
    assert reader.is_empty
    try:
        return read_one(frame, library(**dialect.settings), Expected(1))
    except NoAnswer as failure:
        return type(failure)


@pytest.mark.parametrize("name", DIALECTS)
def test_r23_a_dialect_gives_its_verdict(name: str) -> None:
    dialect = DIALECTS[name]
    for cut in range(1, len(dialect.reply)):
        assert read(dialect, cut) == dialect.says, cut
