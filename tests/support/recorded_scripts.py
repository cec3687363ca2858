"""The migrations of a release as it had them, SQL and rights: this release is tried over its schema.

When a release is cut: `python -m tests.support.recorded_scripts` writes those of the code that is there.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from identity.adapters.tables import SCHEMA as IDENTITY
from registration.adapters.tables import SCHEMA as REGISTRATION
from shared.platform.postgres import Script
from shared.platform.roles import Rights

RECORDED = Path(__file__).parents[1] / "recorded" / "scripts_before.json.gz"
SCHEMAS: Mapping[str, Sequence[Script]] = {"registration": REGISTRATION, "identity": IDENTITY}


def scripts_before() -> dict[str, list[Script]]:
    """Return the scripts of the release before, by service."""
    return {
        service: [
            Script(name, sql, {table: Rights(*each) for table, each in rights.items()})
            for name, sql, rights in scripts
        ]
        for service, scripts in json.loads(gzip.decompress(RECORDED.read_bytes())).items()
    }


def write() -> None:
    """Write the scripts of the code that is imported."""
    scripts = {
        service: [
            (name, sql, {table: (each.service, each.reader) for table, each in rights.items()})
            for name, sql, rights in schema
        ]
        for service, schema in SCHEMAS.items()
    }
    RECORDED.write_bytes(gzip.compress(json.dumps(scripts, indent=0).encode(), mtime=0))


if __name__ == "__main__":
    write()
