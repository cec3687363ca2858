"""Whether a local stack is running: what needs no password serves nobody without one."""

import fcntl
from pathlib import Path


class NoLocalStack(Exception):
    """This asks for no password: it runs beside a running local stack only."""


def stack_must_run(run_dir: Path) -> None:
    """The stack holds its folder's lock for as long as it runs. Raises NoLocalStack."""
    try:
        with (run_dir / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError:
        pass
    raise NoLocalStack(f"{NoLocalStack.__doc__} There is none in {run_dir}.")
