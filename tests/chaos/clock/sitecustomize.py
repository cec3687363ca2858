"""Gives each process of the services a clock of its own that a test can move, while it runs.

Python imports this at its start, because the folder is in PYTHONPATH. libfaketime must be loaded before the
program, so the process replaces itself by itself: its id stays the same, and so does who ends it.
"""

import os
import sys

FOLDER, LIBRARY = "CHAOS_CLOCKS", "CHAOS_FAKETIME"
NAMES = {"serve": "api", "work": "worker"}


def _with_a_clock() -> None:
    words = sys.orig_argv
    if FOLDER not in os.environ or "LD_PRELOAD" in os.environ or len(words) < 3 or words[2] not in NAMES:
        return
    name = f"{os.path.basename(words[1])}_{NAMES[words[2]]}"
    os.execve(  # noqa: S606 - there is nothing that a shell would read
        sys.executable,
        words,
        os.environ
        | {
            "LD_PRELOAD": os.environ[LIBRARY],
            "FAKETIME_TIMESTAMP_FILE": os.path.join(os.environ[FOLDER], name),
            "FAKETIME_CACHE_DURATION": "1",  # seconds until a change is noticed
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # no wall clock moves that one
            "FAKETIME_DISABLE_SHM": "1",
        },
    )


_with_a_clock()
