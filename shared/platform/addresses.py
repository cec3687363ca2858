"""Addresses of servers in settings: a password in them is encoded, and shown to nobody."""

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, SecretStr

_PASSWORD = re.compile(r"(://[^:/@?#]*):.*@")  # up to the last @: it may hold one, by mistake
_PASSWORD_IN_QUERY = re.compile(r"(?<=[?&]password=)[^&]*")
_NEXT_BROKER = re.compile(r"\s*,\s*(?=amqps?://)")  # a comma alone may be a part of a password
_BROKERS = ("amqp", "amqps")


def masked(value: str) -> str:
    """Return the value with a password in an address masked, before the host or in the query."""
    without = (_PASSWORD.sub(r"\1:***@", address) for address in broker_addresses(value))
    return ",".join(_PASSWORD_IN_QUERY.sub("***", address) for address in without)


def broker_addresses(value: str) -> list[str]:
    """Return the addresses of the nodes of one RabbitMQ cluster, which are separated by commas."""
    return _NEXT_BROKER.split(value.strip())


def place_of(address: str) -> str:
    """Return the host and the port of an address, which may be shown and logged."""
    parts = urlsplit(address)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _has_encoded_password(address: SecretStr) -> SecretStr:
    """Return an address. Raises ValueError where a password was written into it as it is (RFC 3986)."""
    _require_encoded(address.get_secret_value())
    return address


def _require_encoded(address: str) -> None:
    head, _, rest = address.partition("://")[2].partition("/")
    user = head.rpartition("@")[0]
    if re.search(r"[@?]|%(?![0-9A-Fa-f]{2})", user) or "@" in rest.partition("?")[0] or "#" in head + rest:
        raise ValueError(
            "in the user and the password of an address @ / ? # and % are written as %40 %2F %3F %23 and %25"
        )


def _are_one_cluster(value: SecretStr) -> SecretStr:
    """Return the addresses of one cluster. Raises ValueError, which names the wrong one."""
    addresses = broker_addresses(value.get_secret_value())
    seen: dict[str, str] = {}
    for number, address in enumerate(addresses, start=1):
        try:
            _require_encoded(address)
            parts = _broker(address)
            if place_of(address) in seen:
                raise ValueError("it is there twice")
            if seen and parts.path.strip("/") not in seen.values():
                raise ValueError("all addresses have the same virtual host")
            seen[place_of(address)] = parts.path.strip("/")
        except ValueError as error:
            if len(addresses) == 1:
                raise
            raise ValueError(f"address {number} of {len(addresses)}{_named(address)}: {error}") from None
    return value


def _broker(address: str) -> SplitResult:
    """Return the parts of an address of RabbitMQ. Raises ValueError."""
    parts = urlsplit(address)
    try:
        is_whole = parts.scheme in _BROKERS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or "," in parts.netloc.rpartition("@")[2] + parts.path:
        raise ValueError(
            "write amqp://USER:PASSWORD@HOST:PORT/, or amqps://…; of a cluster one such address for each"
            " node, with commas between them"
        )
    return parts


def _named(address: str) -> str:
    """Return what can be shown of a wrong address: what is behind its last @, up to the path."""
    place = address.partition("://")[2].rpartition("@")[2].partition("/")[0].partition("?")[0]
    return f" ({place})" if "@" in address and place else ""


Address = Annotated[SecretStr, AfterValidator(_has_encoded_password)]
BrokerAddresses = Annotated[SecretStr, AfterValidator(_are_one_cluster)]
"""One address, or one for each node of a cluster."""
