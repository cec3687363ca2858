"""The two databases of the local stack: in our own PostgreSQL, or in a server that was given."""

import hashlib
import hmac
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from infra.local import psql
from infra.local.credentials import write_privately
from infra.local.postgres import Postgres

SERVICES = ("registration", "identity")


def own_databases(server: Postgres) -> dict[str, str]:
    """The address of each service's database, made when it is not there; each closed to the other's role."""
    return {service: server.create_database(service, owner=service) for service in SERVICES}


def databases_of(given_url: str, run_dir: Path) -> dict[str, str]:
    """The same in the server of `given_url` (DATABASE_URL), whose user must be allowed to create both.

    Databases and roles are named after the database in that address, so that several stacks can share a
    server. Raises PostgresError with the server's words.
    """
    prefix = urlsplit(given_url).path.lstrip("/") or "landelijk"
    secret = _secret(run_dir / "keys" / "databases.key")
    names = {service: f"{prefix}_{service}" for service in SERVICES}
    try:
        return {
            service: psql.create_database(given_url, name, name, _password(secret, name))
            for service, name in names.items()
        }
    except psql.PostgresError as error:
        raise psql.PostgresError(
            f"the server of DATABASE_URL refused ({error}): its user must be able to connect,"
            " and be allowed to create roles and databases"
        ) from None


def _secret(path: Path) -> bytes:
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_privately(path, secrets.token_hex(32))
    return path.read_bytes()


def _password(secret: bytes, role: str) -> str:
    return hmac.new(secret, role.encode(), hashlib.sha256).hexdigest()[:32]
