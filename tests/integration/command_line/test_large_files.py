"""A file that is far too large, or never ends, is refused: a wrong path must not fill the memory."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from identity.adapters.account_file import read_account_file
from identity.application.import_accounts import Mistake
from registration.adapters.card_prefixes import read_prefix_file
from registration.adapters.home_library.settings import load_directory
from shared.kernel.errors import ConfigurationError
from shared.kernel.files import LARGEST_FILE, read_file
from shared.kernel.organisations import read_organisations
from shared.platform.http_client import HttpClient
from shared.platform.secrets import read_key_file
from shared.web.oauth_client import read_private_key
from shared.web.security import KeysUnavailable, keys_of
from shared.web.service_token import TokenFile

ENDLESS = Path("/dev/zero")
READERS: tuple[Callable[[Path], object], ...] = (
    lambda path: load_directory(path, {}),
    read_prefix_file,
    read_organisations,
    read_key_file,
    lambda path: asyncio.run(TokenFile(path)()),
    read_private_key,
)


@pytest.mark.parametrize("read", READERS)
def test_a_file_that_never_ends_is_refused(read: Callable[[Path], object]) -> None:
    with pytest.raises((OSError, ConfigurationError), match="more than"):
        read(ENDLESS)


async def test_keys_in_a_file_that_never_ends_cannot_be_read() -> None:
    async with HttpClient() as http:
        with pytest.raises(KeysUnavailable):
            await keys_of("https://issuer.example", str(ENDLESS), http).ready()


def test_accounts_in_a_line_that_never_ends_are_a_mistake() -> None:
    mistakes = list(read_account_file(ENDLESS))
    assert [type(each) for each in mistakes] == [Mistake, Mistake]
    assert "more than 10000 characters" in str(mistakes[0])


def test_a_file_may_have_just_so_many_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * LARGEST_FILE)
    assert len(read_file(path)) == LARGEST_FILE
    path.write_bytes(b"x" * (LARGEST_FILE + 1))
    with pytest.raises(OSError, match="more than 1048576 bytes"):
        read_file(path)


def test_line_ends_of_every_system_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\r\nb\rc\nd")
    assert read_file(path) == "a\nb\nc\nd"
