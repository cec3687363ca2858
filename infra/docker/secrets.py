"""Create what compose needs and the repository must not hold: `secrets/`, `config/` and `.env`.

Nothing that exists is ever changed: run it again after an upgrade, and it adds what is new. It needs Python
3.11 and nothing else. As root (`sudo make secrets`) each secret belongs to the user of the container that
reads it, and nobody else can. As another user the secrets have no such owner: any user could read them, but
the folder is for its owner alone, and a container gets the file past the folder.

Example: python3 -m infra.docker.secrets
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.rabbitmq.definitions import definitions

SERVICES = ("registration", "identity")
SERVICE_USER = 10001
"""The user of `infra/docker/Dockerfile`."""
SERVER_USER = 999
"""The user of the official images of PostgreSQL and of RabbitMQ."""

Contents = Callable[[Mapping[str, str]], str]
"""Returns the content of a file, given those that exist before it, by their names."""


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file of `secrets/`. `reader`: the numeric user of the container that reads it; None: compose itself.

    `to_do`: what an operator still has to put into it.
    """

    name: str
    content: Contents
    reader: int | None = None
    to_do: str = ""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the services find PostgreSQL and RabbitMQ: a host, with `:port` if it is not the usual one.

    Each may name several, separated by commas: a primary and its standbys; the nodes of one cluster.
    """

    postgres: str = "postgres"
    rabbitmq: str = "rabbitmq"

    def database(self, role: str, password: str, name: str) -> str:
        """Return the address of a database for one of its roles."""
        which = "?target_session_attrs=read-write" if "," in self.postgres else ""
        return f"postgresql://{role}:{password}@{self.postgres}/{name}{which}"


COMPOSE = Servers()


def _random_key(_files: Mapping[str, str]) -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode() + "\n"


def _password(_files: Mapping[str, str]) -> str:
    return secrets.token_urlsafe(32) + "\n"  # letters, digits, - and _: it needs no encoding in an address


def _nothing(_files: Mapping[str, str]) -> str:
    return ""


def _service_environment(service: str, at: Servers) -> Contents:
    def content(files: Mapping[str, str]) -> str:
        database, broker = (files[f"{service}_{what}_password"].strip() for what in ("database", "broker"))
        nodes = ",".join(f"amqp://{service}:{broker}@{node.strip()}/" for node in at.rabbitmq.split(","))
        return (
            f"{service.upper()}_DATABASE_URL={at.database(service, database, service)}\n"
            f"{service.upper()}_AMQP_URL={nodes}\n"
        )

    return content


def _owner_environment(service: str, at: Servers) -> Contents:
    def content(files: Mapping[str, str]) -> str:
        password, owner = files[f"{service}_owner_password"].strip(), f"{service}_owner"
        return f"{service.upper()}_OWNER_DATABASE_URL={at.database(owner, password, service)}\n"

    return content


def _broker_users(files: Mapping[str, str]) -> str:
    passwords = {service: files[f"{service}_broker_password"].strip() for service in SERVICES}
    return json.dumps(definitions(passwords), indent=2) + "\n"


def secret_files(at: Servers = COMPOSE) -> Iterator[SecretFile]:
    """Yield all files of `secrets/`, each after those that it is made from."""
    for name in (
        "master_key",
        "person_ref_key",
        "session_key",
        *(f"{name}_messages_key" for name in SERVICES),
    ):
        yield SecretFile(name, _random_key, SERVICE_USER)
    yield SecretFile("postgres_password", _password, SERVER_USER)
    for service in SERVICES:
        for role in ("owner", "database", "reader"):
            yield SecretFile(f"{service}_{role}_password", _password, SERVER_USER)
        yield SecretFile(f"{service}_broker_password", _password)
        yield SecretFile(f"{service}.env", _service_environment(service, at))
        yield SecretFile(f"{service}_owner.env", _owner_environment(service, at))
        other = next(name for name in SERVICES if name != service)
        to_do = f"the token with which {service} calls {other}, from your sign-in service"
        yield SecretFile(f"{service}_service_token", _nothing, SERVICE_USER, to_do)
    yield SecretFile("rabbitmq_definitions.json", _broker_users, SERVER_USER)


CONFIG_FILES = {
    "organisations.toml": """\
# The guest libraries, each with its own ISILs and branches (docs/contract.md). An example:
# [organisations.1001]
# name = "Biblionet Drenthe"
# isils = ["NL-070297"]
# branches = { 9453 = "Roden" }
[organisations]
""",
    "home_libraries.toml": """\
# How each home library is reached (docs/home-libraries.md).
[libraries]
""",
}
ENVIRONMENT = """\
# Read by compose. The issuer of the tokens of staff and services; it needs https.
OIDC_ISSUER=https://sign-in.invalid
# The account directory; empty: only accounts that were imported or opened here.
ACCOUNT_DIRECTORY_URL=
# The address of the counter's pages, and their client id at the issuer; empty: no pages.
COUNTER_URL=
COUNTER_CLIENT_ID=
"""


def create(root: Path, *, may_give_away: bool, owner: int, at: Servers = COMPOSE) -> Iterator[str]:
    """Create what is missing below `root`, and yield a line for each file, and for what is left to do.

    `may_give_away`: this process may give files to other users. `owner`: the numeric user of the operator.
    `at`: the servers whose addresses come into new files.
    """
    folder = root / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    to_do = []
    if may_give_away:
        os.chown(folder, owner, -1)
    files: dict[str, str] = {}
    for file in secret_files(at):
        path = folder / file.name
        if not path.exists():
            _write(path, file.content(files), *_mode_and_user(file, may_give_away, owner))
            yield f"created {path.relative_to(root)}"
        files[file.name] = path.read_text("utf-8")
        if file.to_do and not files[file.name].strip():
            to_do.append(f"to do: {path.relative_to(root)}: {file.to_do}")
    (root / "config").mkdir(mode=0o755, exist_ok=True)
    if may_give_away:
        os.chown(root / "config", owner, -1)
    open_to_all = {f"config/{name}": content for name, content in CONFIG_FILES.items()}
    for name, content in (open_to_all | {".env": ENVIRONMENT}).items():
        if not (root / name).exists():
            _write(root / name, content, 0o600 if name == ".env" else 0o644, owner if may_give_away else None)
            yield f"created {name}"
    if "sign-in.invalid" in (root / ".env").read_text("utf-8"):
        to_do.append("to do: .env: OIDC_ISSUER is the address of your sign-in service")
    yield from to_do


def _mode_and_user(file: SecretFile, may_give_away: bool, owner: int) -> tuple[int, int | None]:
    if file.reader is None:
        return 0o600, owner if may_give_away else None
    # Compose mounts the file itself, so the mode of the folder does not keep a container out.
    return (0o400, file.reader) if may_give_away else (0o444, None)


def _write(path: Path, content: str, mode: int, user: int | None) -> None:
    """Write a file that has its mode before its content, whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(content)
        if user is not None:
            os.fchown(file.fileno(), user, -1)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    draft.rename(path)


ONE_HOST = r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"


def _address(given: str) -> str:
    """Return a host, or host and port. Raises ArgumentTypeError."""
    if re.fullmatch(ONE_HOST, given) is None:
        raise argparse.ArgumentTypeError(f"{given!r} is not a host, or host:port")
    return given


def _addresses(given: str) -> str:
    """Return one host or several. Raises ArgumentTypeError."""
    return ",".join(_address(host) for host in given.split(","))


def main() -> None:
    """Create what is missing in the present folder, for the operator who calls this, also through sudo."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the folder of docker-compose.yml")
    one, several = "host or host:port; compose's own", "the same, or several: primary:5432,standby:5432"
    parser.add_argument("--postgres", type=_addresses, default=COMPOSE.postgres, help=several)
    parser.add_argument("--rabbitmq", type=_address, default=COMPOSE.rabbitmq, help=one)
    given = parser.parse_args()
    root: Path = given.root
    at = Servers(given.postgres, given.rabbitmq)
    os.umask(0o022)
    is_root = os.geteuid() == 0
    owner = int(os.environ.get("SUDO_UID", os.getuid())) if is_root else os.getuid()
    try:
        for line in create(root, may_give_away=is_root, owner=owner, at=at):
            sys.stdout.write(line + "\n")
    except PermissionError as error:
        sys.exit(f"error: {error.strerror}: {error.filename}: run this with sudo, as the first time")
    except OSError as error:
        sys.exit(f"error: {error.strerror}: {error.filename}")


if __name__ == "__main__":
    main()
