"""How every command ends: 0 done, 1 failed, 2 misuse; an error is one line on stderr that says what to do."""

import errno
import getpass
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from shared.kernel.errors import ConfigurationError, english_sentence
from shared.kernel.files import keep_files_private
from shared.kernel.text import require_identifier, visible

if TYPE_CHECKING:
    from shared.platform.settings import ServiceSettings

T = TypeVar("T")


class Failed(Exception):
    """The command failed; the text says why and what to do."""


def run(app: typer.Typer, service: str) -> NoReturn:
    """Run the command line and exit with its code. The files that it writes are for their owner only."""
    keep_files_private()
    sys.exit(exit_code(app, service, sys.argv[1:]))


def exit_code(app: typer.Typer, service: str, arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    command = get_command(app)
    return code_of(service, lambda: command(args=arguments, prog_name=service, standalone_mode=False))


def code_of(service: str, work: Callable[[], object]) -> int:
    """Do the work and return the exit code; an error is reported."""
    try:
        code = work()
    except TyperException as misuse:
        if wrong := misuse.format_message().rstrip(". "):
            context = getattr(misuse, "ctx", None)
            command = context.command_path if context else service
            _report(service, f"{wrong}. See `{command} --help`.")
        return misuse.exit_code
    except (Failed, ConfigurationError) as failure:
        _report(service, str(failure))
        return 1
    except Exception as error:
        _report(service, explained(error, service))
        return 1
    return code if isinstance(code, int) else 0


ADVICE = {
    "UndefinedTableError": "The schema is not up to date: run `{service} migrate`.",
    "UndefinedFunctionError": "The schema is not up to date: run `{service} migrate`.",
    "UnreadableEvent": "An event cannot be read: {text}. `{service} events show STREAM` shows its state.",
    "DecryptionFailed": "{text}. `{service} keys status` shows if a master key is missing in the key file.",
    "InsufficientPrivilegeError": (
        "{text}. `migrate`, `events import` and `keys rewrap` run as the owner of the tables: set"
        " {prefix}OWNER_DATABASE_URL. For other commands `{service} migrate` grants what is missing."
    ),
}
"""Class of an error -> what to do. By name: a command imports the class only if it needs it."""


def explained(error: Exception, service: str) -> str:
    """Return one line for an error that no command handles; of several at once, the first one counts."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    text = text_of(error).rstrip(".")
    if isinstance(error, ConnectionError):
        return f"The database or the broker cannot be reached ({text}). `{service} doctor` shows which."
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        prefix = service.upper()
        return (
            f"{text}. Set {prefix}_PORT (for `serve`) or {prefix}_WORKER_PORT (for `work`) to another port."
        )
    if isinstance(error, OSError):
        return f"{text}. `{service} doctor` shows what is missing."
    advice = ADVICE.get(type(error).__name__, "{kind}: {text}. `{service} doctor` checks every dependency.")
    return advice.format(text=text, service=service, prefix=f"{service.upper()}_", kind=type(error).__name__)


def text_of(error: Exception) -> str:
    """Return the text of an error on one line; without one, the first paragraph of its class's docstring."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or english_sentence(type(error))


def _report(service: str, text: str) -> None:
    line = visible(" ".join(text.split()))
    sys.stderr.write(f"{service}: {line}\n")


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine on uvloop."""
    import asyncio  # noqa: PLC0415 - `--help` must not wait for them

    import uvloop  # noqa: PLC0415

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


SCOPE = "installation"


async def operator_at_work(settings: "ServiceSettings") -> str:
    """Return the subject of the token in `…_TOKEN`. Raises Failed unless it has the scope `installation`."""
    from shared.platform.http_client import HttpClient  # noqa: PLC0415
    from shared.web.security import InvalidToken, KeysUnavailable, keys_of, token_verifier  # noqa: PLC0415

    name = f"{type(settings).prefix()}TOKEN"
    token = os.environ.get(name)
    if not token:
        raise Failed(f"This needs the scope {SCOPE}: put a bearer token with this scope into {name}.")
    async with HttpClient() as http:
        keys = keys_of(settings.oidc_issuer, settings.oidc_jwks, http)
        try:
            principal = await token_verifier(settings, keys).verify(token)
        except InvalidToken as error:
            raise Failed(f"The token in {name} does not count: {error}. Put another one there.") from None
        except KeysUnavailable as error:
            raise Failed(f"The token in {name} cannot be checked: {text_of(error)}") from None
    if SCOPE not in principal.scopes:
        raise Failed(f"The token in {name} does not have the scope {SCOPE}: put one there that has it.")
    return principal.subject


ProcessNumber = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        max=64,
        help="How many processes share the address, each with its own connections to the database.",
    ),
]
By = Annotated[
    str | None,
    typer.Option("--by", help="Your name, which is stored; your login name when left out."),
]
"""Each command that changes something for a person, or reads about people, stores who did it (R20, R22)."""


def name_of(by: str | None) -> str:
    """Return the name of the one who runs a command. Raises BadParameter, and Failed without any name."""
    try:
        return require_identifier(_login_name() if by is None else by)
    except ValueError as error:
        raise typer.BadParameter(f"a name {error}", param_hint="--by") from None


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have only a number
        raise Failed("Your login name is unknown here: give your name with --by.") from None
