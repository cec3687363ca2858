"""Waiting for a condition, instead of sleeping and hoping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], within: float = 10.0, every: float = 0.02
) -> T: ...
@overload
async def eventually(condition: Callable[[], T], within: float = 10.0, every: float = 0.02) -> T: ...
async def eventually(
    condition: Callable[[], T] | Callable[[], Awaitable[T]], within: float = 10.0, every: float = 0.02
) -> T:
    """What `condition` answers as soon as that is true (or not empty); fails after `within` seconds.

    An AssertionError of the condition counts as "not yet", and is what the test fails with in the end.
    """
    deadline = time.monotonic() + within
    while True:
        late = time.monotonic() > deadline
        try:
            answer = condition()
            value = cast("T", await answer if inspect.isawaitable(answer) else answer)
        except AssertionError:
            if late:
                raise
        else:
            if value:
                return value
            if late:
                raise AssertionError(f"still {value!r} after {within} s")
        await asyncio.sleep(every)
