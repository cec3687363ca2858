"""What is read of the sign-in service and about it: its name, its keys, its claims and its groups (R20).

The claims' names, and what groups mean, are settings: not every sign-in service can send claims of our own,
but each can send groups or roles.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
from joserfc.jwk import JWKRegistry, Key, OctKey
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from shared.kernel.files import read_file
from shared.kernel.text import require_identifier, summary
from shared.kernel.toml_file import TomlFile
from shared.platform import limits
from shared.platform.http_client import HttpClient
from shared.platform.settings import ServiceSettings, require_tls

MOST_KEYS = 100
"""Entries of a key set that are looked at."""
_KINDS: Mapping[type, str] = {
    type(None): "missing",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "an array",
    dict: "an object",
}


class WrongClaim(ValueError):
    """A claim is missing or is not what it must be. The text names the claim, never its value."""


class WrongIssuer(ValueError):
    """The sign-in service has another name than the setting says."""


class NoKey(LookupError):
    """The sign-in service has no key for signatures that can be read."""


def require_issuer(found: object, wanted: str) -> None:
    """Raise WrongIssuer unless these are equal (OpenID Connect Discovery 1.0, section 4.3)."""
    if found != wanted:
        named = summary(found) if isinstance(found, str) else _KINDS.get(type(found), "something else")
        raise WrongIssuer(
            f"OIDC_ISSUER is {wanted}, but the sign-in service calls itself {named}:"
            " they must be equal to the letter, also a / at the end"
        )


def _without_spaces(text: str) -> str:
    if " " in require_identifier(text):
        raise ValueError("must not hold spaces: write one text for each scope")
    return text


class Group(BaseModel):
    """What the members of a group may do, and for which organisations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scopes: frozenset[Annotated[str, AfterValidator(_without_spaces)]] = frozenset()
    organisations: frozenset[Annotated[str, AfterValidator(require_identifier)]] = frozenset()


Groups = Mapping[str, Group]
_READER = TypeAdapter(dict[str, Group])


def read_groups(path: Path) -> Groups:
    """Return group -> what its members may do. Raises Mistakes or OSError."""
    return groups_in(TomlFile.read(path))


def groups_in(file: TomlFile) -> Groups:
    """Return what a file says of groups. Raises Mistakes."""
    return file.table("groups", _READER)


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where in a token is what. A name with dots, such as `realm_access.roles`, leads into an object."""

    subject: str = "sub"
    organisation: str = "organisation"
    scope: str = "scope"
    groups: str = "groups"
    meaning: Groups = field(default_factory=dict)
    """What groups stand for. Without it the claim of groups is not looked at."""

    def missing(self, claim: str) -> WrongClaim:
        """Return the error for a claim that gives nothing, while no group does either."""
        groups = f", and OIDC_GROUPS says nothing of the groups in {self.groups}" if self.meaning else ""
        return WrongClaim(f"the claim {claim} is missing or empty{groups}")


def claim_names(settings: ServiceSettings) -> ClaimNames:
    """Return the names that these settings give. Raises ConfigurationError or OSError."""
    return ClaimNames(
        subject=settings.oidc_subject_claim,
        organisation=settings.oidc_organisation_claim,
        scope=settings.oidc_scope_claim,
        groups=settings.oidc_groups_claim,
        meaning=read_groups(settings.oidc_groups) if settings.oidc_groups else {},
    )


def wrong_type(name: str, wanted: str, value: object) -> WrongClaim:
    """Return the error for a claim that is of another type."""
    kind = _KINDS.get(type(value), "something else")
    return WrongClaim(f"the claim {name} is {kind}; it must be {wanted}")


def why_unreadable(error: Exception) -> str:
    """Return what an operator may read of an error of reading keys: no part of what was read."""
    match error:
        case WrongIssuer() | NoKey():
            return str(error)
        case httpx2.HTTPStatusError():
            return f"{error.request.url.host} answered {error.response.status_code}"
        case httpx2.RequestError():
            said = summary(str(error)) or type(error).__name__
            return f"{error.request.url.host} does not answer: {said}"
        case ValidationError():
            return ", ".join(
                f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors(include_input=False)
            )
        case OSError():
            return f"{error.filename}: {error.strerror}"
    return "what was read is no key set or no discovery page"


def public_keys(key_set: dict[str, Any]) -> tuple[dict[str, Key], frozenset[str]]:
    """Return the keys for signatures by key id, and the ids of the entries that cannot be read.

    RFC 7517 section 5: an entry that is not understood, or has values out of range, is ignored.
    """
    keys: dict[str, Key] = {}
    ignored = set()
    for number, entry in enumerate(key_set["keys"][:MOST_KEYS]):
        try:
            key = JWKRegistry.import_key(entry)
            if isinstance(key, OctKey) or entry.get("use", "sig") != "sig":
                continue
            key.public_key  # noqa: B018 - the numbers of a key are checked when it is used first
            key.ensure_kid()
            keys[str(key.kid)] = key
        except Exception:
            # The libraries below raise errors of many kinds for a point off the curve or a bad modulus.
            kid = entry.get("kid") if isinstance(entry, dict) else None
            ignored.add(str(kid if isinstance(kid, str) else number)[:80])
    return keys, frozenset(ignored)


async def discovered(issuer: str, http: HttpClient) -> dict[str, Any]:
    """Return the key set to which discovery leads. Raises WrongIssuer, and what reading raises."""
    page = await discovery_page(issuer, http, limits.ISSUER)
    return await fetched(require_tls(page["jwks_uri"]), http)


async def discovery_page(issuer: str, http: HttpClient, seconds: float) -> dict[str, Any]:
    """Return the metadata of an issuer. Raises WrongIssuer, and what reading raises."""
    page = await fetched(issuer.rstrip("/") + "/.well-known/openid-configuration", http, seconds)
    require_issuer(page.get("issuer"), issuer)
    return page


async def fetched(url: str, http: HttpClient, seconds: float | None = None) -> dict[str, Any]:
    """Return the JSON object at this address. Raises httpx2.HTTPError, ValueError or TypeError.

    `seconds`: the time limit, limits.ISSUER without it.
    """
    response = await http.get(url, timeout=seconds or limits.ISSUER)
    response.raise_for_status()
    return _mapping(response.json())


async def from_file(path: Path) -> dict[str, Any]:
    """Return the JSON object in this file. Raises OSError, ValueError or TypeError."""
    return _mapping(json.loads(await asyncio.to_thread(read_file, path)))


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return value
