"""What operators do with a running stack: move both logs to fresh databases, and erase a guest."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.local.postgres import Postgres, binary
from shared.kernel.library_card import person_ref
from shared.platform.secrets import read_key_file
from tests.support.commands import run_command
from tests.support.eventually import eventually
from tests.support.stack import RunningStack, load_card, registration_of

PERSONAL = ("0990139305", "Jan Jansen", "Brink 3", "jan.jansen@", "1968-04-17")
TYPED = "account van buurvrouw Hinke"
SERVICES = ("registration", "identity")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """With a broker, which keeps messages on disk as well; a guest may have been erased already."""
    running = RunningStack(tmp_path_factory.mktemp("stack") / "run", "amqp")
    running.start()
    yield running
    running.kill_if_running()


OWN_FIGURES = ("python_", "process_", "http_")
"""Of every process."""
FROM_DATABASE = {
    *("messages_parked_guests", "feed_position", "relay_lag_events", "view_lag_events", "view_failed"),
    "other_log_behind_events",
    *("term_check_left_guests", "term_check_left_libraries", "term_check_ended_timestamp_seconds"),
    "term_check_guests",
}
OF_EVERY_PROCESS = {"configuration_refused", "worker_task_failures", "event_log_ends_lost"}
ASKED_BY_THE_API = {
    *("registration_home_library_seconds", "registration_home_library_unreadable_replies"),
    "messages_applied",
}
MOVES = {
    *("messages_published_total", "messages_received_total", "messages_applied_total"),
    *("task_leading", "http_requests_total", "http_connections"),
}
ONLY_AT_A_FAILURE = {
    *("messages_publish_failures_total", "messages_rejected_total", "messages_dropped_total"),
    *("messages_waiting_total", "messages_parked_total", "messages_diverged_total"),
    *("messages_unreadable_total", "feed_found_total", "worker_task_failures_total"),
    *("task_stuck", "configuration_refused", "event_log_ends_lost_total"),
}
ONLY_AT_NIGHT = "registration_home_library_"


async def test_each_page_of_metrics_shows_what_its_process_counts_or_the_database_holds(
    stack: RunningStack,
) -> None:
    async with stack.client("registration", "counter") as counter:
        for number in range(40, 44):
            guest = (await counter.post("/v1/guests", json=registration_of(load_card(number)))).json()
            await eventually(partial(linked, counter, guest["guest_id"]))
    for service in SERVICES:
        await eventually(partial(all_have_moved, stack, service))
        of_api, _ = figures(stack, stack.description[f"{service}_url"])
        known = FROM_DATABASE | ASKED_BY_THE_API | OF_EVERY_PROCESS
        shown = {name for name in of_api if not name.startswith(OWN_FIGURES)}
        assert {name for name in shown if not name.endswith("_created")} <= known, "counted elsewhere"
        assert {"relay_lag_events", "feed_position", "view_lag_events"} <= of_api


def all_have_moved(stack: RunningStack, service: str) -> bool:
    """Whether every figure of the worker moved, but for those that count failures."""
    address = stack.description["worker_urls"][service]
    assert httpx2.get(f"{address}/health/live").json() == {"status": "live"}
    ready = httpx2.get(f"{address}/health/ready").json()
    assert ready["checks"] == {"database": "ok", "transport": "ok", "tasks": "ok"}
    families, samples = figures(stack, address)
    still = {name for name, highest in samples.items() if not highest and not name.endswith("_created")}
    assert samples.keys() >= MOVES
    left = still - ONLY_AT_A_FAILURE - FROM_DATABASE
    assert {name for name in left if not name.startswith((*OWN_FIGURES, ONLY_AT_NIGHT))} == set()
    assert MOVES & still == set()
    assert {"messages_published", "messages_received"} <= families
    return True


def figures(stack: RunningStack, address: str) -> tuple[set[str], dict[str, float]]:
    """The families with samples on a page of metrics, and the highest value of each sample."""
    assert httpx2.get(f"{address}/metrics").status_code == 401
    token = (stack.run_dir / "keys" / "metrics.token").read_text()
    page = httpx2.get(f"{address}/metrics", headers={"Authorization": f"Bearer {token}"}).text
    shown = [family for family in text_string_to_metric_families(page) if family.samples]
    highest: dict[str, float] = {}
    for sample in (sample for family in shown for sample in family.samples):
        highest[sample.name] = max(abs(sample.value), highest.get(sample.name, 0))
    return {family.name for family in shown}, highest


async def test_r19_of_an_erased_person_nothing_is_left_in_dumps_queues_logs_and_exports(
    stack: RunningStack, tmp_path: Path
) -> None:
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("registration", "operator") as operator,
        stack.client("identity", "wisecat") as wisecat,
    ):
        body = registration_of("0990139305", login_account={"choice": "existing", "account_id": "acc-jan"})
        registered = await counter.post("/v1/guests", json=body)
        guest, position = registered.json(), registered.headers["Event-Position"]
        login = {"account_id": "acc-jan", "organisation": "1001"}
        assert (await wisecat.post("/v1/logins", json=login)).json()["outcome"] == "recognised"
        await eventually(partial(found, counter, "jansen", 1, after_position=position), every=1.0)
        unlinked = await counter.request(
            "DELETE", f"/v1/guests/{guest['guest_id']}/login-account", json={"reason": TYPED}
        )
        assert unlinked.status_code == 202
        assert any(each in everything(stack, tmp_path / "before") for each in PERSONAL)

        erased = await operator.delete(f"/v1/guests/{guest['guest_id']}/personal-data")
        assert erased.status_code == 204
        position = erased.headers["Event-Position"]
        await eventually(partial(found, counter, "jansen", 0, after_position=position), every=1.0)
        await eventually(lambda: not personal_in(everything(stack, tmp_path / "after")), within=20)
        for service in SERVICES:
            assert run(stack, service, "projections", "rebuild", "all") == 0
        assert personal_in(everything(stack, tmp_path / "rebuilt")) == []
        kept = everything(stack, tmp_path / "kept", with_broker=False)
        assert [each for each in (TYPED, "acc-jan", person_ref_of(stack, "0990139305")) if each in kept] == []
        again = (await counter.get(f"/v1/guests/{guest['guest_id']}")).json()
        assert (again["status"], again["details"], again["card_number"]) == ("erased", None, None)


async def found(counter: httpx2.AsyncClient, query: str, how_many: int, **more: Any) -> bool:
    """Ask seldom: a clerk may look up 30 people a minute."""
    answer = await counter.get("/v1/guests", params={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return len(answer.json()["guests"]) == how_many


def personal_in(text: str) -> list[str]:
    return [each for each in PERSONAL if each in text]


def person_ref_of(stack: RunningStack, card_number: str) -> str:
    """What stands for the person in messages and indexes."""
    [key] = read_key_file(stack.run_dir / "keys" / "person_ref.key")
    return person_ref(key, "NL-070288", card_number)


def everything(stack: RunningStack, folder: Path, *, with_broker: bool = True) -> str:
    """Dumps and exports of both services, all logs, and what the broker has on disk, as text.

    The home library's own file is not ours, and the account directory is another system. The broker's files
    keep pseudonyms in messages that were delivered, until it writes over them.
    """
    folder.mkdir(exist_ok=True)
    files = [*(stack.run_dir / "logs").rglob("*")]
    if with_broker:
        files += (stack.run_dir / "rabbitmq").rglob("*")
    for service in SERVICES:
        files += [folder / f"{service}.sql", folder / f"{service}.jsonl"]
        dump(stack.description["owner_database_urls"][service], files[-2])
        assert run(stack, service, "events", "export", str(files[-1])) == 0
    return "\n".join(each.read_bytes().decode("latin-1") for each in files if each.is_file())


def dump(url: str, file: Path) -> None:
    command = [binary("pg_dump"), "--dbname", url, "--file", str(file)]
    subprocess.run(command, check=True, capture_output=True)


def run(stack: RunningStack, service: str, *arguments: str, **settings: str) -> int:
    """One command of a service, beside the running stack."""
    return run_command(service, *arguments, RUN_DIR=str(stack.run_dir), **settings).code


def load_of(stack: RunningStack, tmp_path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """What the command prints that registers guests at a steady rate."""
    token = tmp_path / "token"
    token.write_text(stack.description["tokens"]["counter"], "utf-8")
    asked = ("--rate=20", "--seconds=2", "--first-card=0991007001", f"--token-file={token}", "--json")
    where = ("--home-isil=NL-070288", "--branch=9453", "--subscription=346", "--accounts=acc-")
    command = [str(Path(sys.executable).with_name("registration")), "load", *asked, *where, *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_load_registers_at_its_rate_and_says_how_long_the_answers_took(
    stack: RunningStack, tmp_path: Path
) -> None:
    done = load_of(stack, tmp_path, f"--url={stack.description['registration_url']}")
    told = json.loads(done.stdout)
    assert (done.returncode, told["registered"], told["answers 201"], told["not sent"]) == (0, 40, 40, 0)
    assert 0 < told["p50"] <= told["p95"] <= told["p99"]


def test_a_load_goes_to_this_machine_only_unless_told_otherwise(stack: RunningStack, tmp_path: Path) -> None:
    done = load_of(stack, tmp_path, "--url=http://192.0.2.1:8001")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--yes-i-own-this" in done.stderr


async def test_changed_files_of_settings_are_taken_by_every_process_of_a_service(
    stack: RunningStack,
) -> None:
    """By the command, and by SIGHUP; a bad file changes nothing, and the operators' page says where."""
    run_dir = {"RUN_DIR": str(stack.run_dir)}
    file = stack.run_dir / "home_libraries.toml"
    good = file.read_text("utf-8")
    more = '\n[libraries.NL-000042]\nname = "Nieuwe bibliotheek"\nhost = "127.0.0.1"\nport = 9\n'
    file.write_text(good + more, "utf-8")
    by = ("--reason", "a new library", "--by", "femke")
    done = run_command("registration", "config", "reload", *by, "--json", **run_dir)
    assert done.code == 0, done
    outcomes = json.loads(done.out)["outcomes"]
    assert sorted(outcome["kind"] for outcome in outcomes) == ["api", "worker"]
    assert {outcome["state"] for outcome in outcomes} == {"taken"}
    async with stack.client("registration", "operator") as operator:
        libraries = (await operator.get("/v1/operations/home-libraries")).json()["libraries"]
        assert "Nieuwe bibliotheek" in {library["name"] for library in libraries}
        change = (await operator.get("/v1/operations/configuration")).json()["changes"][0]
        assert (change["taken_by"], change["reason"]) == ("femke", "a new library")
        assert [found["where"] for found in change["differences"]] == ["libraries.NL-000042"]

        file.write_text(good + more.replace("port = 9", "port = 0"), "utf-8")
        line = (good + more).splitlines().index("port = 9") + 1
        refused = run_command("registration", "config", "reload", "--reason", "x", **run_dir)
        assert refused.code == 1
        assert f"{file}:{line}: libraries.NL-000042.port" in refused.errors
        os.kill(stack.pid("registration_api"), signal.SIGHUP)
        await eventually(partial(_says_where, operator, f"{file}:{line}:"))
        assert run_command("registration", "doctor", "--json", **run_dir).code == 1
        answer = await operator.get("/v1/operations/home-libraries")
        assert "Nieuwe bibliotheek" in {library["name"] for library in answer.json()["libraries"]}

        file.write_text(good, "utf-8")
        for name in ("registration_api", "registration_worker"):
            os.kill(stack.pid(name), signal.SIGHUP)
        await eventually(partial(_is_gone, operator))
    other = run_command("identity", "config", "reload", "--reason", "x", "--json", **run_dir)
    assert (other.code, len(json.loads(other.out)["outcomes"])) == (0, 2)


async def _says_where(operator: httpx2.AsyncClient, place: str) -> bool:
    refused = (await operator.get("/v1/operations")).json()["settings_refused"]
    return any(place in process["failure"] for process in refused)


async def _is_gone(operator: httpx2.AsyncClient) -> bool:
    state = (await operator.get("/v1/operations/configuration")).json()
    libraries = (await operator.get("/v1/operations/home-libraries")).json()["libraries"]
    names = {library["name"] for library in libraries}
    in_use = {process["digest"] for process in state["processes"]}
    return "Nieuwe bibliotheek" not in names and in_use == {state["digest"]}


async def test_both_logs_move_to_fresh_databases_and_both_services_answer_as_before(
    stack: RunningStack, tmp_path: Path
) -> None:
    guests = []
    async with stack.client("registration", "counter") as counter:
        for number in range(5):
            answer = await counter.post("/v1/guests", json=registration_of(load_card(number)))
            guests.append(answer.json()["guest_id"])
        for guest_id in guests:
            await eventually(partial(linked, counter, guest_id))
    before = answers(stack, guests)
    for service in SERVICES:
        assert run(stack, service, "events", "export", str(tmp_path / f"{service}.jsonl")) == 0

    await asyncio.to_thread(move_to_fresh_databases, stack, tmp_path)
    for service in SERVICES:
        assert run(stack, service, "projections", "rebuild", "all") == 0
        assert run(stack, service, "projections", "verify", "all") == 0
    assert answers(stack, guests) == before
    with client(stack, "registration", "counter") as counter:  # and life goes on
        known = counter.post("/v1/guests", json=registration_of(load_card(0)))
        assert (known.status_code, known.json()["guest_id"]) == (409, guests[0])
        assert counter.post("/v1/guests", json=registration_of(load_card(77))).status_code == 201
    assert stack.stop() == 0


async def linked(counter: httpx2.AsyncClient, guest_id: str) -> bool:
    return bool((await counter.get(f"/v1/guests/{guest_id}")).json()["login_link"]["state"] == "linked")


def client(stack: RunningStack, service: str, token: str) -> httpx2.Client:
    description = stack.description
    bearer = {"Authorization": f"Bearer {description['tokens'][token]}"}
    return httpx2.Client(base_url=description[f"{service}_url"], headers=bearer, timeout=20)


def answers(stack: RunningStack, guests: list[str]) -> dict[str, Any]:
    """What both services say, by question."""
    questions = [
        *(("registration", "counter", f"/v1/guests/{guest}") for guest in guests),
        *(("registration", "counter", f"/v1/guests/{guest}/history") for guest in guests),
        ("registration", "counter", "/v1/guests"),
        ("registration", "counter", "/v1/guests?query=boer"),
        ("registration", "feed", "/v1/feed?limit=1000"),
        ("identity", "feed", "/v1/feed?limit=1000"),
        *(("identity", "operator", f"/v1/login-accounts/acc-{load_card(number)}") for number in range(5)),
    ]
    answers = {}
    for service, token, path in questions:
        with client(stack, service, token) as asking:
            answer = asking.get(path)
            answers[f"{service} {path}"] = (answer.status_code, answer.json())
    assert {status for status, _ in answers.values()} == {200}
    return answers


def move_to_fresh_databases(stack: RunningStack, tmp_path: Path) -> None:
    """As an operator would: stop, empty databases, migrate, import, start."""
    urls = {
        "DATABASE_URL": stack.description["database_urls"],
        "OWNER_DATABASE_URL": stack.description["owner_database_urls"],
    }
    assert stack.stop() == 0
    with closing(DatabasesOf(stack.run_dir)) as databases:
        for service in SERVICES:
            databases.rebuild_all_views(service)
            at = {f"{service.upper()}_{name}": databases.address(of[service]) for name, of in urls.items()}
            assert run(stack, service, "migrate", **at) == 0
            assert run(stack, service, "events", "import", str(tmp_path / f"{service}.jsonl"), **at) == 0
    stack.start()


class DatabasesOf:
    """The PostgreSQL of a stack that is stopped, run alone."""

    def __init__(self, run_dir: Path) -> None:

        self._server = Postgres(run_dir / "postgres")
        self._server.start()

    def rebuild_all_views(self, service: str) -> None:
        self._server.drop_database(service)
        self._server.create_database(service, service)

    def address(self, url: str) -> str:
        """The same database at the port that the server has now."""
        parts = urlsplit(url)
        port = urlsplit(self._server.url("postgres")).port
        location = f"{parts.username}:{parts.password}@{parts.hostname}:{port}"
        return parts._replace(netloc=location).geturl()

    def close(self) -> None:
        self._server.stop()
