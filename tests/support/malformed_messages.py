"""What may be wrong in a message: values that nobody expects, for the members of genuine messages."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

OTHER = {"registration": "identity", "identity": "registration"}
SOME_ID = "7a210f54-7b87-4f3a-8818-f7f8291a566b"
NASTY: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, 0, -1, 2**31, 2**63 - 1, 2**63, 2**200, 0.5, 1e308),
        *("", "\0", "a\0b", "\u202e", "\x1b[2J", "x" * 3000, "0001-01-01T00:00:00+14:00", "9999-12-31"),
        *([], {}, [{}], {"\0": "\0"}, {"choice": "new"}, {"end": "\0"}, SOME_ID),
    ]
)
VALUES = NASTY | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ENVELOPE = (
    *("specversion", "id", "source", "type", "subject", "time", "streamversion", "position"),
    *("correlationid", "causationid", "data", "erased", "unreadable"),
)
_UNIT = Path(__file__).parents[1] / "unit"
GENUINE: dict[str, list[tuple[str, dict[str, Any]]]] = {
    service: [
        (file.stem, json.loads(file.read_text("utf-8")))
        for file in sorted((_UNIT / service / "messages").glob("*.json"))
    ]
    for service in OTHER
}
"""By sender: the type and the data of each message."""


def changed(cloudevent: dict[str, Any], changes: list[tuple[str, Any]]) -> dict[str, Any]:
    """The message with other values in the members with these names, such as `data.end`."""
    made = deepcopy(cloudevent)
    for name, shared_value in changes:
        value = deepcopy(shared_value)  # or one of them could come to hold itself
        outer, _, inner = name.partition(".")
        if inner and isinstance(made.get(outer), dict):
            made[outer][inner] = value
        else:
            made[outer] = value
    return made
