"""Handles of login accounts: what a search found, sealed for the clerk who searched (ADR 0022)."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from os import urandom

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from registration.application.dependencies import Clock, Context, FoundAccount
from registration.domain.errors import AccountHandleInvalid
from shared.platform.secrets import derived_key

PURPOSE = "registration: handles of login accounts"
NONCE_BYTES = 12


class SealedAccountHandles:
    """See `dependencies.AccountHandles`. A handle is the account and its expiry in AES-256-GCM.

    Organisation and clerk are the associated data, so a handle opens for nobody else. The keys are derived
    from the master keys: the newest seals, all open.
    """

    def __init__(self, master_keys: Sequence[bytes], lifetime: timedelta, clock: Clock) -> None:
        self._ciphers = [AESGCM(derived_key(key, PURPOSE)) for key in master_keys]
        self._lifetime = lifetime
        self._clock = clock

    def seal(self, account: FoundAccount, context: Context) -> str:
        """See `AccountHandles.seal`."""
        expires_at = (self._clock.now() + self._lifetime).timestamp()
        plain = orjson.dumps({"account": asdict(account), "expires_at": expires_at})
        nonce = urandom(NONCE_BYTES)
        return urlsafe_b64encode(nonce + self._ciphers[0].encrypt(nonce, plain, _bound_to(context))).decode()

    def open(self, handle: str, context: Context) -> FoundAccount:
        """See `AccountHandles.open`."""
        opened = orjson.loads(self._decrypt(handle, context))
        if opened["expires_at"] <= self._clock.now().timestamp():
            raise AccountHandleInvalid
        return FoundAccount(**opened["account"])

    def _decrypt(self, handle: str, context: Context) -> bytes:
        try:
            sealed = urlsafe_b64decode(handle)
        except ValueError:
            raise AccountHandleInvalid from None
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound_to(context))
            except (InvalidTag, ValueError):
                continue
        raise AccountHandleInvalid


def _bound_to(context: Context) -> bytes:
    return orjson.dumps([context.organisation, context.metadata.caused_by])
