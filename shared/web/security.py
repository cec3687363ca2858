"""Authentication by bearer tokens (JWT, RFC 7519) that the issuer signed, and the scopes of routes (R20)."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import httpx2
import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from joserfc import jws, jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, MissingClaimError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from shared.kernel.text import is_identifier
from shared.platform.http_client import HttpClient
from shared.platform.settings import ServiceSettings
from shared.web.issuer import (
    ClaimNames,
    Group,
    NoKey,
    WrongClaim,
    WrongIssuer,
    claim_names,
    discovered,
    fetched,
    from_file,
    public_keys,
    require_issuer,
    why_unreadable,
    wrong_type,
)
from shared.web.problems import Problem

log = structlog.get_logger(__name__)

STALE_KEYS = "stale"
"""The state of keys that could not be read again and are still used."""
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, ArithmeticError)
"""What reading a value of an unexpected shape raises.

RecursionError, when it is nested too deeply; ArithmeticError, for a number beyond all bounds (`1e999`).
"""

ReadKeys = Callable[[], Awaitable[dict[str, Any]]]


class KeysUnavailable(Exception):
    """The keys of the sign-in service cannot be read, so no token can be checked. Try again in a moment."""


class KeySource(Protocol):
    """A source of public keys."""

    async def find(self, key_id: str | None) -> Key:
        """Return the key. Raises LookupError for an unknown id, KeysUnavailable when no key was ever read."""
        ...

    async def renewed(self, key_id: str | None, known: Key) -> Key | None:
        """Return another key that has this id now, or None: a signature did not fit the `known` one."""
        ...


class JwksKeys:
    """Keys of one JSON Web Key Set (RFC 7517). Reads them again for an unknown key id and after `max_age`.

    Some sign-in services put a new key under an old id: a signature that does not fit has the set read again,
    too. All of these together cause at most one read per `min_interval`: invented tokens must
    not become a load on the sign-in service. While the set cannot be read, or holds no key, the known keys
    are used for `grace` longer. Times are in seconds.
    """

    def __init__(
        self, read: ReadKeys, *, min_interval: float = 10.0, max_age: float = 300.0, grace: float = 3600.0
    ) -> None:
        self._read = read
        self._min_interval = min_interval
        self._max_age = max_age
        self._grace = grace
        self._keys: dict[str, Key] = {}
        self._tried_at = self._read_at = float("-inf")
        self._ignored: frozenset[str] = frozenset()
        self._failure = ""
        self._lock = asyncio.Lock()

    async def find(self, key_id: str | None) -> Key:
        """See KeySource. Without a key id the key is found if there is only one."""
        if self._age() > self._max_age or self._known(key_id) is None:
            await self._read_again(key_id)
        key = self._known(key_id)
        if key is not None:
            return key
        if not self._usable():
            raise KeysUnavailable(f"the keys of the sign-in service cannot be read: {self._failure}")
        raise LookupError("unknown key id")

    async def renewed(self, key_id: str | None, known: Key) -> Key | None:
        """See KeySource."""
        await self._read_again(key_id, known)
        key = self._known(key_id)
        return None if key is None or _is_same(key, known) else key

    async def ready(self) -> str | None:
        """Read the keys unless some are known. Raises KeysUnavailable when none can be read.

        Returns STALE_KEYS while keys are used that could not be read again.
        """
        if self._age() > self._max_age or not self._usable():
            await self._read_again(None)
        if not self._usable():
            raise KeysUnavailable(f"the keys of the sign-in service cannot be read: {self._failure}")
        return STALE_KEYS if self._tried_at > self._read_at else None

    def _usable(self) -> bool:
        return bool(self._keys) and time.monotonic() - self._read_at <= self._max_age + self._grace

    def _known(self, key_id: str | None) -> Key | None:
        if not self._usable():
            return None
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id) if isinstance(key_id, str) else None

    def _age(self) -> float:
        return time.monotonic() - self._tried_at

    async def _read_again(self, key_id: str | None, unfit: Key | None = None) -> None:
        """Read the set if it is old, or if no key but the `unfit` one has this id."""
        async with self._lock:
            stale = self._age() > self._max_age
            key = self._known(key_id)
            fits = key is not None and (unfit is None or not _is_same(key, unfit))
            if not stale and (fits or self._age() < self._min_interval):
                return
            self._tried_at = time.monotonic()
            try:
                keys, ignored = public_keys(await self._read())
                if not keys:
                    raise NoKey("the set holds no key for signatures")
            except (*UNREADABLE, OSError, httpx2.HTTPError, httpx2.InvalidURL) as error:
                # Known keys remain in use, so that clerks can work while the sign-in service is down.
                self._failure = why_unreadable(error)
                log.warning("token_keys.read_failed", error=type(error).__name__, reason=self._failure)
                return
            self._keys, self._read_at = keys, self._tried_at
            if ignored != self._ignored:
                self._ignored = ignored
                log.warning("token_keys.ignored", keys=sorted(ignored))


def _is_same(one: Key, other: Key) -> bool:
    return one is other or one.as_dict(private=False) == other.as_dict(private=False)


class Signed(NamedTuple):
    """What a token says whose signature fits this key."""

    header: Mapping[str, Any]
    claims: dict[str, Any]
    key_id: str | None
    key: Key


async def signed_content(token: str, keys: KeySource, registry: JWSRegistry | None = None) -> Signed:
    """Return what a token says whose signature fits a key. `registry`: other rules than ours for its header.

    Raises JoseError or ValueError, LookupError for an unknown key, KeysUnavailable without any key.
    """
    key_id = jws.extract_compact(token.encode()).headers().get("kid")
    key = await keys.find(key_id)
    try:
        content = jwt.decode(token, key, algorithms=ALGORITHMS, registry=registry)
    except (JoseError, ValueError, TypeError):
        # A key of another kind under this id fails in other ways than a signature that does not fit.
        other = await keys.renewed(key_id, key)
        if other is None:
            raise
        key = other
        content = jwt.decode(token, key, algorithms=ALGORITHMS, registry=registry)
    return Signed(content.header, content.claims, key_id, key)


def keys_of(issuer: str, location: str | None, http: HttpClient) -> JwksKeys:
    """Return the keys at `location` (an http(s) address or a file), or where the issuer's discovery says."""
    if location is None:
        return JwksKeys(lambda: discovered(issuer, http))
    if location.startswith(("http://", "https://")):
        return JwksKeys(lambda: fetched(location, http))
    return JwksKeys(lambda: from_file(Path(location)))


# Only signatures by private keys. Never `none`, and never HS256, HS384 or HS512: an attacker could then
# sign a token with the issuer's *public* key as the shared secret.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
LONGEST_TOKEN = 8192
MOST_GROUPS = 10_000
"""Of one person. Some directories have thousands; a group that is not in the map gives nothing."""
INSTALLATION = "installation"
"""The scope of an operator of the whole installation, who may act for every organisation (R20)."""
ACCESS_TOKEN = "at+jwt"  # noqa: S105 (a media type)
LEEWAY_SECONDS = 30
"""By how much the clocks of the issuer and this machine may differ."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller. Events store `subject` as `caused_by`; it may act for `organisations` only (R20)."""

    subject: str
    scopes: frozenset[str]
    organisations: frozenset[str] = frozenset()


class InvalidToken(Exception):
    """The bearer token is malformed, expired, or not signed by the issuer. The text is for operators."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """The caller of a token that was verified with this key, and counts `until` then (seconds)."""

    principal: Principal
    kid: str | None
    key: Key
    until: int


MOST_REMEMBERED = 1_000


class TokenVerifier:
    """Checks that a bearer token is an access token of the issuer for this service, and still valid.

    `audience` is this service's name at the issuer; None: any. `typed`: the header must say that the token is
    an access token (RFC 9068). ID tokens are refused in any case. `clock` returns seconds since the epoch.
    """

    def __init__(
        self,
        issuer: str,
        keys: KeySource,
        *,
        audience: str | None,
        typed: bool,
        names: ClaimNames = ClaimNames(),  # noqa: B008 - it is frozen
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._typed = typed
        self._clock = clock
        self._issuer = issuer
        self._names = names
        self._verified: dict[bytes, _Verified] = {}
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            leeway=LEEWAY_SECONDS,
            aud={"essential": True, "value": audience} if audience else {"essential": True},
            exp={"essential": True},
        )

    @property
    def issuer(self) -> str:
        """Return who signs the tokens."""
        return self._issuer

    async def verify(self, token: str) -> Principal:
        """Return the caller that the token names. Raises InvalidToken, or KeysUnavailable without any key.

        A token that was verified is remembered until it ends, or the keys are read again.
        """
        name = hashlib.sha256(token.encode(errors="replace")).digest()
        if (principal := await self._remembered(name)) is not None:
            return principal
        verified = await self._verify(token)
        if len(self._verified) >= MOST_REMEMBERED:
            self._verified.pop(next(iter(self._verified)), None)
        self._verified[name] = verified
        return verified.principal

    async def _remembered(self, name: bytes) -> Principal | None:
        known = self._verified.get(name)
        if known is None or self._clock() >= known.until:
            return None
        with suppress(LookupError, KeysUnavailable):
            if await self._keys.find(known.kid) is known.key:
                return known.principal
        return None

    async def _verify(self, token: str) -> _Verified:
        try:
            self._require_type(token)
            signed = await signed_content(token, self._keys)
            claims = signed.claims
            if claims.get("iss") != self._issuer:
                require_issuer(claims.get("iss"), self._issuer)
            self._claims.validate(claims)
            if _is_id_token(claims):
                raise InvalidToken("it is an ID token, not an access token")
            principal = Principal(
                subject_of(claims, self._names),
                scopes_of(claims, self._names),
                organisations_of(claims, self._names),
            )
            return _Verified(principal, signed.key_id, signed.key, int(claims["exp"]))
        except (JoseError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise InvalidToken(refusal_of(error)) from error

    def _require_type(self, token: str) -> None:
        header = header_of(token)
        # RFC 7515 section 4.1.9: a media type in any case, of which `application/` may be left out.
        if self._typed and str(header.get("typ")).lower().removeprefix("application/") != ACCESS_TOKEN:
            raise InvalidToken(f"its header does not say typ {ACCESS_TOKEN} (OIDC_TYPED_TOKENS)")


def header_of(token: str, longest: int = LONGEST_TOKEN) -> Mapping[str, Any]:
    """Return the header of a token, of which nothing is verified. Raises InvalidToken."""
    if len(token) > longest:
        raise InvalidToken(f"it has more than {longest} characters")
    try:
        header: Mapping[str, Any] = jws.extract_compact(token.encode()).headers()
    except (JoseError, *UNREADABLE) as error:
        raise InvalidToken(refusal_of(error)) from error
    if header.get("alg") not in ALGORITHMS:
        raise InvalidToken("its algorithm is none of those that count")
    return header


def refusal_of(error: Exception) -> str:
    """Return why a token does not count, for the log: the claim or the kind of error, and no value."""
    if isinstance(error, WrongClaim | WrongIssuer):
        return str(error)
    if isinstance(error, ExpiredTokenError):
        return "it has expired"
    if isinstance(error, MissingClaimError):
        return f"the claim {error.claim} is missing"
    if isinstance(error, ClaimError):
        return f"the claim {error.claim} is wrong"
    return "no key of the issuer has this id" if isinstance(error, LookupError) else type(error).__name__


def token_verifier(
    settings: ServiceSettings, keys: KeySource, *, any_audience: bool = False
) -> TokenVerifier:
    """Return the verifier of the tokens that these settings describe; of those for other services too."""
    return TokenVerifier(
        settings.oidc_issuer,
        keys,
        audience=None if any_audience else settings.oidc_audience,
        typed=settings.oidc_typed_tokens,
        names=claim_names(settings),
    )


def _is_id_token(claims: Mapping[str, object]) -> bool:
    """Return whether the claims are those of an ID token, by OpenID Connect Core or an issuer's own mark."""
    if claims.get("typ") == "ID" or claims.get("token_use") == "id":
        return True
    return not claims.keys().isdisjoint(("nonce", "at_hash", "c_hash"))


def subject_of(claims: Mapping[str, Any], names: ClaimNames) -> str:
    """Return who it is: it is stored with every event. Raises WrongClaim."""
    subject = claim_of(claims, names.subject)
    if not isinstance(subject, str):
        raise wrong_type(names.subject, "a text", subject)
    return _identifier(names.subject, subject)


def scopes_of(claims: Mapping[str, Any], names: ClaimNames) -> frozenset[str]:
    """Return the scopes of the claim and of the groups. Raises WrongClaim.

    A text with spaces, or an array; the claim `scope` is always a text (RFC 8693, section 4.2).
    """
    value = claim_of(claims, names.scope)
    if names.scope == "scope" and value is not None and not isinstance(value, str):
        raise wrong_type(names.scope, "one text, with spaces between scopes", value)
    named = " ".join(_texts(claims, names.scope)).split()
    return frozenset(named).union(*(group.scopes for group in _groups_of(claims, names)))


def organisations_of(claims: Mapping[str, Any], names: ClaimNames) -> frozenset[str]:
    """Return the organisations of the claim, one or an array, and of the groups. Raises WrongClaim."""
    named = [_identifier(names.organisation, code) for code in _texts(claims, names.organisation)]
    return frozenset(named).union(*(group.organisations for group in _groups_of(claims, names)))


def _groups_of(claims: Mapping[str, Any], names: ClaimNames) -> Iterable[Group]:
    if not names.meaning:
        return []
    found = _texts(claims, names.groups)
    if len(found) > MOST_GROUPS:
        raise WrongClaim(f"the claim {names.groups} has more than {MOST_GROUPS} groups")
    return [names.meaning[name] for name in found if name in names.meaning]


def claim_of(claims: Mapping[str, Any], name: str) -> object:
    """Return the claim with this name; otherwise what the parts of the name lead to, or None."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(claims: Mapping[str, Any], name: str) -> list[str]:
    value = claim_of(claims, name)
    values: list[object] = [] if value is None else value if isinstance(value, list) else [value]
    texts = [text for text in values if isinstance(text, str)]
    if len(texts) != len(values):
        raise wrong_type(name, "one text, or an array of texts alone", value)
    return texts


def _identifier(name: str, text: str) -> str:
    if not is_identifier(text):
        raise WrongClaim(f"the claim {name} must have 1 to 255 characters that can all be seen")
    return text


_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="A token of the sign-in service")


@dataclass(frozen=True)
class RequiredScope:
    """A FastAPI dependency that returns the caller.

    Raises 401 without a valid token, 403 without one of `scopes`.
    """

    scopes: tuple[str, ...]

    async def __call__(
        self, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Principal:
        if given is None:
            raise _unauthenticated("Log eerst in.", "A bearer token is needed.", "Bearer")
        verifier: TokenVerifier = request.app.state.token_verifier
        try:
            principal = await verifier.verify(given.credentials)
        except InvalidToken as error:
            log.info("token.refused", reason=str(error))
            text = "Uw aanmelding is ongeldig of verlopen. Log opnieuw in."
            raise _unauthenticated(
                text, "The token is invalid or expired.", 'Bearer error="invalid_token"'
            ) from error
        request.state.caller = principal.subject
        if principal.scopes.isdisjoint(self.scopes):
            raise _forbidden(self.scopes)
        request.state.principal = principal
        return principal


def require_organisation(principal: Principal, organisation: str) -> None:
    """Raise Problem (403) unless the caller may act for this organisation."""
    if organisation not in principal.organisations:
        raise Problem(
            403,
            "wrong-organisation",
            "U heeft geen toegang tot deze instantie.",
            "The claim `organisation` of the token does not hold this organisation.",
        )


def requires(*scopes: str) -> RequiredScope:
    """Return the dependency for a route or router: `Depends(requires("counter"))`. One scope is enough."""
    return RequiredScope(scopes)


def _unauthenticated(dutch: str, english: str, challenge: str) -> Problem:
    return Problem(401, "unauthenticated", dutch, english, headers={"WWW-Authenticate": challenge})


def _forbidden(scopes: Sequence[str]) -> Problem:
    challenge = f'Bearer error="insufficient_scope", scope="{scopes[0]}"'
    return Problem(
        403,
        "wrong-scope",
        "U heeft geen toegang tot deze functie.",
        f"This needs the scope {' or '.join(scopes)}.",
        headers={"WWW-Authenticate": challenge},
    )
