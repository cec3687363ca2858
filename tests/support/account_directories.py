"""Account directories with the same accounts, of every kind that identity can ask."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2

from identity.adapters.directory_settings import LdapDirectory
from identity.adapters.ldap_directory import LdapAccountDirectory
from identity.adapters.listed_accounts import AttributeMap
from identity.adapters.scim_directory import ScimAccountDirectory
from identity.application.dependencies import AccountDetails
from shared.platform.http_client import HttpClient
from tests.support.home_libraries import make_authority
from tests.support.peers.canaille import Canaille, CanailleUser, canaille
from tests.support.peers.slapd import BASE, PASSWORD, READER, LdapUser, Slapd, slapd

HOME, ELSEWHERE = "NL-070288", "NL-083424"
JAN = AccountDetails("acc-jan", "jan.jansen", "jan@voorbeeld.nl", HOME, "0990139305")
ODD = AccountDetails("auth0|a:b@c", "odd", "odd@voorbeeld.nl", HOME, "0990139313")
TRICKY = AccountDetails("acc-tricky", '*)(uid="o\\" or \\2a', "tricky@voorbeeld.nl", HOME, "0990139321")
NAMESAKE = AccountDetails("acc-namesake", "jan.jansen", "jan@elders.nl", ELSEWHERE, "0990139339")
TWINS = tuple(
    AccountDetails(f"acc-twin-{card}", "tweeling", f"{card}@voorbeeld.nl", HOME, card)
    for card in ("0990139347", "0990139354")
)
LOCKED = AccountDetails("acc-locked", "gesloten", "gesloten@voorbeeld.nl", HOME, "0990139362")
ACCOUNTS = (JAN, ODD, TRICKY, NAMESAKE, *TWINS, LOCKED)
ACTIVE = tuple(account for account in ACCOUNTS if account is not LOCKED)

Answer = Callable[[httpx2.Request], httpx2.Response]
_ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
_LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
PAGE = 2
"""Users on a page of the SCIM directory below."""


def http_accounts(request: httpx2.Request) -> httpx2.Response:
    """The directory of two HTTP requests."""
    known = [_json(account) for account in ACCOUNTS]
    asked: dict[str, Any] = dict(request.url.params)
    if asked:
        wanted = (asked["username"].lower(), asked["home_isil"])
        found = [account for account in known if (account["username"], account["home_isil"]) == wanted]
        return httpx2.Response(200, json={"account": found[0] if len(found) == 1 else None})
    account_id = unquote(request.url.raw_path.decode().removeprefix("/accounts/"))
    found = [account for account in known if account["account_id"] == account_id]
    return httpx2.Response(200, json=found[0]) if found else httpx2.Response(404, json={})


def _json(account: AccountDetails) -> dict[str, Any]:
    return {
        "account_id": account.account_id,
        "username": account.username,
        "email": account.email,
        "home_isil": account.home_isil,
        "home_card_number": account.home_card_number,
        "active": account is not LOCKED,
    }


@dataclass
class ScimServer:
    """A SCIM directory with filters and pages; `asked` has the filter or the path of each request."""

    users: Sequence[Mapping[str, Any]]
    filters: bool = True
    ignores_filter: bool = False

    def __post_init__(self) -> None:
        self.asked: list[str] = []
        self.not_modified = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.headers.get("Authorization") != "Bearer token":
            return _scim(401, {"schemas": [_ERROR], "status": "401"})
        path = unquote(request.url.raw_path.decode().partition("?")[0])
        query = dict(request.url.params)
        self.asked.append(query.get("filter", path))
        if path == "/scim/ServiceProviderConfig":
            return _scim(200, {"filter": {"supported": self.filters, "maxResults": 100}})
        if path == "/scim/Users":
            return self._list(query["filter"], int(query.get("startIndex", 1)))
        return self._one(path.removeprefix("/scim/Users/"), request.headers.get("If-None-Match"))

    def _one(self, user_id: str, known: str | None) -> httpx2.Response:
        for user in self.users:
            if user["id"] == user_id:
                if known == user["meta"]["version"]:
                    self.not_modified += 1
                    return httpx2.Response(304)
                return _scim(200, user)
        return _scim(404, {"schemas": [_ERROR], "status": "404"})

    def _list(self, wanted: str, start: int) -> httpx2.Response:
        pairs = re.findall(r'(\w+) eq ("(?:[^"\\]|\\.)*")', wanted)
        names = {(name, json.loads(value).lower()) for name, value in pairs}
        found = [
            user
            for user in self.users
            if self.ignores_filter or any((name, str(user[name]).lower()) in names for name, _ in pairs)
        ]
        page = found[start - 1 : start - 1 + PAGE]
        return _scim(200, {"schemas": [_LIST], "totalResults": len(found), "Resources": page})


def scim_users(accounts: Sequence[AccountDetails] = ACCOUNTS) -> list[dict[str, Any]]:
    return [
        {
            "id": account.account_id,
            "userName": account.username,
            "emails": [{"value": "other@voorbeeld.nl"}, {"value": account.email, "primary": True}],
            "active": account is not LOCKED,
            "meta": {"version": f'W/"{number}"'},
            _ENTERPRISE: {"organization": account.home_isil, "employeeNumber": account.home_card_number},
        }
        for number, account in enumerate(accounts)
    ]


def _scim(status: int, value: object) -> httpx2.Response:
    return httpx2.Response(
        status, content=json.dumps(value), headers={"Content-Type": "application/scim+json;charset=utf-8"}
    )


SCIM_ATTRIBUTES = {
    "account_id": "id",
    "username": "userName",
    "email": "emails.value",
    "active": "active",
    "home_isil": f"{_ENTERPRISE}:organization",
    "home_card_number": f"{_ENTERPRISE}:employeeNumber",
}
CANAILLE_ATTRIBUTES = SCIM_ATTRIBUTES | {"account_id": "displayName"}
LDAP_ATTRIBUTES = {
    "account_id": "displayName",
    "username": "uid",
    "email": "mail",
    "active": "accountActive",
    "home_isil": "o",
    "home_card_number": "employeeNumber",
}


async def a_token() -> str:
    return "token"


def scim_over(http: HttpClient, **changed: str | None) -> ScimAccountDirectory:
    """The SCIM directory at the base address of `http`, with changed attributes."""
    return ScimAccountDirectory(http, a_token, AttributeMap.model_validate(SCIM_ATTRIBUTES | changed))


def scim_client(answer: Answer) -> HttpClient:
    return HttpClient(base_url="http://directory/scim", transport=httpx2.MockTransport(answer))


def canaille_with_accounts() -> AbstractContextManager[Canaille]:
    """Canaille with ACCOUNTS; the id is in `displayName`, as its own ids cannot be chosen."""
    return canaille(
        [
            CanailleUser(
                account.username,
                (account.email,),
                display_name=account.account_id,
                organization=account.home_isil,
                employee_number=account.home_card_number,
                locked=account is LOCKED,
            )
            for account in ACCOUNTS
        ]
    )


async def token_of(server: Canaille) -> str:
    """A token of the SCIM client, by client credentials."""
    async with HttpClient() as http:
        reply = await http.post(
            server.token_url,
            data={"grant_type": "client_credentials"},
            auth=(server.scim_client, server.scim_secret),
        )
    return str(reply.json()["access_token"])


@dataclass(frozen=True, slots=True)
class LdapHost:
    """A running slapd with ACCOUNTS, and the files to ask it with."""

    server: Slapd
    ca_file: Path
    password_file: Path

    def settings(self, **changed: object) -> LdapDirectory:
        """Settings with STARTTLS, but for what is changed."""
        said = {
            "kind": "ldap",
            "url": f"ldap://localhost:{self.server.port}",
            "starttls": True,
            "ca_file": self.ca_file,
            "base": BASE,
            "bind_dn": READER,
            "password_file": self.password_file,
            "attributes": LDAP_ATTRIBUTES,
        }
        context = {"private_hosts": frozenset[str](), "folder": self.ca_file.parent}
        return LdapDirectory.model_validate(said | changed, context=context)

    def directory(self, **changed: object) -> LdapAccountDirectory:
        return LdapAccountDirectory(self.settings(**changed))


class SlapdWithAccounts:
    """slapd with ACCOUNTS, in a folder."""

    def __init__(self, folder: Path, size_limit: int = 500) -> None:
        authority = make_authority(folder)
        authority.server("localhost")
        both = folder / "localhost.pem"
        self._served = slapd(
            [_ldap_user(account) for account in ACCOUNTS],
            folder / "slapd",
            certificate=both,
            key=both,
            size_limit=size_limit,
        )
        self._authority, self._password = authority.file, folder / "password"
        self._password.write_text(PASSWORD + "\n", "utf-8")

    def __enter__(self) -> LdapHost:
        return LdapHost(self._served.__enter__(), self._authority, self._password)

    def __exit__(self, *raised: object) -> None:
        self._served.__exit__(None, None, None)


def _ldap_user(account: AccountDetails) -> LdapUser:
    return LdapUser(
        uid=account.username,
        display_name=account.account_id,
        mail=account.email,
        o=account.home_isil,
        employee_number=account.home_card_number,
        active=False if account is LOCKED else None,
    )


def canaille_file(server: Canaille, folder: Path) -> Path:
    """Settings for Canaille, with tokens by client credentials."""
    (folder / "client-secret").write_text(server.scim_secret, "ascii")
    file = folder / "account-directory.toml"
    file.write_text(
        f"""
[directory]
kind = "scim"
url = "{server.scim_url}"

[directory.client_credentials]
issuer = "{server.url}"
client_id = "{server.scim_client}"
client_secret_file = "client-secret"

[directory.attributes]
{_toml(CANAILLE_ATTRIBUTES)}
""",
        "utf-8",
    )
    return file


def slapd_file(host: LdapHost, folder: Path) -> Path:
    """Settings for slapd, with STARTTLS."""
    file = folder / "account-directory.toml"
    file.write_text(
        f"""
[directory]
kind = "ldap"
url = "ldap://localhost:{host.server.port}"
starttls = true
ca_file = "{host.ca_file}"
base = "{BASE}"
bind_dn = "{READER}"
password_file = "{host.password_file}"
filter = "(objectClass=inetOrgPerson)"

[directory.attributes]
{_toml(LDAP_ATTRIBUTES)}
""",
        "utf-8",
    )
    return file


def _toml(attributes: Mapping[str, str]) -> str:
    return "\n".join(f'{name} = "{value}"' for name, value in attributes.items())
