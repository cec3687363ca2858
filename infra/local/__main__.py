"""`python -m infra.local`: start everything, walk through the story over the real APIs, stay up."""

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

if TYPE_CHECKING:
    from infra.local.story import Telling

EPILOG = """
environment:
  RUN_DIR             folder of everything it keeps (.run); two of them can live side by side
  TRANSPORT           auto, amqp or feed (auto)
  AMQP_URL            a RabbitMQ to use, instead of a private node
  DATABASE_URL        a PostgreSQL to use, whose user may create roles and databases
  REGISTRATION_PORT   8001; 0 means any free port
  IDENTITY_PORT       8002; 0 means any free port

example: RUN_DIR=/tmp/demo TRANSPORT=feed python -m infra.local --exit
"""


NARROWEST = 96  # characters: what a contribution row takes


class _Stopped(BaseException):
    """Somebody asked us to stop."""


def main() -> int:
    """0: stopped in good order, with --exit after a story that came out right; 1: it did not, or no start."""
    arguments = _arguments()
    console = Console(highlight=False, soft_wrap=True, width=max(NARROWEST, Console().width))
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, _stop)
    stack = Stack(os.environ, say=lambda line: console.print(line, style="dim", markup=False))
    telling = None
    try:
        began = time.monotonic()
        stack.start()
        _announce(console, stack, time.monotonic() - began)
        if not arguments.no_story:
            telling = _tell(stack, console)
        while not (arguments.exit and telling and telling.ended):
            stack.tick()
            time.sleep(0.05)
    except _Stopped:
        pass
    except (StartFailed, TransportImpossible, PostgresError, RabbitMQError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if telling:
            telling.cancel()
        stack.stop()
    return 1 if arguments.exit and not (telling and telling.came_out_right) else 0


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leave whatever we are doing; a second signal must not interrupt the stopping."""
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    raise _Stopped


def _tell(stack: Stack, console: Console) -> "Telling":
    """Begin the story; its HTTP client is loaded only now, when all else is up."""
    from infra.local.story import Telling  # noqa: PLC0415

    return Telling(stack.description, stack.run_dir, console)


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
        description="Run Landelijk Lenen here and walk the story through its APIs. Ctrl-C stops it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--exit", action="store_true", help="stop after the story; 0 only if it came out right"
    )
    choice.add_argument("--no-story", action="store_true", help="only start")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
