"""Writes the OpenAPI documents of both services to a folder: `python -m infra.api_tools FOLDER`.

They are those that the services serve, with an invented issuer. Nothing has to run for them.
"""

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from identity.api.app import identity_app
from registration.api.app import registration_app
from shared.web.app import Operations
from shared.web.openapi import DescribedApp
from shared.web.security import JwksKeys, TokenVerifier

ISSUER = "https://issuer.example"
APPS: dict[str, Callable[..., DescribedApp]] = {"registration": registration_app, "identity": identity_app}


async def _no_keys() -> dict[str, Any]:
    return {"keys": []}


def described(make_app: Callable[..., DescribedApp], contact: str | None = None) -> DescribedApp:
    """Return an app of which only the description works: there is nothing behind its routes."""
    arguments: dict[str, Any] = {
        name: SimpleNamespace(own=None, webhooks=None)
        for name, parameter in inspect.signature(make_app).parameters.items()
        if parameter.default is parameter.empty
    }
    arguments["contact"] = contact
    arguments["verifier"] = TokenVerifier(ISSUER, JwksKeys(_no_keys), audience=None, typed=True)
    process = "process" if "process" in arguments else "operations"
    return make_app(**arguments | {process: Operations(checks={})})


def write_documents(folder: Path) -> list[Path]:
    """Write `<service>.json` and `<service>.operations.json` of both services; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for service, make_app in APPS.items():
        documents = described(make_app).documents()
        for name, document in ((service, documents.public), (f"{service}.operations", documents.operators)):
            file = folder / f"{name}.json"
            file.write_text(json.dumps(document, indent=1), "utf-8")
            written.append(file)
    return written


if __name__ == "__main__":
    write_documents(Path(sys.argv[1]))
