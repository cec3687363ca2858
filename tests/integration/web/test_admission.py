"""More requests than the process bears: refused before any work, and everybody gets a turn."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx2
import pytest
import structlog
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from shared.platform import limits
from shared.platform.admission import Door
from shared.web.middleware import Admission, Entrance, RequestContext
from tests.support.eventually import eventually
from tests.support.served import served

MOST = 2


class Service:
    """An app with a slow route, behind a door for two requests; it counts the work that was begun."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.go_on = asyncio.Event()
        routes = [
            Route("/work", self.work, methods=["POST"]),
            Route("/stream", self.stream),
            Route("/health/live", self.live),
            Route("/who", self.who),
        ]
        self.entrance = Entrance(Door(most_at_work=MOST, most_waiting=2))
        self.app = Admission(Starlette(routes=routes), self.entrance)
        transport = httpx2.ASGITransport(self.app)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://service")

    async def work(self, request: Request) -> Response:
        self.begun[request.headers.get("authorization", "session")] += 1
        await self.go_on.wait()
        return PlainTextResponse("done")

    async def stream(self, _: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            await self.go_on.wait()

        return StreamingResponse(parts())

    async def live(self, _: Request) -> Response:
        return PlainTextResponse("live")

    async def who(self, request: Request) -> Response:
        """Prove who it is, as a route does that looks at the token or the session; a session is renewed."""
        request.state.caller = request.headers.get("authorization", "session")
        answer = PlainTextResponse("proven")
        answer.set_cookie("session", "renewed")
        return answer

    async def proves(self, who: str) -> None:
        await self.client.get("/who", headers={"Authorization": who})

    def asks(self, who: str, **headers: str) -> asyncio.Task[httpx2.Response]:
        return asyncio.create_task(
            self.client.post("/work", headers={"Authorization": who, **headers}, timeout=20)
        )


async def test_what_is_too_much_is_refused_before_any_work_and_the_rest_is_done() -> None:
    service = Service()
    asked = [service.asks("flood") for _ in range(20)]
    refused = [await answer for answer in asked[MOST:-2]]
    assert {(answer.status_code, answer.headers["Retry-After"]) for answer in refused} == {(503, "1")}
    assert {answer.json()["code"] for answer in refused} == {"overloaded"}
    assert service.begun == {"flood": MOST}
    assert (await service.client.get("/health/live")).text == "live"
    service.go_on.set()
    answers = [(await answer).status_code for answer in (*asked[:MOST], *asked[-2:])]
    assert answers[:MOST] == [200] * MOST
    assert service.begun["flood"] == answers.count(200)


async def test_a_flood_of_one_client_leaves_the_other_its_turn() -> None:
    service = Service()
    for client in ("flood", "other"):
        await service.proves(client)
    flood = [service.asks("flood") for _ in range(20)]
    await asyncio.gather(*flood[MOST:-2])  # all but those at work and those who wait
    other = service.asks("other")
    await asyncio.sleep(0)
    service.go_on.set()
    assert (await other).status_code == 200
    await asyncio.gather(*flood)


@pytest.mark.parametrize("session", [False, True])
async def test_invented_tokens_are_one_client_and_leave_a_proven_one_its_turn(session: bool) -> None:
    service = Service()
    await service.proves("other")
    name = "Cookie" if session else "Authorization"
    flood = [
        asyncio.create_task(service.client.post("/work", headers={name: f"session={uuid.uuid4()}"}))
        for _ in range(20)
    ]
    await asyncio.gather(*flood[MOST:-2])
    proof = {"Cookie": "theme=dark; session=renewed"} if session else {"Authorization": "other"}
    other = asyncio.create_task(service.client.post("/work", headers=proof))
    await asyncio.sleep(0)
    service.go_on.set()
    assert (await other).status_code == 200
    await asyncio.gather(*flood)


async def test_who_hung_up_while_waiting_is_not_worked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AT_THE_DOOR", 30.0)
    service = Service()
    async with served(service.app) as address, httpx2.AsyncClient(base_url=address, timeout=20) as client:
        working = [asyncio.create_task(client.post("/work")) for _ in range(MOST)]
        await eventually(lambda: service.begun["session"] == MOST)
        url = urlsplit(address)
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(b"POST /work HTTP/1.1\r\nHost: x\r\nAuthorization: gone\r\nContent-Length: 0\r\n\r\n")
        await eventually(lambda: len(service.app._door._waiting) == 1)
        writer.close()
        await writer.wait_closed()
        later = asyncio.create_task(client.post("/work", headers={"Authorization": "later"}))
        await eventually(lambda: sum(map(len, service.app._door._waiting.values())) == 2)
        service.go_on.set()
        assert (await later).status_code == 200
        await asyncio.gather(*working)
    assert service.begun == {"session": MOST, "later": 1}


async def test_a_stream_that_has_begun_holds_no_place() -> None:
    service = Service()
    streams = [asyncio.create_task(service.client.get("/stream")) for _ in range(MOST + 2)]
    asked = service.asks("clerk")

    async def is_at_work() -> bool:
        return service.begun["clerk"] == 1

    await eventually(is_at_work)
    service.go_on.set()
    assert (await asked).status_code == 200
    await asyncio.gather(*streams)


async def test_a_browser_reads_a_page() -> None:
    service = Service()
    asked = [service.asks("flood") for _ in range(MOST)]
    browser = service.asks("flood", Accept="text/html", **{"Accept-Language": "nl"})
    asked += [service.asks("flood") for _ in range(2)]
    page = await browser
    assert (page.status_code, page.headers["Retry-After"]) == (503, "1")
    assert "Het is nu te druk. Er is niets opgeslagen" in page.text
    service.go_on.set()
    await asyncio.gather(*asked)


CORRELATION = "0198c0de-0000-7000-8000-000000000001"


def refused(metric: str = "http_requests_refused_busy_total", **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0


@asynccontextmanager
async def in_a_flood(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an app that is flooded by the address of this client; everybody inside stays there."""
    reached = list[Scope]()
    inner = RequestContext(service.app)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope)
        await inner(scope, receive, send)

    async with (
        served(app, service.entrance) as address,
        httpx2.AsyncClient(base_url=address, timeout=20) as flood,
        httpx2.AsyncClient(base_url=address, timeout=20) as client,
    ):
        asked = [asyncio.create_task(flood.post("/work")) for _ in range(MOST + 3)]
        await eventually(lambda: any(task.done() for task in asked))
        assert len(reached) == MOST + 3
        try:
            yield client
            assert len(reached) == MOST + 3, "no app heard of what is refused in a flood"
        finally:
            service.go_on.set()
            answers = [answer.status_code for answer in await asyncio.gather(*asked)]
            assert sorted(answers) == [200] * (MOST + 1) + [503] * 2


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AT_THE_DOOR", 30.0)
    monkeypatch.setattr(limits, "AT_THE_DOOR_IN_A_FLOOD", 30.0)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("language", ["nl", "en"])
async def test_in_a_flood_the_connection_answers_what_the_app_would_have(language: str) -> None:
    service, headers = Service(), {"Accept-Language": language, "X-Correlation-ID": CORRELATION}
    async with in_a_flood(service) as client:
        before, of_route = refused(), {"method": "POST", "route": "unknown", "status": "503"}
        counted = refused("http_requests_total", **of_route)
        answer = await client.post("/work", content=b"x" * 100_000, headers=headers)
        assert (refused(), refused("http_requests_total", **of_route)) == (before + 1, counted + 1)
        within = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(RequestContext(service.app)), base_url="http://service"
        )
        expected = await within.post("/work", headers=headers)
        assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
        assert CORRELATION in answer.text
        volatile = {"date", "server"}
        assert {**answer.headers} == {k: v for k, v in expected.headers.items() if k not in volatile}


@pytest.mark.usefixtures("patience")
async def test_a_connection_that_was_refused_goes_on_in_order() -> None:
    service = Service()
    async with in_a_flood(service) as client:
        url = client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"HEAD /work HTTP/1.1\r\nHost: x\r\n\r\nPOST /work HTTP/1.1\r\nHost: x\r\n")
        writer.write(b"Content-Length: 3\r\n\r\nabcPOST /work HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
        with structlog.testing.capture_logs() as lines:
            sent = await reader.read()  # to its end: after the last one, the connection is closed
            await eventually(lambda: lines, within=5)
        writer.close()
        assert [(line["event"], line["number"]) for line in lines] == [("requests.refused", 3)]
        head, *posts = sent.split(b"HTTP/1.1 503 Service Unavailable\r\n")[1:]
        assert head.endswith(b"\r\n\r\n")
        assert len(posts) == 2
        assert all(post.endswith(b"}") and b"\r\nretry-after: 1\r\n" in post for post in posts)
