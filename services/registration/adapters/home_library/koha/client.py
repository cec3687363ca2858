"""One home library that has Koha: asked over its REST API, with a token by client credentials (R4)."""

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any
from urllib.parse import urlencode

import orjson

from registration.adapters.home_library.errors import LoginRefused, NotServed, TimedOut
from registration.adapters.home_library.http import HttpLine
from registration.adapters.home_library.koha.reply import Asked, read_reply
from registration.adapters.home_library.lines import Reply, Turns
from registration.adapters.home_library.settings import Credentials, Library
from shared.platform.http_client import read_json

LONGEST_REPLY = 65_536
"""In bytes. A patron has some thousands; two are asked for at most."""
_LONGEST_TOKEN_REPLY = 16_384
_TOKEN = re.compile(r"[!-~]{1,4096}")
_LONGEST_LIFE = 86_400.0
_SPARE_SECONDS = 30.0
"""A token is renewed so long before its end: a request takes time."""


class KohaToken:
    """The access token of a library, fetched when it is needed and kept until shortly before its end.

    RFC 6749, section 4.4. Questions that come at the same time share one request.
    """

    def __init__(self, credentials: Credentials, line: HttpLine) -> None:
        self._credentials = credentials
        self._line = line
        self._lock = asyncio.Lock()
        self._token = ""
        self._good_until = 0.0

    async def get(self, until: float, refused: str = "") -> str:
        """Return a token other than the `refused` one. Raises LoginRefused, NoAnswer."""
        try:
            async with asyncio.timeout_at(until), self._lock:
                is_good = asyncio.get_running_loop().time() < self._good_until
                if not is_good or self._token == refused:
                    self._token, seconds = await self._fetched(until)
                    self._good_until = asyncio.get_running_loop().time() + seconds
                return self._token
        except TimeoutError:
            raise TimedOut from None

    async def _fetched(self, until: float) -> tuple[str, float]:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._credentials.username,
            "client_secret": self._credentials.password,
        }
        try:
            reply = await self._line.send(
                "POST",
                "/oauth/token",
                until,
                largest=_LONGEST_TOKEN_REPLY,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                content=urlencode(form).encode(),
            )
            return _token_in(reply)
        except NotServed:  # 400 is how the standard refuses a client, and Koha's answer when tokens are off
            raise LoginRefused from None


def _token_in(reply: bytes) -> tuple[str, float]:
    """Return the token and for how many seconds it is used. Raises LoginRefused if there is none."""
    try:
        found = read_json(reply)
    except ValueError:
        raise LoginRefused from None
    token = found.get("access_token") if isinstance(found, dict) else None
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise LoginRefused
    return token, _seconds_of(found)


def _seconds_of(found: Mapping[str, Any]) -> float:
    seconds = found.get("expires_in")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        return 0.0  # used once
    return max(0.0, min(float(seconds), _LONGEST_LIFE) - _SPARE_SECONDS)


class KohaLibrary:
    """Searches the patron of a card. Nothing is believed that is about another card."""

    def __init__(
        self, library: Library, credentials: Credentials, line: HttpLine, today: Callable[[], date]
    ) -> None:
        self._library = library
        self._line = line
        self._today = today
        self._turns = Turns(library)
        self._token = KohaToken(credentials, line)

    @property
    def connections(self) -> int:
        """How many questions the library takes at once."""
        return self._library.connections

    async def log_in(self, until: float) -> None:
        """Fetch a token. Raises LoginRefused, NoAnswer."""
        await self._token.get(until)

    async def ask(self, card_number: str) -> Reply:
        """Return the library's verdict about a card. Raises NoAnswer."""

        async def once(until: float, _alone: bool) -> Reply:
            return await self.patron(card_number, until)

        return await self._turns.ask(once)

    async def patron(self, card_number: str, until: float) -> Reply:
        """Ask once, with a new token if the library does not accept the present one."""
        token = await self._token.get(until)
        try:
            reply = await self._search(card_number, token, until)
        except LoginRefused:
            reply = await self._search(card_number, await self._token.get(until, refused=token), until)
        return read_reply(reply, self._library, Asked(card_number, self._today()))

    async def _search(self, card_number: str, token: str, until: float) -> bytes:
        """Search for this card number alone. It is in a header: addresses end up in the logs of proxies."""
        query = orjson.dumps({"cardnumber": card_number}).decode()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        params = {"_match": "exact", "_per_page": "2"}
        if self._library.query_in == "header":
            headers["x-koha-query"] = query
        else:
            params["q"] = query
        return await self._line.send(
            "GET", "/patrons", until, largest=LONGEST_REPLY, headers=headers, params=params
        )

    def close(self) -> None:
        """Close the connections."""
        self._line.close()
