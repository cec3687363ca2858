"""Print the definitions for a RabbitMQ with one user per service; RabbitMQ loads them at its first start.

Example: python -m infra.rabbitmq.definitions secrets/registration_broker_password \
secrets/identity_broker_password > secrets/rabbitmq_definitions.json
"""

import argparse
import base64
import hashlib
import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.rabbitmq.permissions import OTHER, permissions


def definitions(passwords: Mapping[str, str]) -> dict[str, Any]:
    """Return the virtual host `/` and the users of the services, with hashed passwords and permissions."""
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            {
                "name": service,
                "password_hash": _hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
            for service, password in passwords.items()
        ],
        "permissions": [
            {"user": service, "vhost": "/", **asdict(permissions(service))} for service in passwords
        ],
    }


def _hash(password: str) -> str:
    salt = secrets.token_bytes(4)  # RabbitMQ stores four bytes of salt, then the digest of salt and password
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def main() -> None:
    """Read one password file per service and print the definitions as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for service in OTHER:
        parser.add_argument(service, type=Path, help=f"the file with the password of {service}")
    files: dict[str, Path] = vars(parser.parse_args())
    passwords = {service: path.read_text(encoding="utf-8").strip() for service, path in files.items()}
    sys.stdout.write(json.dumps(definitions(passwords), indent=2) + "\n")


if __name__ == "__main__":
    main()
