"""Mutated inputs: some in `make test`, very many in `make fuzz`, which a seed repeats.

`FUZZ_TIMES` is set by `make fuzz`: 1 is all that a test has for it, 0.1 a tenth. `FUZZ_SEED` is another seed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any
from zlib import crc32

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

TIMES = float(os.environ.get("FUZZ_TIMES", "0"))
"""0: the short form of `make test`."""
SEED = int(os.environ.get("FUZZ_SEED", "0"))
CHUNK = 500
"""Examples that Hypothesis keeps in mind, to make none twice. So many more would take ever longer."""
PROGRESS_SECONDS = 10.0

Change = tuple[int, int, bytes]
"""Where it begins, how many bytes go, what comes in their place."""

log = logging.getLogger("fuzz")


def volume(few: int, many: int) -> int:
    """So many inputs: `few` in `make test`, `many` in `make fuzz`."""
    return max(1, round(many * TIMES)) if TIMES else few


def changes(words: Sequence[bytes], longest: int = 12) -> st.SearchStrategy[list[Change]]:
    """Up to four changes of some bytes; `words` mean something where they come in."""
    put = st.binary(max_size=4) | st.sampled_from(words)
    return st.lists(st.tuples(st.integers(0, 3000), st.integers(0, longest), put), min_size=1, max_size=4)


def mutated(data: bytes, mutations: Sequence[Change], shift: int = 0) -> bytes:
    """The data with every change made, each so many bytes further on."""
    for at, length, put in mutations:
        start = (at + shift) % max(1, len(data))
        data = data[:start] + put + data[start + length :]
    return data


class Progress:
    """How many of so many inputs were tried: a line now and then, and one at the end."""

    def __init__(self, name: str, inputs: int) -> None:
        self._name, self._inputs = name, inputs
        self._done, self._shown = 0, monotonic()

    def add(self, inputs: int) -> None:
        """So many more were tried."""
        self._done += inputs
        if monotonic() > self._shown + PROGRESS_SECONDS or self._done >= self._inputs:
            self._shown = monotonic()
            log.info("%s: %s of %s inputs, seed %s", self._name, f"{self._done:,}", f"{self._inputs:,}", SEED)


def fuzz(
    name: str,
    check: Callable[..., None],
    *strategies: st.SearchStrategy[Any],
    inputs: int,
    of_each: int = 1,
    progress: Progress | None = None,
) -> None:
    """Call `check` with generated arguments until so many inputs were tried, `of_each` in one call.

    In chunks, each with a seed of its own, which the name is a part of.
    """
    examples, progress = -(-inputs // of_each), progress or Progress(name, inputs)
    for chunk in range(-(-examples // CHUNK)):
        size = min(CHUNK, examples - chunk * CHUNK)
        settled = settings(
            max_examples=size,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        number = crc32(f"{SEED} {name} {chunk}".encode())
        seed(number)(settled(given(*strategies)(check)))()
        progress.add(size * of_each)
