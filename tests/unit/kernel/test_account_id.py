"""Ids of login accounts: nothing that reads as another address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.login_account import is_account_id


@pytest.mark.parametrize(
    "text", ["acc-jan", "auth0|5f7c8ec7", "jan@example.org", "urn:uuid:1", ".a", "a..b", "x" * 200, "7"]
)
def test_ids_of_account_providers(text: str) -> None:
    assert is_account_id(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "...", "a/b", "../a", "a\\b", "a?b", "a#b", "%2e%2e", "a b", "a\n", "a\x00"),
        *("x" * 201, "é", "a\u200b", "\u202eabc"),
    ],
)
def test_no_ids(text: str) -> None:
    assert not is_account_id(text)


@given(st.text(max_size=210))
def test_an_id_is_one_segment_of_a_path(text: str) -> None:
    if is_account_id(text):
        assert set(text).isdisjoint("/\\?#% \t\r\n")
        assert text.isascii()
        assert text.isprintable()
        assert text.strip(".")
