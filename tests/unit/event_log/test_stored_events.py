"""The watch over golden files, on an aggregate whose event got a second version."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from eventsourcing.domain import Aggregate

from tests.support.event_log import StoredOnce, fields_of, keep, must_be_there

FIELDS = {
    "originator_topic": "'tests.lender'",
    "timestamp": "datetime.datetime(2025, 9, 11, 10, 0, tzinfo=datetime.timezone.utc)",
    "day": "datetime.date(2025, 9, 11)",
    "branches": "['9453']",
}


class Lender(Aggregate):
    """A person who lends; in version 1 there was only one branch."""

    TOPIC = "tests.lender"

    class Event(Aggregate.Event):
        """What happened to a lender."""

    class Began(Event, Aggregate.Created):
        """Version 1 had one `branch`."""

        TOPIC = "tests.lender-began"
        class_version = 2
        day: date
        branches: list[str]

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            """Put the one branch into a list."""
            state["branches"] = [state.pop("branch")]

    Created = Began  # the name under which the library looks for a first event

    class Ended(Event):
        """There was only ever one version of this."""

        TOPIC = "tests.lender-ended"

    def __init__(self, day: date, branches: list[str]) -> None:
        self.day = day
        self.branches = branches


def golden(folder: Path, version: int, branch: str) -> StoredOnce:
    """A golden file, as it was made when that version was the newest."""
    state = (
        '{"timestamp":{"_type_":"datetime_iso","_data_":"2025-09-11T10:00:00+00:00"},'
        '"originator_topic":"tests.lender","day":{"_type_":"date_iso","_data_":"2025-09-11"},' + branch + "}"
    )
    path = folder / f"tests.lender-began.v{version}.json"
    path.write_bytes(orjson.dumps({"state": state, "fields": FIELDS}))
    return StoredOnce.read(path)


def test_an_event_of_version_1_is_upcast_when_it_is_read(tmp_path: Path) -> None:
    stored = golden(tmp_path, 1, '"branch":"9453"')
    assert fields_of(stored.event()) == stored.fields
    lender = stored.event().mutate(None)
    assert (lender.day, lender.branches) == (date(2025, 9, 11), ["9453"])


def test_an_event_of_version_2_is_read_as_it_is(tmp_path: Path) -> None:
    stored = golden(tmp_path, 2, '"branches":["9453"],"class_version":2')
    assert fields_of(stored.event()) == stored.fields


def test_a_golden_file_is_made_once_and_never_again(tmp_path: Path) -> None:
    lender = Lender._create(Lender.Began, day=date(2025, 9, 11), branches=["9453"])
    [began] = lender.collect_events()
    path = keep(began, tmp_path)
    assert path.name == "tests.lender-began.v2.json"
    stored = StoredOnce.read(path)
    assert fields_of(stored.event()) == stored.fields == fields_of(began)
    with pytest.raises(FileExistsError):
        keep(began, tmp_path)


def test_every_version_must_have_its_file() -> None:
    assert must_be_there(Lender) == {
        "tests.lender-began.v1.json",
        "tests.lender-began.v2.json",
        "tests.lender-ended.v1.json",
    }


def test_a_field_that_is_read_otherwise_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = golden(tmp_path, 1, '"branch":"9453"')
    monkeypatch.setattr(
        Lender.Began, "upcast_v1_v2", lambda state: state.update(branches=state.pop("branch"))
    )
    assert fields_of(stored.event()) != stored.fields
