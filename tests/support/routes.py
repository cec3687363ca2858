"""What FastAPI calls for a route."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from fastapi.dependencies.models import Dependant


def dependants_of(dependant: Dependant) -> Iterator[Dependant]:
    """A route's function, and all dependencies below it."""
    yield dependant
    for below in dependant.dependencies:
        yield from dependants_of(below)


def called_in_a_thread(dependant: Dependant) -> set[str]:
    """What is not `async`: FastAPI calls it in a thread, which costs more than the call itself."""
    calls = {below.call for below in dependants_of(dependant)}
    return {getattr(call, "__qualname__", repr(call)) for call in calls if not _is_async(call)}


def _is_async(call: object) -> bool:
    calls = (call, type(call).__call__)
    return any(map(inspect.iscoroutinefunction, calls)) or any(map(inspect.isasyncgenfunction, calls))
