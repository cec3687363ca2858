"""Whatever a sign-in service sends: nobody is signed in, and the clerk reads what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from registration.counter_ui.sign_in_client import SignInFailed
from shared.web.problems import Problem
from tests.integration.calling_out.issuer import (
    DISCOVERY,
    KEYS,
    PATHS,
    USERINFO,
    Issuer,
    browser,
    come_back,
    sign_in,
)
from tests.integration.calling_out.test_hostile_replies import BUFFERED
from tests.support.eventually import eventually
from tests.support.hostile_http import (
    FLOODS,
    SHAPES,
    Answer,
    HostilePeer,
    bomb,
    hostile_peer,
    json_answer,
    nested,
    silent,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
ENDPOINTS = PATHS[1:]


def issuer_that(floods_at: str, answer: Answer, peer: HostilePeer) -> Issuer:
    """Let the peer be an issuer that is right but at this path."""
    issuer = Issuer(peer.url)
    peer.answer = lambda path: answer(path) if path == floods_at else json_answer(issuer.page(path))
    return issuer


@pytest.mark.parametrize("answer", [*FLOODS, bomb, nested])
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_hostile_sign_in_service_signs_nobody_in(path: str, answer: Answer) -> None:
    async with hostile_peer(answer) as peer:
        issuer = issuer_that(path, answer, peer)
        with pytest.raises((Problem, SignInFailed)):
            await come_back(sign_in(peer.url), issuer)
        await eventually(lambda: peer.connections == peer.closed_on)
    assert peer.sent < BUFFERED


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_sign_in_service_that_replies_in_another_shape_signs_nobody_in(
    path: str, shape: bytes
) -> None:
    async with hostile_peer(lambda _path: json_answer(shape)) as peer:
        issuer = issuer_that(path, lambda _path: json_answer(shape), peer)
        with pytest.raises((Problem, SignInFailed)):
            await come_back(sign_in(peer.url), issuer)


def signed_by_nobody(_path: str) -> Iterator[bytes]:
    stranger = ECKey.generate_key("P-256", {"kid": "k"})
    claims = {"sub": "m.visser", "scope": "counter"}
    said = jwt.encode({"alg": "ES256", "kid": "k"}, claims, stranger).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: %d\r\n\r\n" % len(said)
    yield head + said


async def test_claims_that_another_has_signed_are_nobodys() -> None:
    async with hostile_peer(signed_by_nobody) as peer:
        issuer = issuer_that(USERINFO, signed_by_nobody, peer)
        with pytest.raises(SignInFailed, match="does not count"):
            await come_back(sign_in(peer.url), issuer)


@pytest.mark.parametrize(
    "change",
    [
        *({name: value} for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
          for value in (None, 3, "", "http://[", "javascript:1", ["x"])),
        {"id_token_signing_alg_values_supported": 3},
        {"id_token_signing_alg_values_supported": [{}]},
        {"userinfo_endpoint": {}},
    ],
)  # fmt: skip
async def test_discovery_that_cannot_be_used_is_unavailable_until_it_is_right_again(
    change: dict[str, object],
) -> None:
    changes = iter([change])
    async with hostile_peer(silent) as peer:
        issuer = Issuer(peer.url)

        def discovery(_path: str) -> Iterator[bytes]:
            yield from json_answer(json.dumps(issuer.discovery() | next(changes, {})).encode())

        issuer_that(DISCOVERY, discovery, peer)
        service = sign_in(peer.url)
        with pytest.raises(Problem) as raised:
            await service.begin(browser("", {}))
        assert raised.value.status == 503
        await service.begin(browser("", {}))


async def test_keys_that_could_not_be_read_are_read_again_at_the_next_sign_in() -> None:
    answers = iter([b'{"keys": 3}', b"[]"])

    async with hostile_peer(silent) as peer:
        issuer = issuer_that(KEYS, lambda _path: json_answer(next(answers, b'{"keys": []}')), peer)
        service = sign_in(peer.url)
        for _ in range(3):
            with pytest.raises(SignInFailed):
                await come_back(service, issuer)
        assert sum(b"/jwks" in request for request in peer.requests) >= 3
