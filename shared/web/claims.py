"""What a token says about a person. The claims' names, and what groups stand for, are settings (R20).

Not every sign-in service can send claims of our own, but each can send groups or roles.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter

from shared.kernel.files import read_table
from shared.kernel.text import is_identifier, require_identifier, summary, tidy
from shared.platform.settings import ServiceSettings

_LONGEST_NAME = 200
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
    """Return group -> what its members may do. Raises ConfigurationError or OSError."""
    return read_table(path, "groups", _READER)


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where in a token is what. A name with dots, such as `realm_access.roles`, leads into an object."""

    subject: str = "sub"
    organisation: str = "organisation"
    scope: str = "scope"
    groups: str = "groups"
    meaning: Groups = field(default_factory=dict)
    """What groups stand for. Without it the claim of groups is not looked at."""

    def subject_of(self, claims: Mapping[str, Any]) -> str:
        """Return who it is: it is stored with every event. Raises WrongClaim."""
        subject = _value(claims, self.subject)
        if not isinstance(subject, str):
            raise _not(self.subject, "a text", subject)
        return _identifier(self.subject, subject)

    def scopes_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Return the scopes of the claim and of the groups. Raises WrongClaim.

        A text with spaces, or an array; the claim `scope` is always a text (RFC 8693, section 4.2).
        """
        value = _value(claims, self.scope)
        if self.scope == "scope" and value is not None and not isinstance(value, str):
            raise _not(self.scope, "one text, with spaces between scopes", value)
        named = " ".join(_texts(claims, self.scope)).split()
        return frozenset(named).union(*(group.scopes for group in self._groups_of(claims)))

    def organisations_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Return the organisations of the claim, one or an array, and of the groups. Raises WrongClaim."""
        named = [_identifier(self.organisation, code) for code in _texts(claims, self.organisation)]
        return frozenset(named).union(*(group.organisations for group in self._groups_of(claims)))

    def missing(self, claim: str) -> WrongClaim:
        """Return the error for a claim that gives nothing, while no group does either."""
        groups = f", and OIDC_GROUPS says nothing of the groups in {self.groups}" if self.meaning else ""
        return WrongClaim(f"the claim {claim} is missing or empty{groups}")

    def _groups_of(self, claims: Mapping[str, Any]) -> Iterable[Group]:
        if not self.meaning:
            return []
        names = _texts(claims, self.groups)
        return [self.meaning[name] for name in names if name in self.meaning]


def claim_names(settings: ServiceSettings) -> ClaimNames:
    """Return the names that these settings give. Raises ConfigurationError or OSError."""
    return ClaimNames(
        subject=settings.oidc_subject_claim,
        organisation=settings.oidc_organisation_claim,
        scope=settings.oidc_scope_claim,
        groups=settings.oidc_groups_claim,
        meaning=read_groups(settings.oidc_groups) if settings.oidc_groups else {},
    )


def name_of(claims: Mapping[str, Any], claim: str) -> str:
    """Return the name to show. Raises WrongClaim, also when nothing of it can be seen."""
    name = _value(claims, claim)
    if not isinstance(name, str):
        raise _not(claim, "a text", name)
    if not (shown := tidy(name).strip()[:_LONGEST_NAME]):
        raise WrongClaim(f"the claim {claim} is empty")
    return shown


def _value(claims: Mapping[str, Any], name: str) -> object:
    """Return the claim with this name; otherwise what the parts of the name lead to, or None."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(claims: Mapping[str, Any], name: str) -> list[str]:
    value = _value(claims, name)
    values: list[object] = [] if value is None else value if isinstance(value, list) else [value]
    texts = [text for text in values if isinstance(text, str)]
    if len(texts) != len(values):
        raise _not(name, "one text, or an array of texts alone", value)
    return texts


def _identifier(name: str, text: str) -> str:
    if not is_identifier(text):
        raise WrongClaim(f"the claim {name} must have 1 to 255 characters that can all be seen")
    return text


def _not(name: str, wanted: str, value: object) -> WrongClaim:
    kind = _KINDS.get(type(value), "something else")
    return WrongClaim(f"the claim {name} is {kind}; it must be {wanted}")
