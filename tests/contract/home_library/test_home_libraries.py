"""What every home library promises: one of four verdicts, never mixed up (R4)."""

import asyncio

import pytest

from registration.domain.errors import UnknownHomeLibrary
from registration.domain.verdict import NotFound, Unavailable
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from tests.contract.home_library.conftest import EXPECTED, ISIL, MERGED, Home

CARD = "0990139305"


@pytest.mark.parametrize("card", EXPECTED)
async def test_r4_each_card_gets_its_verdict(home: Home, card: str) -> None:
    assert await home.libraries.ask(ISIL, card) == home.expected(card)


async def test_r4_many_at_once_each_get_their_own(home: Home) -> None:
    cards = list(EXPECTED) * 20
    verdicts = await asyncio.gather(*(home.libraries.ask(ISIL, card) for card in cards))
    assert verdicts == [home.expected(card) for card in cards]


async def test_r4_a_library_that_is_down_is_unavailable_and_comes_back(home: Home) -> None:
    assert await home.libraries.ask(ISIL, CARD) == EXPECTED[CARD]
    await home.goes_down()
    for _ in range(2):
        assert await home.libraries.ask(ISIL, CARD) == Unavailable("cannot connect")
    await home.comes_back()
    assert await home.libraries.ask(ISIL, CARD) == EXPECTED[CARD]


async def test_r4_a_card_of_another_library_is_not_found(home: Home) -> None:
    assert await home.libraries.ask("NL-083424", CARD) == NotFound()


@pytest.mark.parametrize("card", [f" {CARD} ", CARD])
@pytest.mark.parametrize("isil", [ISIL, "nl-070288", " NL-0702880001 ", MERGED])
async def test_r3_a_location_another_case_or_a_former_name_is_the_same_library(
    home: Home, isil: str, card: str
) -> None:
    assert await home.libraries.ask(isil, card) == EXPECTED[CARD]


async def test_r1_leading_zeros_matter(home: Home) -> None:
    assert await home.libraries.ask(ISIL, CARD.removeprefix("0")) == NotFound()


@pytest.mark.parametrize("card", ["", " ", "0990139305\r", "0990|139305", "09901\x0039305", "1" * 21, "é"])
async def test_r1_what_is_no_card_number_is_malformed(home: Home, card: str) -> None:
    with pytest.raises(MalformedCardNumber):
        await home.libraries.ask(ISIL, card)


@pytest.mark.parametrize("isil", ["L-070288", "NL-70288", "NL-070288\n", ""])
async def test_r3_what_is_no_isil_is_malformed(home: Home, isil: str) -> None:
    with pytest.raises(MalformedIsil):
        await home.libraries.ask(isil, CARD)


async def test_a_library_that_nobody_knows_is_refused_as_unknown(home: Home) -> None:
    with pytest.raises(UnknownHomeLibrary):
        await home.libraries.ask("NL-000001", CARD)
