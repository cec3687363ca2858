"""A token is verified once, and remembered until it ends or its key is no longer published."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt

from shared.web import security
from shared.web.issuer import from_file
from shared.web.security import InvalidToken, JwksKeys, TokenVerifier
from tests.support.tokens import ISSUER, Signer


class Verifying:
    """A verifier with a clock to set; it counts the tokens whose signature was checked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.signer = Signer(folder / "jwks.json")
        self.now = time.time()
        self.checked = 0
        self.keys = JwksKeys(lambda: from_file(self.signer.jwks), min_interval=0.0)
        self.verifier = TokenVerifier(
            ISSUER, self.keys, audience="registration", typed=True, clock=lambda: self.now
        )
        decode = jwt.decode

        def counted(*arguments: Any, **more: Any) -> Any:
            self.checked += 1
            return decode(*arguments, **more)

        monkeypatch.setattr(jwt, "decode", counted)


@pytest.fixture
def verifying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verifying:
    return Verifying(tmp_path, monkeypatch)


async def test_the_signature_of_a_token_is_checked_once(verifying: Verifying) -> None:
    tokens = [verifying.signer.token(sub=who) for who in ("anna", "bert")]
    for _ in range(3):
        assert [(await verifying.verifier.verify(token)).subject for token in tokens] == ["anna", "bert"]
    assert verifying.checked == 2


async def test_a_token_ends_also_when_it_is_remembered(verifying: Verifying) -> None:
    token = verifying.signer.token()
    await verifying.verifier.verify(token)
    verifying.now += 60 + security.LEEWAY_SECONDS + 1
    with pytest.raises(InvalidToken, match="expired"):
        await verifying.verifier.verify(token)


async def test_a_token_whose_key_was_withdrawn_counts_no_longer(verifying: Verifying) -> None:
    old = verifying.signer.token()
    await verifying.verifier.verify(old)
    verifying.signer.rotate("key-2")
    await verifying.verifier.verify(verifying.signer.token())
    with pytest.raises(InvalidToken, match="no key"):
        await verifying.verifier.verify(old)


async def test_no_more_tokens_are_remembered_than_are_used(
    verifying: Verifying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "MOST_REMEMBERED", 2)
    for who in ("anna", "bert", "carla"):
        await verifying.verifier.verify(verifying.signer.token(sub=who))
    assert len(verifying.verifier._verified) == 2
