"""What the release before wrote is read, opened, rebuilt, checked and gone on with by the present code.

The tests are in order: the last ones write.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx2
import pytest

from tests.support.eventually import eventually
from tests.support.json_paths import differences
from tests.support.release_before import SERVICES, Upgraded, expected, lines_of, recorded_log

EXPECTED = expected()
GUESTS: Mapping[str, Mapping[str, str]] = EXPECTED["guests"]
HOME = "NL-070288"
TRAVEL_SECONDS = 30.0

both_services = pytest.mark.parametrize("service", SERVICES)


def guest(name: str, rest: str = "") -> str:
    """The path of a guest that was recorded."""
    return f"/v1/guests/{GUESTS[name]['id']}{rest}"


def timeless(answer: Any) -> Any:
    """Without what is another one each time: a problem's own number, the order of registrations in the feed,
    and the one line that is about the day on which it is read."""
    match answer:
        case dict():
            return {name: _timeless(name, value) for name, value in answer.items() if name != "instance"}
        case list():
            return [timeless(each) for each in answer]
        case _:
            return answer


def _timeless(name: str, value: Any) -> Any:
    if name == "reregistration_preview":
        return value is not None
    if name == "registrations":
        value = sorted(value, key=lambda each: str(each["guest_id"]))
    return timeless(value)


def unlike(asked: str, before: Any, now: Any) -> list[str]:
    """What of the answer is missing or another; what was added since is welcome."""
    return [f"{asked}: {each}" for each in differences(timeless(before), timeless(now), may_grow=True)]


def answers_that_differ(served: Upgraded, recorded: Sequence[Mapping[str, Any]]) -> list[str]:
    """Ask everything again."""
    found = []
    clients: dict[tuple[str, str, str | None], httpx2.Client] = {}
    for each in recorded:
        who = (each["service"], each["scope"], each["organisation"])
        if who not in clients:
            clients[who] = served.client(*who, sub="identity" if each["scope"] == "feed" else "m.visser")
        now = clients[who].get(each["path"])
        asked = f"GET {each['path']} ({each['service']})"
        if now.status_code != each["status"]:
            found.append(f"{asked}: was {each['status']}, is {now.status_code}: {now.text[:500]}")
        else:
            found += unlike(asked, each["answer"], now.json())
    for client in clients.values():
        client.close()
    return unintended(found)


ON_PURPOSE = (
    # What a clerk typed does not travel any more.
    r", is 'mistake'$",
    # The card of a blocked guest is not valid, and nothing is said of its end.
    r"\.card_notice: was None, is 'Pas niet geldig!'$",
    r"\.expiry_line: was 'Vervalt [-0-9]+', is None$",
    # Of an expired guest identity says the day on which the subscription ended.
    r"\.links\[\d+\]\.ends_on: was '[-0-9]+', is '[-0-9]+'$",
)


def unintended(found: Sequence[str]) -> list[str]:
    """What is not changed on purpose."""
    return [each for each in found if not any(re.search(pattern, each) for pattern in ON_PURPOSE)]


@both_services
def test_the_schema_is_up_to_date_once_it_was_migrated(upgraded: Upgraded, service: str) -> None:
    assert upgraded.told(service, "migrate") == {"ran": []}


@both_services
def test_every_event_is_listed_as_it_was_written(upgraded: Upgraded, service: str) -> None:
    listed = upgraded.run(service, "events", "list", "--after", "0", "--limit", "10000", "--json")
    events = [line for line in recorded_log(service) if line["kind"] == "event"]
    now = [_as_exported(line) for line in lines_of(listed)]
    told = ("position", "stream", "version", "topic", "event_id", "caused_by", "correlation", "causation")
    before = [
        {name: line[name] for name in told} | {"recorded_at": _moment(line["recorded_at"])} for line in events
    ]
    assert list(differences(before, now, may_grow=True)) == []


@both_services
def test_the_log_and_all_that_belongs_to_it_is_exported_as_before(upgraded: Upgraded, service: str) -> None:
    before, now = recorded_log(service), upgraded.export(service)
    lines = {_without_seal(line) for line in now}
    missing = [
        line
        for line in before
        if line["kind"] in {"event", "row"} and _without_seal(_with_new_columns(line)) not in lines
    ]
    assert missing == []
    assert now[0]["log_id"] == before[0]["log_id"]
    assert now[0]["position"] == before[0]["position"]


def test_every_answer_is_as_before(served: Upgraded) -> None:
    found = answers_that_differ(served, EXPECTED["answers"])
    assert found == [], "\n".join(found)


@both_services
def test_a7_views_of_before_are_as_the_log_says_and_so_are_rebuilt_ones(
    served: Upgraded, service: str
) -> None:
    named = {view["name"] for view in served.told(service, "projections", "list")}
    rows_before = {view: rows for view, rows in EXPECTED["rows_of_views"][service].items() if view in named}
    for name in {
        "terms_due",
        "guest_directory",
        "links",
    } & named:  # their version was raised: a worker does this
        served.run(service, "projections", "rebuild", name)
    for _ in range(2):
        checked = {each["view"]: each for each in served.told(service, "projections", "verify", "all")}
        assert set(checked) == named
        rows = {view: checked[view]["rows"] for view in rows_before}
        assert rows.pop("guest_directory", 0) >= rows_before.get("guest_directory", 0)  # it has more words
        assert rows == {view: count for view, count in rows_before.items() if view != "guest_directory"}
        served.run(service, "projections", "rebuild", "all")
    found = answers_that_differ(served, [each for each in EXPECTED["answers"] if each["service"] == service])
    assert found == [], "\n".join(found)


def test_r19_commands_open_what_was_sealed_and_say_what_they_said(served: Upgraded) -> None:
    found = []
    for command in EXPECTED["commands"]:
        now = json.loads(served.run(command["service"], *command["arguments"]))
        found += unlike(" ".join((command["service"], *command["arguments"])), command["output"], now)
    found = unintended(found)
    assert found == [], "\n".join(found)


def test_what_is_sent_again_with_its_key_is_answered_again(served: Upgraded) -> None:
    for each in EXPECTED["repeated"]:
        # Since then a catalogue's token must name the organisation that it asks for.
        organisation = each["organisation"] or each["body"].get("organisation")
        with served.client(each["service"], each["scope"], organisation, each["sub"]) as sender:
            again = sender.post(each["path"], json=each["body"], headers={"Idempotency-Key": each["key"]})
        assert (again.status_code, again.headers["Event-Position"]) == (each["status"], each["position"])
        assert unlike(each["path"], each["answer"], again.json()) == []


def test_life_goes_on(served: Upgraded) -> None:
    with (
        served.working(),
        served.client("registration", "counter", "1001") as clerk,
        served.client("identity", "login", "1001", sub="wisecat") as wisecat,
        served.client("identity", "accounts") as accounts,
    ):
        fresh = _register(clerk, "0991700001")
        back = _register(clerk, "0991000040")  # whose personal data was erased
        assert back["guest_id"] != GUESTS["erased"]["id"]
        for registered in (fresh, back):
            linked = _until_linked(served, clerk, registered["guest_id"])
            account = linked["login_link"]["account_id"]
            login = wisecat.post("/v1/logins", json={"account_id": account, "organisation": "1001"}).json()
            assert (login["outcome"], login["guest"]["guest_id"]) == ("recognised", registered["guest_id"])
            [link] = accounts.get(f"/v1/login-accounts/{account}").json()["links"]
            assert (link["guest_id"], link["state"]) == (registered["guest_id"], "linked")

        again = clerk.post(guest("expired", "/reregistration"), json={"patron_type": "04"})
        assert (again.status_code, again.json()["status"]) == (200, "valid"), again.text
        up_to_it = {"after_position": again.headers["Event-Position"]}
        history = clerk.get(guest("expired", "/history"), params=up_to_it).json()
        assert history["history"][-1]["what"] == "guest-reregistered"
        _until_valid(wisecat, again.json()["login_link"]["account_id"])

        asked = clerk.post(
            guest("no account", "/login-account"), json={"choice": "existing", "account_id": "acc-0991000007"}
        )
        assert asked.status_code == 202, asked.text
        _until_linked(served, clerk, GUESTS["no account"]["id"])

        served.run("registration", "guests", "erase", GUESTS["linked 2"]["id"], "--yes")
        assert clerk.get(guest("linked 2")).json()["status"] == "erased"
        _discard(served, "identity", "parked at identity")
        _discard(served, "registration", "parked at registration")

    for service in SERVICES:
        for checked in served.told(service, "projections", "verify", "all"):
            assert checked["differences"] == []


def _register(clerk: httpx2.Client, card: str) -> dict[str, Any]:
    body = {
        "card_number": card,
        "home_isil": HOME,
        "branch": "9453",
        "subscription_code": "346",
        "card_has_chip": True,
        "identity_document_checked": True,
        "login_account": {"choice": "existing", "account_id": f"acc-{card}"},
    }
    answer = clerk.post("/v1/guests", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def _until_linked(served: Upgraded, clerk: httpx2.Client, guest_id: str) -> dict[str, Any]:
    def linked() -> dict[str, Any]:
        shown = clerk.get(f"/v1/guests/{guest_id}").json()
        assert shown["login_link"]["state"] == "linked", f"{shown['login_link']}\n{served.last_words()}"
        return dict(shown)

    return asyncio.run(eventually(linked, within=TRAVEL_SECONDS))


def _until_valid(wisecat: httpx2.Client, account: str) -> None:
    """The re-registration reaches identity a moment later: until then a login still reports the expiry."""

    def valid() -> bool:
        login = wisecat.post("/v1/logins", json={"account_id": account, "organisation": "1001"}).json()
        return bool(login["guest"]["status"] == "valid")

    asyncio.run(eventually(valid, within=TRAVEL_SECONDS))


def _discard(served: Upgraded, service: str, name: str) -> None:
    command = ("parked", "discard", GUESTS[name]["id"], "--reason", "sent by a test", "--by", "beheer")
    assert served.told(service, *command)["through"] is True


def _as_exported(event: dict[str, Any]) -> dict[str, Any]:
    return event | {"recorded_at": _moment(event["recorded_at"])}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


NEW_COLUMNS: dict[str, dict[str, Any]] = {
    "card_prefixes": {"place": ""},
    "idempotency_keys": {"organisation": ""},
    "inbox": {"content": None},
    "night_libraries": {"other_person": 0, "card_taken": 0},
    "term_checks": {"other_guest": None, "answered_at": None, "changed": None},
}


def _with_new_columns(line: dict[str, Any]) -> dict[str, Any]:
    """The line of a row as a migration left it, or an import without the column."""
    new = NEW_COLUMNS.get(line.get("table", ""), {})
    return {**line, "values": {**line["values"], **new}} if new else line


def _without_seal(line: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in line.items() if name != "seal"}
    if line.get("table") == "registrations":  # a new column, which an older file does not fill
        kept["values"] = {name: value for name, value in line["values"].items() if name != "known_as"}
    return json.dumps(kept, sort_keys=True)
