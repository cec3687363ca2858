"""The envelope: CloudEvents 1.0 there and back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.envelope import Message
from shared.messaging.errors import MalformedMessage

MESSAGE = Message(
    id=UUID(int=1),
    source="/registration/log",
    type="guest-registered.v1",
    subject=UUID(int=2),
    time=datetime(2025, 9, 11, 10, 0, 0, 123456, UTC),
    stream_version=3,
    position=40,
    correlation_id=UUID(int=5),
    causation_id=None,
    data={"organisation": "1001", "term": {"end": None}},
)


def nested(levels: int) -> dict[str, Any]:
    """An object within objects; a JSON library refuses to write what is nested too deeply."""
    innermost: dict[str, Any] = {}
    for _ in range(levels):
        innermost = {"a": innermost}
    return innermost


# PostgreSQL stores every character but U+0000.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
messages = st.builds(
    Message,
    id=st.uuids(),
    source=text.filter(bool),
    type=text,
    subject=st.uuids(),
    time=st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    stream_version=st.integers(1, 2**63 - 1),
    position=st.integers(1, 2**63 - 1),
    correlation_id=st.uuids(),
    causation_id=st.none() | st.uuids(),
    data=st.dictionaries(text, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text),
    erased=st.booleans(),
    unreadable=st.booleans(),
)


def test_the_structured_form_of_contract() -> None:
    assert MESSAGE.to_cloudevent() == {
        "specversion": "1.0",
        "id": "00000000-0000-0000-0000-000000000001",
        "source": "/registration/log",
        "type": "nl.landelijklenen.guest-registered.v1",
        "subject": "00000000-0000-0000-0000-000000000002",
        "time": "2025-09-11T10:00:00.123456Z",
        "datacontenttype": "application/json",
        "streamversion": 3,
        "position": 40,
        "correlationid": "00000000-0000-0000-0000-000000000005",
        "data": {"organisation": "1001", "term": {"end": None}},
    }


def test_cause_and_erasure_are_members_when_there_are_any() -> None:
    cloudevent = replace(MESSAGE, causation_id=UUID(int=9), erased=True).to_cloudevent()
    assert (cloudevent["causationid"], cloudevent["erased"]) == (str(UUID(int=9)), True)


def test_times_are_in_utc() -> None:
    amsterdam = MESSAGE.time.astimezone(timezone(timedelta(hours=2)))
    assert replace(MESSAGE, time=amsterdam).to_cloudevent()["time"] == "2025-09-11T10:00:00.123456Z"


@given(message=messages)
def test_there_and_back(message: Message) -> None:
    assert Message.from_cloudevent(message.to_cloudevent()) == message
    assert Message.from_json(message.to_json()) == message


def test_what_is_not_known_is_ignored() -> None:
    assert Message.from_cloudevent({**MESSAGE.to_cloudevent(), "traceparent": "00-1-2-01"}) == MESSAGE


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("specversion", "0.3"),
        ("id", "1"),
        ("id", None),
        ("source", ""),
        ("type", "org.elsewhere.thing.v1"),
        ("type", 3),
        ("subject", "a guest"),
        ("time", "yesterday"),
        ("time", "2025-09-11T10:00:00"),
        ("streamversion", 0),
        ("streamversion", "1"),
        ("streamversion", True),
        ("streamversion", 2**63),
        ("position", 2**63),
        ("position", 2**200),
        ("time", "0001-01-01T00:00:00+14:00"),
        ("time", "9999-12-31T23:59:59-14:00"),
        ("source", "/registration/\0"),
        ("type", "nl.landelijklenen.\0"),
        ("data", {"organisation": "10\x0001"}),
        ("data", {"\0": 1}),
        ("data", {"rows": [{"reason": ["a\0"]}]}),
        ("data", {"rows": nested(60)}),
        ("data", {"rows": nested(900)}),
        ("position", -1),
        ("correlationid", None),
        ("causationid", "because"),
        ("data", []),
        ("data", nested(100)),
        ("data", {"rows": [nested(5000)]}),
        ("unknown", nested(100_000)),
    ],
)
def test_what_is_no_message_of_ours_is_malformed(attribute: str, value: Any) -> None:
    with pytest.raises(MalformedMessage):
        Message.from_cloudevent({**MESSAGE.to_cloudevent(), attribute: value})


@pytest.mark.parametrize(
    "attribute", ["specversion", "id", "source", "type", "subject", "time", "streamversion"]
)
def test_nothing_that_is_needed_may_be_missing(attribute: str) -> None:
    cloudevent = MESSAGE.to_cloudevent()
    del cloudevent[attribute]
    with pytest.raises(MalformedMessage):
        Message.from_cloudevent(cloudevent)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"\xff\xfe", str(UUID(int=4)).encode()])
def test_bodies_that_are_no_json_object_are_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Message.from_json(body)
