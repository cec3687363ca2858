"""Whatever arrives is a verdict or no answer: never a crash, never *valid* or *refused* by mistake (R4, R23).

20,000 mutated replies in each run, 500,000 in `make fuzz`.
"""

from functools import lru_cache
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registration.adapters.home_library.errors import GarbledReply
from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.sip2.framing import FrameReader
from registration.adapters.home_library.sip2.messages import Expected
from registration.domain.verdict import NotFound, Refused, Valid
from tests.support.fuzzing import Change, changes, fuzz, mutated, volume
from tests.unit.registration.adapters.home_library.sip2.captures import CAPTURES
from tests.unit.registration.adapters.home_library.sip2.oracle import FIXED_PART, frames, says
from tests.unit.registration.adapters.home_library.sip2.reading import library, read_one, verdicts

Verdicts = list[Valid | Refused | NotFound]
TRAILER = len("AY1AZFFFF\r")
refusals = [capture.cp850 for name, capture in CAPTURES.items() if name.startswith("refused")]


class Original(NamedTuple):
    """A reply before anything happens to it."""

    data: bytes
    encoding: str
    has_checksum: bool


ORIGINALS = [
    Original(whole if has_checksum else whole[:-TRAILER] + b"\r", encoding, has_checksum)
    for capture in CAPTURES.values()
    for encoding, whole in (("cp850", capture.cp850), ("utf-8", capture.utf8))
    for has_checksum in (True, False)
]
WORDS = (
    b"|",
    b"\r",
    b"\n",
    b"BLY|",
    b"BLN|",
    b"BLY",
    b"CQN|",
    b"|x",
    b"|\n",
    b"\x81",
    b"|BLY|",
    b"Y",
    b"N",
    b" ",
    b"0",
    b"|AE",
    b"|AEX|",
    b"|PA",
    b"|AA1|",
    b"AZ",
)


@lru_cache
def of(encoding: str) -> Library:
    return library(encoding)


def read_whole_frames(data: bytes, encoding: str = "cp850", *, checksum_needed: bool) -> Verdicts:
    """The verdicts up to the first frame that is no answer."""
    reader = FrameReader()
    reader.feed(data)
    found: Verdicts = []
    try:
        while (frame := reader.next()) is not None:
            found.append(read_one(frame, of(encoding), Expected(checksum_needed=checksum_needed)))
    except GarbledReply:
        pass
    return found


def test_r23_a_mutated_reply_is_valid_or_refused_only_if_its_bytes_say_so() -> None:
    """One example changes every capture, each in another place: with and without checksum, in both encodings.

    Anything but a verdict or GarbledReply fails it (R4). So does *valid* where another reader of the same
    bytes finds a refusing flag, `BL` that is not Y, no name, or a checksum that does not fit; and *refused*
    where it finds neither a refusing flag nor `BL` N, no name, or a PIN that is asked for.
    """

    @example([(95, 0, b"\r")], 0)
    @example([(665, 0, b"\x00")], 0)
    @example([(183, 0, b"BLY")], 183)
    def says_no_more_than_its_bytes(mutations: list[Change], step: int) -> None:
        for number, original in enumerate(ORIGINALS):
            data = mutated(original.data, mutations, number * step)
            found = read_whole_frames(data, original.encoding, checksum_needed=original.has_checksum)
            for verdict, frame in zip(found, frames(data), strict=False):
                assert isinstance(verdict, Valid | Refused | NotFound)
                valid, refused = says(frame, original.encoding, checksum_needed=original.has_checksum)
                assert valid or not isinstance(verdict, Valid), data
                assert refused or not isinstance(verdict, Refused), data

    inputs = volume(20_000, 500_000)
    strategies = changes(WORDS, longest=6), st.integers(0, 300)
    fuzz("SIP2", says_no_more_than_its_bytes, *strategies, inputs=inputs, of_each=len(ORIGINALS))


@pytest.mark.parametrize("name", CAPTURES)
def test_r4_two_readers_agree_on_what_no_one_changed(name: str) -> None:
    """Else the oracle would be of no worth: it must deny what is refused, and not what is valid."""
    [frame, *_] = frames(CAPTURES[name].cp850)
    valid, refused = says(frame, "cp850", checksum_needed=True)
    assert valid or not name.startswith("valid")
    assert refused or not name.startswith("refused")
    assert not (valid and name.startswith(("refused", "not_found")))
    assert not (refused and name.startswith(("valid", "not_found")))


@pytest.mark.parametrize("original", refusals)
@pytest.mark.parametrize("put", [b"", b" ", b"0", b"Y"])
def test_r4_a_shifted_fixed_part_never_hides_a_refusal(original: bytes, put: bytes) -> None:
    """A character lost (or come in between) moves all flags behind it by one."""
    plain = original[:-TRAILER] + b"\r"
    for at in range(2, FIXED_PART):
        shifted = plain[:at] + put + plain[at + (0 if put else 1) :]
        assert not any(
            isinstance(verdict, Valid) for verdict in read_whole_frames(shifted, checksum_needed=False)
        )


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=400))
def test_r4_noise_is_no_answer(noise: bytes) -> None:
    assert read_whole_frames(noise + b"\r", checksum_needed=False) == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([capture.cp850 for n, capture in CAPTURES.items() if "garbled" not in n])),
    st.data(),
)
def test_frames_do_not_depend_on_how_the_network_cuts_them(replies: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(replies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert verdicts(pieces, "cp850") == verdicts([whole], "cp850")
