"""The file of the account directory: TOML that says which kind it is, where, and what is in which attribute.

docs/connect-an-account-directory.md has an example of each kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypedDict, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
    model_validator,
)

from identity.adapters.listed_accounts import AttributeMap
from shared.kernel.toml_file import TomlFile
from shared.platform.settings import LOOPBACK

_FROZEN = ConfigDict(extra="forbid", frozen=True)


class Context(TypedDict):
    """What validators need to know: hosts that may be asked without TLS, and where the file is."""

    private_hosts: frozenset[str]
    folder: Path


def _context(info: ValidationInfo) -> Context:
    return cast("Context", info.context)


def _file(path: Path, info: ValidationInfo) -> Path:
    """Return the path of a file, which may be relative to the file of settings. It must be there."""
    found = _context(info)["folder"] / path
    if not found.is_file():
        raise ValueError(f"there is no file {found}")
    return found


def _protected(address: str, info: ValidationInfo) -> str:
    """Check that what the directory sends can be believed: TLS, this machine, or a named private host."""
    parts = urlsplit(address)
    private = LOOPBACK | _context(info)["private_hosts"]
    if not parts.hostname or (parts.scheme not in ("https", "ldaps") and parts.hostname not in private):
        raise ValueError("use TLS, or name the host in PLAIN_HTTP_HOSTS if its network is private")
    return address.rstrip("/")


File = Annotated[Path, AfterValidator(_file)]
Url = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_protected)]


class HttpDirectory(BaseModel):
    """A directory of two HTTP requests (docs/contract.md)."""

    model_config = _FROZEN

    kind: Literal["http"]
    url: Url


class ClientCredentials(BaseModel):
    """A client that fetches the tokens for the directory (RFC 6749, section 4.4): by a secret, or a key."""

    model_config = _FROZEN

    issuer: Url
    client_id: Annotated[str, Field(min_length=1, max_length=255)]
    client_secret_file: File | None = None
    client_key_file: File | None = None
    scope: str | None = None
    audience: str | None = None
    resource: str | None = None

    @model_validator(mode="after")
    def _has_one_proof(self) -> Self:
        if (self.client_secret_file is None) == (self.client_key_file is None):
            raise ValueError("must have client_secret_file or client_key_file")
        return self


class ScimDirectory(BaseModel):
    """A directory with SCIM 2.0.

    `token_file`: its bearer token, which may be renewed there; or the client that fetches the tokens.
    """

    model_config = _FROZEN

    kind: Literal["scim"]
    url: Url
    token_file: File | None = None
    client_credentials: ClientCredentials | None = None
    attributes: AttributeMap

    @model_validator(mode="after")
    def _has_one_token(self) -> Self:
        if (self.token_file is None) == (self.client_credentials is None):
            raise ValueError("must have token_file or client_credentials")
        return self


class LdapDirectory(BaseModel):
    """A directory with LDAP version 3. Without `bind_dn` it is asked anonymously.

    `filter`: only entries that match it are accounts (RFC 4515). `ca_file`: whose certificates are trusted;
    None: the authorities of this machine.
    """

    model_config = _FROZEN

    kind: Literal["ldap"]
    url: Annotated[str, Field(pattern=r"^ldaps?://")]
    starttls: bool = False
    ca_file: File | None = None
    base: Annotated[str, Field(min_length=1, max_length=1000)]
    bind_dn: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    password_file: File | None = None
    filter: Annotated[str, Field(max_length=2000)] = "(objectClass=*)"
    attributes: AttributeMap

    @model_validator(mode="after")
    def _is_protected(self, info: ValidationInfo) -> Self:
        if self.starttls and self.url.startswith("ldaps:"):
            raise ValueError("starttls is for ldap:// addresses")
        if not self.starttls:
            _protected(self.url, info)
        if (self.bind_dn is None) != (self.password_file is None):
            raise ValueError("must have both bind_dn and password_file, or neither")
        return self


AnyDirectory = HttpDirectory | ScimDirectory | LdapDirectory
_READER: TypeAdapter[AnyDirectory] = TypeAdapter(Annotated[AnyDirectory, Field(discriminator="kind")])


def read_directory(path: Path, private_hosts: frozenset[str]) -> AnyDirectory:
    """Read the table `directory` of the file. Raises Mistakes, which says where, or OSError."""
    context = Context(private_hosts=private_hosts, folder=path.parent)
    return TomlFile.read(path).table("directory", _READER, context)
