"""How every command ends: 0 done, 1 failed, 2 misuse; errors in one line on stderr that says what to do."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from shared.settings import SettingsWrong

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
    except (Failed, SettingsWrong) as failure:
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
