# mypy: ignore-errors
"""Serve Canaille with its own code, in its own environment: `python canaille_server.py SETTINGS`.

It keeps everything in memory. SETTINGS is a file with the JSON that canaille.py beside this file writes. The
first line of the output is the version.
"""

import datetime
import importlib.metadata
import json
import sys
from pathlib import Path

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from werkzeug.serving import WSGIRequestHandler, make_server


def configuration(settings):
    return {
        "SECRET_KEY": settings["secret_key"],
        "SERVER_NAME": f"127.0.0.1:{settings['port']}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {
            "DATABASE": "memory",
            "FORCE_HTTPS": False,
            "JAVASCRIPT": False,
            "HTMX": False,
            "LOGGING": {"version": 1, "root": {"level": "WARNING"}},
            "ENABLE_PASSWORD_COMPROMISSION_CHECK": False,
            "ACL": {
                "DEFAULT": {"PERMISSIONS": ["edit_self", "use_oidc"], "READ": ["user_name"], "WRITE": []}
            },
        },
        "CANAILLE_OIDC": {
            "REQUIRE_NONCE": False,
            "TRUSTED_DOMAINS": ["127.0.0.1"],
            **({"ACTIVE_JWKS": settings["keys"]} if settings.get("keys") else {}),
        },
        "CANAILLE_SCIM": {"ENABLE_SERVER": True},
    }


def fill(settings):
    groups = {}
    for described in settings["users"]:
        user = dict(described)
        names = user.pop("groups", [])
        if user.pop("locked", False):
            user["lock_date"] = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        saved = models.User(**user)
        Backend.instance.save(saved)
        for name in names:
            groups.setdefault(name, []).append(saved)
    for name, members in groups.items():
        Backend.instance.save(models.Group(display_name=name, members=members))
    now = datetime.datetime.now(datetime.UTC)
    for client in settings["clients"]:
        saved = models.Client(client_id_issued_at=now, **client)
        Backend.instance.save(saved)
        saved.audience = [saved]
        Backend.instance.save(saved)


class Quiet(WSGIRequestHandler):
    """HTTP/1.1 as in production: connections stay open. No line for each request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        """Write nothing."""


def main():
    settings = json.loads(Path(sys.argv[1]).read_text())
    sys.stdout.write(importlib.metadata.version("canaille") + "\n")
    sys.stdout.flush()
    app = create_app(config=configuration(settings))
    with app.app_context(), Backend.instance.session():
        fill(settings)
    server = make_server("127.0.0.1", settings["port"], app, threaded=True, request_handler=Quiet)
    server.serve_forever()


main()
