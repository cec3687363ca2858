"""Handles of login accounts: what a search found, sealed for the clerk who searched (ADR 0022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from registration.application.dependencies import Clock, Context, FoundAccount
from registration.domain.errors import AccountHandleInvalid, ReferralInvalid
from shared.kernel.login_account import REFERRALS, Referral
from shared.platform.secrets import HandleInvalid, Handles

PURPOSE = "registration: handles of login accounts"


class SealedAccountHandles:
    """See `dependencies.AccountHandles`. A handle is bound to the organisation and the clerk."""

    def __init__(self, master_keys: Sequence[bytes], lifetime: timedelta, clock: Clock) -> None:
        self._handles = Handles(master_keys, PURPOSE, lifetime)
        self._clock = clock

    def seal(self, account: FoundAccount, context: Context) -> str:
        """See `AccountHandles.seal`."""
        return self._handles.seal(asdict(account), _bound_to(context), self._clock.now())

    def open(self, handle: str, context: Context) -> FoundAccount:
        """See `AccountHandles.open`."""
        try:
            return FoundAccount(**self._handles.open(handle, _bound_to(context), self._clock.now()))
        except HandleInvalid:
            raise AccountHandleInvalid from None


def _bound_to(context: Context) -> Sequence[str]:
    return (context.organisation, context.metadata.caused_by)


class SealedReferrals:
    """See `dependencies.Referrals`. Identity seals them under a key of both services."""

    def __init__(self, shared_key: bytes, clock: Clock) -> None:
        self._handles = Handles([shared_key], REFERRALS, timedelta())
        self._clock = clock

    def open(self, handle: str, organisation: str) -> Referral:
        """See `Referrals.open`."""
        try:
            return Referral(*self._handles.open(handle, (organisation,), self._clock.now()))
        except HandleInvalid:
            raise ReferralInvalid from None
