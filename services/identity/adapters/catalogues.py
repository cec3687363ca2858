"""The file of catalogues: where their patrons sign in, and what each catalogue may do (I11, I12)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from identity.application.dependencies import Clock
from identity.domain.errors import IdTokenInvalid, IdTokenRequired
from shared.kernel.login_account import REFERRALS, Referral, is_account_id
from shared.kernel.text import require_identifier
from shared.kernel.toml_file import Mistakes, TomlFile
from shared.platform.http_client import HttpClient
from shared.platform.secrets import Handles
from shared.platform.settings import ClaimName, require_tls
from shared.web.id_tokens import Provider, id_token_claims, issuer_named_in
from shared.web.security import InvalidToken, JwksKeys, claim_of, keys_of

Identifier = Annotated[str, AfterValidator(require_identifier)]


def _page(address: str) -> str:
    if not urlsplit(require_tls(address)).hostname or "#" in address:
        raise ValueError("must be the address of a page, without #")
    return address


class Issuer(BaseModel):
    """An account provider. `account_claim`: the claim of its ID tokens that holds the id of the account (I1).

    `jwks`: address or file of its keys; None: discovery. `id_token_seconds`: how old an ID token may be.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    jwks: str | None = None
    account_claim: ClaimName = "sub"
    id_token_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    nonce_required: bool = True


class Catalogue(BaseModel):
    """What one catalogue may do. `client_ids`: issuer -> its names there.

    `return_to`: where a patron goes on after the counter. `id_token_only`: an account id alone is refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_ids: Mapping[str, frozenset[Identifier]] = {}
    return_to: Annotated[str, Field(max_length=200), AfterValidator(_page)] | None = None
    id_token_only: bool = False


UNKNOWN = Catalogue()
_ISSUERS: TypeAdapter[Mapping[str, Issuer]] = TypeAdapter(
    dict[Annotated[str, AfterValidator(require_tls)], Issuer]
)
_CATALOGUES: TypeAdapter[Mapping[str, Catalogue]] = TypeAdapter(dict[Identifier, Catalogue])


def catalogues_in(file: TomlFile) -> tuple[Mapping[str, Issuer], Mapping[str, Catalogue]]:
    """Return the account providers and the catalogues of a file. Raises Mistakes."""
    issuers, catalogues = file.table("issuers", _ISSUERS), file.table("catalogues", _CATALOGUES)
    if unknown := [
        file.mistake(("catalogues", name, "client_ids"), f"client_ids at {issuer}, which is no issuer")
        for name, catalogue in catalogues.items()
        for issuer in sorted(catalogue.client_ids.keys() - issuers.keys())
    ]:
        raise Mistakes(unknown)
    return issuers, catalogues


class Catalogues:
    """The catalogues, by the subject of their tokens, and the account providers, by their issuer.

    One that the file does not name may ask by account id only.
    """

    def __init__(self, file: Path | None, http: HttpClient, clock: Clock) -> None:
        """Read the file; None: it names nobody. Raises Mistakes or OSError."""
        self._issuers, self._catalogues = catalogues_in(TomlFile.read(file)) if file else ({}, {})
        self._keys = {name: keys_of(name, issuer.jwks, http) for name, issuer in self._issuers.items()}
        self._clock = clock

    @property
    def keys(self) -> Mapping[str, JwksKeys]:
        """Issuer -> its keys."""
        return self._keys

    def of(self, subject: str) -> Catalogue:
        """Return the catalogue whose tokens have this subject."""
        return self._catalogues.get(subject, UNKNOWN)

    def take_account_id(self, account_id: str, subject: str) -> str:
        """Return the account that a catalogue names without a proof. Raises IdTokenRequired."""
        if self.of(subject).id_token_only:
            raise IdTokenRequired
        return account_id

    async def account_of(self, id_token: str, nonce: str | None, subject: str) -> str:
        """Return the account whose holder signed in at this catalogue (I11).

        Raises IdTokenInvalid, or KeysUnavailable while the provider's keys cannot be read.
        """
        try:
            name = issuer_named_in(id_token)
            if (issuer := self._issuers.get(name)) is None:
                raise IdTokenInvalid("the claim iss names no issuer of the file of catalogues")
            claims = await id_token_claims(
                id_token,
                Provider(name, self._keys[name], lambda: self._clock.now().timestamp()),
                self.of(subject).client_ids.get(name, frozenset()),
                nonce=nonce,
                nonce_required=issuer.nonce_required,
                seconds=issuer.id_token_seconds,
            )
        except InvalidToken as error:
            raise IdTokenInvalid(str(error)) from error
        account_id = claim_of(claims, issuer.account_claim)
        if not isinstance(account_id, str) or not is_account_id(account_id):
            raise IdTokenInvalid(f"the claim {issuer.account_claim} is no id of a login account")
        return account_id


class SealedReferrals:
    """Makes the referrals that registration opens: both services hold the key (I12).

    `counter`: the address of the counter's pages; None: the answer has no link to them.
    """

    def __init__(self, shared_key: bytes, lifetime: timedelta, counter: str | None) -> None:
        self._handles = Handles([shared_key], REFERRALS, lifetime)
        self._counter = counter

    def made(
        self, account_id: str, organisation: str, return_to: str | None, now: datetime
    ) -> Mapping[str, str | None]:
        """Return `handle`, `expires_at` and `url`, for the answer to the catalogue."""
        referral = Referral(account_id, return_to)
        handle = self._handles.seal([referral.account_id, referral.return_to], (organisation,), now)
        page = f"{self._counter.rstrip('/')}/doorverwezen?handle={quote(handle)}" if self._counter else None
        return {"handle": handle, "expires_at": (now + self._handles.lifetime).isoformat(), "url": page}
