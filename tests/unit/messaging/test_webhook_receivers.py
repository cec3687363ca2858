"""The file of webhook receivers: every mistake with its line; and which addresses messages may go to."""

from __future__ import annotations

import base64
import ipaddress
from pathlib import Path

import pytest

from shared.kernel.toml_file import Mistakes, TomlFile
from shared.messaging.webhook_receivers import read_receivers
from shared.messaging.webhook_sender import is_allowed

TYPES = ("guest-registered.v1", "guests-merged.v1")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def table(secret: Path, **values: str) -> str:
    lines = {"url": '"https://a.example/h"', "secret_file": f'"{secret}"'} | values
    return "[receivers.a]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    return file


def test_a_receiver_is_read_and_its_secrets_are_in_no_text(secret: Path) -> None:
    secret.write_text(f"{SECRET}\n\n{SECRET.rstrip('=')}\n")
    found = read_receivers(TomlFile(table(secret, types='["guest-registered.v1"]')), TYPES)["a"]
    assert found.secrets == (bytes(range(32)),) * 2
    assert SECRET[6:] not in repr(found)
    assert str(bytes(range(32))) not in repr(found)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("url", '"http://a.example/"', "must be an https:// address, or set plain_http"),
        ("url", '"ftp://a.example/"', "must be an https:// address"),
        ("url", '"https://user:pw@a.example/"', "must hold no user and no password"),
        ("url", '"https://a.example/#x"', "must be an address without #"),
        ("url", '"https://a.example:99999/"', "must have a port"),
        ("url", '"https:///x"', "must be an https:// address"),
        ("types", '["nothing.v1"]', "no such message: nothing.v1; there are guest-registered.v1"),
        ("allowed_networks", '["10.0.0.1/8"]', "must be a network"),
        ("start", '"yesterday"', "now"),
        ("more", "1", "no such key"),
    ],
)
def test_a_mistake_is_named_with_its_line(secret: Path, key: str, value: str, message: str) -> None:
    text = table(secret, **{key: value})
    with pytest.raises(Mistakes) as refused:
        read_receivers(TomlFile(text, Path("w.toml")), TYPES)
    [mistake] = refused.value.found
    assert message in mistake.text
    assert mistake.line == next(
        number for number, line in enumerate(text.splitlines(), 1) if line.startswith(f"{key} =")
    )


@pytest.mark.parametrize(
    "content", ["", "secret", "whsec_", "whsec_AAAA", "whsec_!!!", f"{SECRET}\n" * 3, "é"]
)
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: Path, content: str) -> None:
    secret.write_text(content)
    with pytest.raises(Mistakes) as refused:
        read_receivers(TomlFile(table(secret)), TYPES)
    [mistake] = refused.value.found
    assert mistake.where == "receivers.a.secret_file"
    shown = mistake.text.replace(str(secret), "").replace("each whsec_", "").replace("must be whsec_", "")
    assert content in {"", "secret", "whsec_"} or content not in shown


def test_all_mistakes_of_all_receivers(tmp_path: Path) -> None:
    text = table(tmp_path / "nowhere") + table(tmp_path / "nowhere").replace("receivers.a", "receivers.b")
    with pytest.raises(Mistakes) as refused:
        read_receivers(TomlFile(text), TYPES)
    assert [mistake.line for mistake in refused.value.found] == [3, 6]


ALLOWED = [ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("fd00::/16")]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("10.20.3.4", True),
        ("fd00::1", True),
        ("::ffff:10.20.3.4", True),
        *((address, False) for address in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.21.0.1", "192.168.1.1")),  # noqa: S104
        *((address, False) for address in ("172.16.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1")),
        *((address, False) for address in ("255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1")),
        *((address, False) for address in ("::1", "::", "fe80::1", "fd01::1", "ff02::1", "2001:db8::1")),
        *((address, False) for address in ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::")),
        ("::127.0.0.1", False),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False),
    ],
)
def test_only_public_addresses_and_named_networks_are_allowed(address: str, allowed: bool) -> None:
    assert is_allowed(ipaddress.ip_address(address), ALLOWED) is allowed
