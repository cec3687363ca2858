"""Canaille is what tests/support/peers/canaille.py says of it: tests of our clients rely on that."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.support.peers import all_met
from tests.support.peers.canaille import Canaille, CanailleUser, canaille

JAN = CanailleUser(
    "jan.jansen",
    ("jan@voorbeeld.nl",),
    "een heel lang wachtwoord",
    organization="NL-070288",
    employee_number="0990139305",
    groups=("staff",),
)
PIET = CanailleUser("piet", ("piet@voorbeeld.nl",), locked=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Canaille]:
    with canaille([JAN, PIET], redirect_uris=["http://127.0.0.1:1/aanmelden/terug"]) as started:
        yield started


def token(server: Canaille, client: str, secret: str) -> str:
    reply = httpx2.post(server.token_url, data={"grant_type": "client_credentials"}, auth=(client, secret))
    return str(reply.raise_for_status().json()["access_token"])


def asked(server: Canaille, path: str, **query: str) -> httpx2.Response:
    bearer = {"Authorization": f"Bearer {token(server, server.scim_client, server.scim_secret)}"}
    return httpx2.get(server.scim_url + path, params=query, headers=bearer)


def test_it_ignores_the_filter_and_returns_everybody_with_status_200(server: Canaille) -> None:
    reply = asked(server, "/Users", filter='userName eq "nobody.at.all"')
    assert reply.status_code == 200
    assert {user["userName"]: user["active"] for user in reply.json()["Resources"]} == {
        "jan.jansen": True,
        "piet": False,
    }


def test_it_finds_a_user_by_another_name_than_the_id(server: Canaille) -> None:
    assert asked(server, "/Users/jan.jansen").json()["id"] != "jan.jansen"
    assert asked(server, "/Users/nobody").json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]


def test_it_is_a_provider_with_both_clients(server: Canaille) -> None:
    discovery = httpx2.get(f"{server.url}/.well-known/openid-configuration").json()
    assert discovery["issuer"] == server.url
    assert discovery["token_endpoint"] == server.token_url
    assert token(server, server.oidc_client, server.oidc_secret)
    assert httpx2.get(f"{server.scim_url}/Users").status_code == 401


def test_it_is_named_at_the_end_of_the_run(server: Canaille) -> None:
    assert f"canaille {server.version} (SCIM 2.0 and OpenID Connect)" in all_met()
