"""The file of webhook receivers: where messages are sent to, which ones, and how they are signed.

[receivers.catalogue]
url = "https://catalogue.example/hooks"
secret_file = "/run/secrets/catalogue"      # one or two lines `whsec_…`: the newest first
types = ["guest-registered.v1"]             # none: all
organisations = ["1001"]                    # none: all
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter

from shared.kernel.files import read_file
from shared.kernel.text import require_identifier
from shared.kernel.toml_file import Mistake, Mistakes, TomlFile

Identifier = Annotated[str, AfterValidator(require_identifier)]
MOST_RECEIVERS = 50
SECRET_PREFIX = "whsec_"  # noqa: S105 - the same in all secrets
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
"""As the specification of Standard Webhooks asks for."""
MOST_SECRETS = 2
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,49}", text):
        raise ValueError("must be at most 50 small letters, digits and hyphens")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"https", "http"} or not parts.hostname or len(text) > 500:
        raise ValueError("must be an https:// address of at most 500 characters")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user and no password: the signature shows who sends")
    if parts.fragment or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError("must be an address without #, spaces and control characters")
    try:
        parts.port  # noqa: B018 - it raises for a port that is none
    except ValueError:
        raise ValueError("must have a port from 0 to 65535") from None
    return text


def _network(text: object) -> Network:
    try:
        return ipaddress.ip_network(str(text))
    except ValueError:
        raise ValueError("must be a network, such as 10.20.0.0/16 or fd00::/16") from None


class ReceiverSetting(BaseModel):
    """One receiver. `plain_http`: an http:// address is meant. `start`: what a new receiver gets first.

    `allowed_networks`: of private addresses, those at which it may be. Public ones always are allowed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(_url)]
    secret_file: Path
    types: frozenset[Identifier] = frozenset()
    organisations: frozenset[Identifier] = frozenset()
    allowed_networks: tuple[Annotated[Network, PlainValidator(_network)], ...] = ()
    plain_http: bool = False
    start: Literal["now", "beginning"] = "now"
    park_after_minutes: Annotated[int, Field(ge=0, le=60 * 24 * 30)] = 60


_READER = TypeAdapter(dict[Annotated[str, AfterValidator(_name)], ReceiverSetting])


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver with its secrets, the newest first. `repr` hides them."""

    name: str
    setting: ReceiverSetting
    secrets: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"Receiver({self.name!r})"


def read_receivers(file: TomlFile, types: Collection[str]) -> dict[str, Receiver]:
    """Return the receivers by name. `types`: the messages that there are. Raises Mistakes."""
    file.require_tables("receivers")
    found = file.table("receivers", _READER)
    mistakes: list[Mistake] = []
    receivers = {}
    if len(found) > MOST_RECEIVERS:
        mistakes.append(file.mistake(("receivers",), f"at most {MOST_RECEIVERS} receivers"))
    for name, setting in found.items():
        for key, text in _wrong(setting, types).items():
            mistakes.append(file.mistake(("receivers", name, key), text))
        try:
            receivers[name] = Receiver(name, setting, read_secrets(setting.secret_file))
        except (OSError, ValueError) as error:
            text = (error.strerror or "cannot be read") if isinstance(error, OSError) else str(error)
            mistakes.append(
                file.mistake(("receivers", name, "secret_file"), f"{setting.secret_file}: {text}")
            )
    if mistakes:
        raise Mistakes(mistakes)
    return receivers


def _wrong(setting: ReceiverSetting, types: Collection[str]) -> Mapping[str, str]:
    wrong = {}
    if urlsplit(setting.url).scheme == "http" and not setting.plain_http:
        wrong["url"] = "must be an https:// address, or set plain_http = true"
    if unknown := sorted(setting.types - set(types)):
        wrong["types"] = f"no such message: {', '.join(unknown)}; there are {', '.join(sorted(types))}"
    return wrong


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """Return the secrets of a file, the newest first. Raises ValueError, which shows none, and OSError."""
    try:
        lines = [line.strip() for line in read_file(path, "ascii").splitlines() if line.strip()]
    except UnicodeDecodeError:
        lines = []
    if not 1 <= len(lines) <= MOST_SECRETS:
        raise ValueError(f"must hold one secret, or two while the secret is replaced, each {SECRET_PREFIX}…")
    return tuple(map(_secret, lines))


def _secret(line: str) -> bytes:
    encoded = line.removeprefix(SECRET_PREFIX)
    try:
        secret = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        secret = b""
    if not line.startswith(SECRET_PREFIX) or not LEAST_SECRET_BYTES <= len(secret) <= MOST_SECRET_BYTES:
        size = f"{LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES} bytes"
        raise ValueError(f"each secret must be {SECRET_PREFIX} and {size} in base64")
    return secret
