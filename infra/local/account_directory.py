"""The demo Single Identity account directory: two HTTP requests.

`GET /accounts/{account_id}` and `GET /accounts?username=&home_isil=`. It starts at once,
because it uses asyncio alone.
"""

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from infra.local.patrons import DEMO_ISIL, is_load_card

Account = Mapping[str, str]

_DEMO = {
    "acc-jan": ("jan.jansen", "0990139305"),
    "acc-devries": ("p.devries", "0990139313"),
}
_LOAD_ID = "acc-"
_LOAD_USERNAME = "load."
_LONGEST_HEAD = 16_384


def account_of(account_id: str) -> Account | None:
    """Return the account with this id, or None: one of two demo accounts, or the account of a load card."""
    if account_id in _DEMO:
        username, card_number = _DEMO[account_id]
        return _account(account_id, username, card_number)
    card_number = account_id.removeprefix(_LOAD_ID)
    if account_id.startswith(_LOAD_ID) and is_load_card(card_number):
        return _account(account_id, _LOAD_USERNAME + card_number, card_number)
    return None


def account_named(username: str, home_isil: str) -> Account | None:
    """Return the account with this username at this home library, or None. Upper and lower case are equal."""
    if home_isil.upper()[: len(DEMO_ISIL)] != DEMO_ISIL:
        return None
    username = username.strip().lower()
    for account_id, (known, _) in _DEMO.items():
        if known == username:
            return account_of(account_id)
    if username.startswith(_LOAD_USERNAME):
        return account_of(_LOAD_ID + username.removeprefix(_LOAD_USERNAME))
    return None


def _account(account_id: str, username: str, card_number: str) -> Account:
    return {
        "account_id": account_id,
        "username": username,
        "email": f"{username}@voorbeeld.nl",
        "home_isil": DEMO_ISIL,
        "home_card_number": card_number,
    }


async def answer_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection, which may carry any number of requests."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split("\r\n", 1)[0].split(" ", 2)
            status, body = _respond(method, target)
            data = json.dumps(body).encode()
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\n\r\n".encode()
                + data
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError):
        pass  # the client closed the connection, or does not speak HTTP
    finally:
        writer.close()


def _respond(method: str, target: str) -> tuple[str, object]:
    url = urlsplit(target)
    if method != "GET":
        return "405 Method Not Allowed", {"error": "GET only"}
    if url.path.startswith("/accounts/"):
        account = account_of(unquote(url.path.removeprefix("/accounts/")))
        return ("404 Not Found", {"error": "no such account"}) if account is None else ("200 OK", account)
    if url.path == "/accounts":
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        return "200 OK", {"account": account_named(query.get("username", ""), query.get("home_isil", ""))}
    return "404 Not Found", {"error": "no such resource"}


async def serve_accounts(host: str, port: int) -> asyncio.Server:
    """Start a server that listens until it is closed, and return it."""
    return await asyncio.start_server(answer_requests, host, port, limit=_LONGEST_HEAD)
