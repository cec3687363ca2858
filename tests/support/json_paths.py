"""Two JSON documents compared: what differs, and where."""

from collections.abc import Iterator
from typing import Any


def differences(before: Any, now: Any, *, may_grow: bool = False, at: str = "$") -> Iterator[str]:
    """Every difference, with its JSON path. `may_grow`: objects may have got members since."""
    match before, now:
        case dict(), dict():
            yield from _of_objects(before, now, may_grow, at)
        case list(), list() if len(before) == len(now):
            for place, (one, other) in enumerate(zip(before, now, strict=True)):
                yield from differences(one, other, may_grow=may_grow, at=f"{at}[{place}]")
        case list(), list():
            yield f"{at}: there were {len(before)}, there are {len(now)}"
        case _ if type(before) is not type(now) or before != now:
            yield f"{at}: was {_short(before)}, is {_short(now)}"


def _of_objects(before: dict[str, Any], now: dict[str, Any], may_grow: bool, at: str) -> Iterator[str]:
    for name, value in before.items():
        path = f"{at}.{name}" if name.isidentifier() else f'{at}["{name}"]'
        if name in now:
            yield from differences(value, now[name], may_grow=may_grow, at=path)
        else:
            yield f"{path} is missing: was {_short(value)}"
    if not may_grow:
        yield from (f'{at}["{name}"] is new: {_short(now[name])}' for name in now if name not in before)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}…"
