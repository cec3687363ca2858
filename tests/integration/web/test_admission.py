"""More requests than the process bears: refused before any work, and everybody gets a turn."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from shared.platform import limits
from shared.platform.admission import Door
from shared.web.middleware import Admission
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
        self.app = Admission(Starlette(routes=routes), Door(most_at_work=MOST, most_waiting=2))
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
