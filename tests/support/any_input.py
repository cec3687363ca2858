"""Generated requests to every operation of an API, each answered as its document says (schemathesis).

What an answer named, such as a guest or an account, later requests name too, to come as far as the rules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import httpx2
import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.fuzzing import Progress, fuzz

ROUND = 25
"""Requests to one operation before it is the turn of the next one."""
MOST_REMEMBERED = 20
LUCK = st.integers(0, 2**32)
"""What is chosen by earlier answers, Hypothesis cannot choose: they differ when it tries a request again."""
DOCUMENTS = ("openapi.json", "openapi.operations.json")


def only_unavailable(_: Any, response: Any, __: Any) -> None:
    """An error of ours is 503 alone, and says when to come again."""
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code == 503:
        assert response.headers.get("retry-after"), "a 503 without Retry-After"


def type_of_something(_: Any, response: Any, __: Any) -> None:
    """What has no content has no type of it either: a client would read it."""
    assert response.content or "content-type" not in response.headers, "a type without content"


CHECKS = [
    only_unavailable,
    type_of_something,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


class Remembered:
    """The values that requests and answers had, by name. `genuine` are there from the beginning."""

    def __init__(self, genuine: Mapping[str, Sequence[Any]]) -> None:
        self._values = {name: deque(values, MOST_REMEMBERED) for name, values in genuine.items()}

    def note(self, answer: Any) -> None:
        """Remember the ids and codes of an answer."""
        for name, value in _members(answer):
            if name.endswith(("_id", "_handle", "cursor", "referral")) and isinstance(value, str):
                self._values.setdefault(name, deque(maxlen=MOST_REMEMBERED)).append(value)

    def fill(self, values: Any, luck: Random, share: float) -> None:
        """Put remembered values in, for such a share of those that have a name of theirs."""
        if isinstance(values, list):
            for value in values:
                self.fill(value, luck, share)
        if not isinstance(values, dict):
            return
        for name, value in values.items():
            known = self._values.get(name)
            if isinstance(value, dict | list):
                self.fill(value, luck, share)
            elif known and luck.random() < share:
                values[name] = luck.choice(known)


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for part in value:
            yield from _members(part)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield name, part
            yield from _members(part)


def send_anything(
    address: str, tokens: Mapping[str, str], remembered: Remembered, *, name: str, cases: int
) -> dict[int, int]:
    """Send so many requests, in turns to all operations, and return how many had which status.

    `tokens`: of each scope. A request has one that its operation asks for, or now and then another or none.
    """
    operations: list[Any] = [
        operation.ok()  # type: ignore[union-attr] # else the document is wrong
        for document in DOCUMENTS
        for operation in schemathesis.openapi.from_dict(
            described(f"{address}/{document}")
        ).get_all_operations()
    ]
    statuses, progress = dict[int, int](), Progress(name, cases)
    rounds = -(-cases // (ROUND * len(operations)))
    of_each = -(-cases // (rounds * len(operations)))
    for number in range(rounds):
        for operation in operations:
            sender = Sender(operation, address, tokens, remembered, statuses)
            label = f"{name} {operation.label} {number}"
            fuzz(label, sender.send, operation.as_strategy(), LUCK, inputs=of_each, progress=progress)
    return statuses


def described(url: str) -> dict[str, Any]:
    """The document there, without the ranges of statuses: a reply must be one that its route describes."""
    document: dict[str, Any] = httpx2.get(url).raise_for_status().json()
    for operations in document["paths"].values():
        for operation in operations.values():
            for beside in ("4XX", "5XX"):
                del operation["responses"][beside]
    return document


class Sender:
    """Sends requests to one operation."""

    def __init__(
        self,
        operation: Any,
        address: str,
        tokens: Mapping[str, str],
        remembered: Remembered,
        statuses: dict[int, int],
    ) -> None:
        self._address, self._tokens, self._remembered = address, tokens, remembered
        self._statuses = statuses
        asked = operation.definition.raw.get("security", [])
        self._scopes = [scope for needed in asked for scopes in needed.values() for scope in scopes]

    def send(self, case: Any, seed: int) -> None:
        """Send one request. Raises what is not as described."""
        luck = Random(seed)
        share = luck.choice([0.3, 0.98])
        for values in (case.path_parameters, case.query, case.body):
            self._remembered.fill(values, luck, share)
        for waits in {"wait", "after_position"} & set(case.query or ()):
            case.query[waits] = 0  # for what never comes here: rightly a long poll, or a 503
        response = case.call_and_validate(base_url=self._address, headers=self._headers(luck), checks=CHECKS)
        self._statuses[response.status_code] = self._statuses.get(response.status_code, 0) + 1
        if response.headers.get("content-type", [""])[0] == "application/json":
            self._remembered.note(response.json())

    def _headers(self, luck: Random) -> dict[str, str]:
        scope = luck.choice(self._scopes) if self._scopes and luck.random() < 0.9 else None
        token = self._tokens.get(scope or luck.choice([*self._tokens, "none"]), "no token")
        return {"Authorization": f"Bearer {token}"}
