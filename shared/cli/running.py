"""How every command ends: 0 done, 1 failed, 2 misuse; an error is one line on stderr that says what to do."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from shared.kernel.errors import ConfigurationError
from shared.platform.settings import ServiceSettings

T = TypeVar("T")


class Failed(Exception):
    """The command could not do its work; the text says why and what to do."""


def run(app: typer.Typer, service: str) -> NoReturn:
    """Run the command line and leave with its exit code."""
    sys.exit(exit_code(app, service, sys.argv[1:]))


def exit_code(app: typer.Typer, service: str, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    try:
        code = get_command(app)(args=arguments, prog_name=service, standalone_mode=False)
    except TyperException as misuse:
        if wrong := misuse.format_message().rstrip(". "):
            _told(service, f"{wrong}. See `{service} --help`.")
        return misuse.exit_code
    except (Failed, ConfigurationError) as failure:
        _told(service, str(failure))
        return 1
    except Exception as error:
        _told(service, explained(error, service))
        return 1
    return code if isinstance(code, int) else 0


def explained(error: Exception, service: str) -> str:
    """One line for an error that no command expected."""
    text = " ".join(str(error).split()) or (type(error).__doc__ or "").split("\n", maxsplit=1)[0]
    if isinstance(error, OSError):
        return f"{text}. `{service} doctor` shows what is missing."
    if type(error).__name__ in {"UndefinedTableError", "UndefinedFunctionError"}:
        return f"The schema is not up to date: run `{service} migrate`."
    return f"{type(error).__name__}: {text} `{service} doctor` checks every dependency."


def _told(service: str, text: str) -> None:
    line = " ".join(text.split())
    sys.stderr.write(f"{service}: {line}\n")


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work on uvloop."""
    import uvloop  # noqa: PLC0415 - `--help` must not wait for it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


SCOPE = "operator"


async def operator_at_work(settings: ServiceSettings) -> str:
    """Who holds the token in `…_TOKEN`, which must be good and have the scope `operator`. Raises Failed."""
    import httpx  # noqa: PLC0415

    from shared.web.security import InvalidToken, KeysUnavailable, TokenVerifier, keys_of  # noqa: PLC0415  # noqa: PLC0415

    name = f"{type(settings).prefix()}TOKEN"
    token = os.environ.get(name)
    if not token:
        raise Failed(f"This needs the scope {SCOPE}: put a bearer token that has it into {name}.")
    async with httpx.AsyncClient() as http:
        keys = keys_of(settings.oidc_issuer, settings.oidc_jwks, http)
        try:
            principal = await TokenVerifier(settings.oidc_issuer, keys).verify(token)
        except InvalidToken:
            raise Failed(f"The token in {name} is invalid or expired: sign in again.") from None
        except KeysUnavailable as error:
            raise Failed(f"The token in {name} cannot be checked: {error.__doc__}") from None
    if SCOPE not in principal.scopes:
        raise Failed(f"The token in {name} lacks the scope {SCOPE}: sign in as an operator.")
    return principal.subject
