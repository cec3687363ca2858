"""Commands of both services, run in this process: starting one takes longer than most commands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import NamedTuple
from unittest.mock import patch

from identity.cli.main import app as identity_commands
from registration.cli.main import app as registration_commands
from shared.cli.running import exit_code

COMMANDS = {"registration": registration_commands, "identity": identity_commands}
OURS = ("REGISTRATION_", "IDENTITY_", "DATABASE_URL", "AMQP_URL")


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    errors: str


def without_settings_of_services(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would override a service's own file of settings."""
    return {name: value for name, value in environment.items() if not name.startswith(OURS)}


def run_command(service: str, *arguments: str, **settings: str) -> Done:
    """One command of a service, with these settings in the environment and no others of a service's.

    In a thread of its own: the caller's event loop may be running.
    """
    environment = without_settings_of_services(os.environ) | settings
    out, errors = StringIO(), StringIO()
    with (
        patch.dict(os.environ, environment, clear=True),
        redirect_stdout(out),
        redirect_stderr(errors),
        ThreadPoolExecutor(1) as beside,
    ):
        code = beside.submit(exit_code, COMMANDS[service], service, list(arguments)).result()
    return Done(code, out.getvalue(), errors.getvalue())
