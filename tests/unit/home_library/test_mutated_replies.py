"""Whatever arrives is a verdict or no answer: never a crash, and never *valid* by mistake (R4)."""

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registration.adapters.home_library.failures import GarbledReply
from registration.adapters.home_library.sip2 import FrameReader, open_frame
from registration.adapters.home_library.sip2_messages import read_patron_reply
from registration.adapters.home_library.sip2_verdict import verdict_of
from registration.domain.verdict import NotFound, Refused, Valid
from tests.unit.home_library.captures import CAPTURES
from tests.unit.home_library.reading import TODAY, library, verdicts

Verdicts = list[Valid | Refused | NotFound]
REFUSING = (0, 4, 5, 6, 9, 10, 11, 12, 13)  # as registered (R4), not as the product has it
FIXED_PART = 61
TRAILER = len("AY1AZFFFF\r")
originals = st.sampled_from([capture.cp850 for capture in CAPTURES.values()])
refusals = [capture.cp850 for name, capture in CAPTURES.items() if name.startswith("refused")]


def mutate(data: bytes, at: int, length: int, put: bytes) -> bytes:
    at %= len(data)
    return data[:at] + put + data[at + length :]


changes = st.lists(
    st.tuples(
        st.integers(0, 1000),
        st.integers(0, 6),
        st.binary(max_size=4) | st.sampled_from([b"|", b"\r", b"BLY|", b"BLN|", b"Y", b" ", b"|AE", b"|PA"]),
    ),
    min_size=1,
    max_size=4,
)


def read_whole_frames(data: bytes, *, checksum_needed: bool) -> Verdicts:
    """The verdicts up to the first frame that is no answer."""
    reader = FrameReader()
    reader.feed(data)
    found: Verdicts = []
    try:
        while (frame := reader.next()) is not None:
            text = open_frame(frame, "cp850", checksum_needed=checksum_needed).text
            found.append(verdict_of(read_patron_reply(text), library(), TODAY))
    except GarbledReply:
        pass
    return found


@settings(max_examples=1500, deadline=None)
@given(originals, changes)
@example(CAPTURES["valid"].cp850, [(95, 0, b"\r")])
def test_r4_a_mutated_reply_with_checksum_says_what_it_said_or_nothing(
    original: bytes, mutations: list[tuple[int, int, bytes]]
) -> None:
    mutated = original
    for mutation in mutations:
        mutated = mutate(mutated, *mutation)
    found = read_whole_frames(mutated, checksum_needed=True)
    assert found in ([], read_whole_frames(original, checksum_needed=True))


@settings(max_examples=1500, deadline=None)
@given(originals, changes)
def test_r4_a_mutated_reply_without_checksum_is_valid_only_if_it_says_so(
    original: bytes, mutations: list[tuple[int, int, bytes]]
) -> None:
    mutated = original[:-TRAILER] + b"\r"
    for mutation in mutations:
        mutated = mutate(mutated, *mutation)
    frames = [frame for frame in re.split(rb"[\r\n\0]*\r[\r\n\0]*", mutated) if frame.strip(b"\n\0")]
    for verdict, frame in zip(read_whole_frames(mutated, checksum_needed=False), frames, strict=False):
        if isinstance(verdict, Valid):
            text = frame.strip(b"\n\0").decode("cp850")
            assert all(text[2 + position] == " " for position in REFUSING)
            assert re.search(r"BLY *(\||$)", text)
            assert not re.search(r"\|BLN", text)


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


@pytest.mark.parametrize("flood", [lambda reader: reader.feed(b"6" * 20_000)])
def test_a_reply_without_an_end_is_given_up(flood: Callable[[FrameReader], None]) -> None:
    with pytest.raises(GarbledReply):
        flood(FrameReader())
