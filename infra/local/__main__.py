"""`python -m infra.local`: start the local stack, play the story through the real APIs, stay up."""

import argparse
import os
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

from infra.local.postgres import PostgresError
from infra.local.processes import StartFailed
from infra.local.rabbitmq import RabbitMQError, TransportImpossible
from infra.local.stack import Stack
from shared.kernel.files import keep_files_private

if TYPE_CHECKING:
    from infra.local.story import StoryRun

EPILOG = """
environment:
  RUN_DIR             folder of all files (default .run); stacks in different folders run side by side
  TRANSPORT           auto, amqp or feed (default auto)
  AMQP_URL            address of a RabbitMQ to use instead of a private node
  DATABASE_URL        address of a PostgreSQL to use; its user must be able to create roles and databases
  REGISTRATION_PORT   default 8001; 0 means any free port
  IDENTITY_PORT       default 8002; 0 means any free port

example: RUN_DIR=/tmp/demo TRANSPORT=feed python -m infra.local --exit
"""


NARROWEST = 96  # characters: the width of a contribution row


class _Stopped(BaseException):
    """A signal asked this program to stop."""


def main() -> int:
    """Run the stack until a signal, or with --exit until the story has ended. Return the exit code.

    1: the stack did not start, or with --exit the story failed or did not end; 0: anything else.
    """
    arguments = _arguments()
    keep_files_private()
    console = Console(highlight=False, soft_wrap=True, width=max(NARROWEST, Console().width))
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, _stop)
    stack = Stack(os.environ, say=lambda line: console.print(line, style="dim", markup=False))
    story = None
    try:
        began = time.monotonic()
        stack.start()
        _announce(console, stack, time.monotonic() - began)
        if not arguments.no_story:
            story = _start_story(stack, console)
        while not (arguments.exit and story and story.ended):
            stack.tick()
            time.sleep(0.05)
    except _Stopped:
        pass
    except (StartFailed, TransportImpossible, PostgresError, RabbitMQError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if story:
            story.cancel()
        stack.stop()
    return 1 if arguments.exit and not (story and story.passed) else 0


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Interrupt the program and ignore further signals, so that they do not interrupt the stop."""
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    raise _Stopped


def _start_story(stack: Stack, console: Console) -> "StoryRun":
    """Start the story. Its HTTP client is imported only now, so that the stack starts sooner."""
    from infra.local.story import StoryRun  # noqa: PLC0415

    return StoryRun(stack.description, stack.run_dir, console)


def _announce(console: Console, stack: Stack, seconds: float) -> None:
    urls = stack.description
    console.print(f"\n[bold]Landelijk Lenen[/] is up after {seconds:.1f} s")
    console.print(
        f"  counter        [link]{urls['registration_url']}/[/] [dim](sign in without a password)[/]"
    )
    console.print(f"  wisecat+ demo  [link]{urls['wisecat_url']}/[/] [dim](log in without a password)[/]")
    console.print(f"  registration   [link]{urls['registration_url']}/docs[/]")
    console.print(f"  identity       [link]{urls['identity_url']}/docs[/]")
    console.print(f"  transport      {stack.transport.name} ({stack.transport.why})")
    console.print(f"  tokens         {stack.run_dir}/stack.json")
    console.print(f"  home library   {stack.run_dir}/home_library.json [dim](edit it to end a membership)[/]")
    console.print(f"  logs           {stack.run_dir}/logs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local",
        description="Run Landelijk Lenen on this machine and play its story. Ctrl-C stops it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--exit", action="store_true", help="stop after the story; exit code 0 only if every check passed"
    )
    choice.add_argument("--no-story", action="store_true", help="start everything, but do not play the story")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
