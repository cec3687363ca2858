"""What clients can do to the memory and the time of a service: nothing beyond its limits (real sockets)."""

import asyncio
import resource
from functools import partial
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from shared.platform.settings import HttpLimits
from shared.web import server
from shared.web.http_protocol import MOST_BODY_BYTES, MOST_HEADERS, MOST_IGNORED_BYTES, MOST_REFUSED
from shared.web.middleware import LARGEST_BODY
from tests.integration.web.conftest import Answer, Serve, Served, Wire, connections
from tests.support.eventually import eventually

LIVE = b"GET /health/live HTTP/1.1\r\nHost: service\r\n"
END = b"\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\n"
MOST_SENT = 64 * 1024 * 1024
BUFFERED = 16 * 1024 * 1024
"""What the limits and the buffers of the network take together, at most."""
HEAD = HttpLimits.max_head_bytes


def is_problem(answer: Answer, status: int, code: str) -> bool:
    """A problem in our form, with the headers of every response."""
    body = answer.json()
    assert (answer.status, body["status"], body["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) == {"type", "title", "status", "code", "detail", "instance"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert body["instance"] == f"urn:uuid:{answer.headers['x-correlation-id']}"
    return True


def head_of(size: int) -> bytes:
    """A request with a head of so many bytes."""
    rest = size - len(LIVE) - len(b"X-More: \r\n\r\n")
    return LIVE + b"X-More: " + b"x" * rest + b"\r\n\r\n"


async def test_a_head_has_a_limit_to_the_byte(serves: Serve) -> None:
    served: Served = await serves()
    assert (await served.asks(head_of(HEAD))).status == 200
    assert is_problem(await served.asks(head_of(HEAD + 1)), 431, "request-header-fields-too-large")


async def test_a_long_token_and_cookies_pass(serves: Serve) -> None:
    served: Served = await serves()
    token, cookie = b"Authorization: Bearer " + b"t" * 8192 + END, b"Cookie: counter=" + b"c" * 4096 + END
    assert (await served.asks(LIVE, token, cookie, END)).status == 200


@pytest.mark.parametrize(
    "begin",
    [LIVE + b"X-More: ", b"GET /" + b"x" * 20_000, LIVE + b"X-More: x\r\n" * 50 + b"X", b"\r\n" * 9000],
    ids=["a header", "the address", "a name", "line ends"],
)
async def test_a_head_without_end_is_refused_and_read_no_further(serves: Serve, begin: bytes) -> None:
    served: Served = await serves()
    wire, other = await served.connect(), await served.connect()
    wire.send(begin)
    answering = asyncio.create_task(wire.answer())
    more = b"\r\n" if begin[:1] == b"\r" else b"x"
    flood = asyncio.create_task(wire.floods(more * 100_000, MOST_SENT))
    other.send(LIVE, END)
    assert (await other.answer()).status == 200
    assert is_problem(await answering, 431, "request-header-fields-too-large")
    assert await flood < BUFFERED
    assert await wire.is_closed()
    assert served.requests == ["/health/live"]


async def test_a_head_that_is_a_little_too_large_gets_its_answer_though_the_rest_still_comes(
    serves: Serve,
) -> None:
    served: Served = await serves()
    wire = await served.connect()
    sent = await wire.floods(head_of(MOST_IGNORED_BYTES // 2), 1)
    assert sent == MOST_IGNORED_BYTES // 2
    assert is_problem(await wire.answer(), 431, "request-header-fields-too-large")


async def test_headers_are_counted(serves: Serve) -> None:
    served: Served = await serves()
    more = b"a:\r\n" * (MOST_HEADERS - 1)
    assert (await served.asks(LIVE, more, END)).status == 200
    assert is_problem(await served.asks(LIVE, more, b"a:\r\n", END), 431, "request-header-fields-too-large")


async def test_a_problem_is_in_the_language_that_was_asked_for(serves: Serve) -> None:
    served: Served = await serves()
    dutch = await served.asks(LIVE, b"a:\r\n" * MOST_HEADERS, END)
    english = await served.asks(LIVE, b"Accept-Language: en\r\n", b"a:\r\n" * MOST_HEADERS, END)
    assert dutch.json()["detail"] == "De kop van de aanvraag is te groot."
    assert english.json()["detail"] == "The head of the request is too large."


@pytest.mark.parametrize(
    "bad", [b"NONSENSE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
async def test_what_is_not_http_gets_a_problem(serves: Serve, bad: bytes) -> None:
    served: Served = await serves()
    assert is_problem(await served.asks(bad), 400, "bad-request")


async def test_a_body_that_is_not_well_formed_gets_a_problem(serves: Serve) -> None:
    served: Served = await serves()
    wire = await served.connect()
    wire.send(POST, b"Transfer-Encoding: chunked\r\n\r\nnot a chunk\r\n")
    assert is_problem(await wire.answer(), 400, "bad-request")
    assert await wire.is_closed()


async def test_silent_connections_are_closed_and_everyone_else_is_served(serves: Serve) -> None:
    served: Served = await serves(head_seconds=1.0, max_connections=2000)
    silent = [await served.connect() for _ in range(1200)]
    assert (await served.asks(LIVE, END)).status == 200
    assert all(await asyncio.gather(*(wire.is_closed() for wire in silent)))
    await eventually(lambda: (connections() or 0) <= 1)
    assert (await served.asks(LIVE, END)).status == 200


async def test_a_head_that_drips_is_given_up(serves: Serve) -> None:
    served: Served = await serves(head_seconds=0.3)
    wire = await served.connect()
    dripping = asyncio.create_task(drip(wire, LIVE + b"X-More: " + b"x" * 1000))
    assert is_problem(await wire.answer(), 408, "request-timeout")
    assert await wire.is_closed()
    dripping.cancel()


async def test_a_later_head_that_drips_is_given_up(serves: Serve) -> None:
    served: Served = await serves(head_seconds=1.0)
    wire = await served.connect()
    wire.send(LIVE, END)
    assert (await wire.answer()).status == 200
    wire.send(LIVE)
    assert is_problem(await wire.answer(), 408, "request-timeout")
    assert await wire.is_closed()


async def test_a_head_that_begins_while_the_app_works_has_its_time_afterwards(
    serves: Serve,
) -> None:
    served: Served = await serves(head_seconds=1.0)
    wire = await served.connect()
    wire.send(b"GET /slow HTTP/1.1\r\nHost: service\r\n\r\n", LIVE)
    await eventually(lambda: served.requests)
    later = await served.connect()
    assert await later.is_closed(), "so much time has gone: it is the app's, not the client's"
    served.goes_on.set()
    assert (await wire.answer()).json() == "at last"
    wire.send(END)
    assert (await wire.answer()).status == 200


async def drip(wire: Wire, data: bytes) -> None:
    for byte in data:
        wire.send(bytes([byte]))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("begin", [b'{"a": ', b""], ids=["half", "nothing"])
async def test_a_body_that_does_not_come_is_given_up(serves: Serve, begin: bytes) -> None:
    served: Served = await serves(body_seconds=0.3)
    wire = await served.connect()
    wire.send(POST, b"Accept-Language: en\r\nContent-Length: 1000\r\n\r\n", begin)
    answer = await wire.answer()
    assert is_problem(answer, 408, "request-timeout")
    assert answer.json()["detail"] == "The request did not arrive in time."
    assert await wire.is_closed()


async def test_a_body_that_drips_is_given_up(serves: Serve) -> None:
    served: Served = await serves(body_seconds=0.3)
    wire = await served.connect()
    wire.send(POST, b"Content-Length: 1000\r\n\r\n")
    dripping = asyncio.create_task(drip(wire, b" " * 1000))
    assert is_problem(await wire.answer(), 408, "request-timeout")
    assert await wire.is_closed()
    dripping.cancel()


@pytest.mark.parametrize(
    ("length", "piece"),
    [
        (b"Content-Length: 10000000000\r\n\r\n", b" " * 100_000),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"186a0\r\n%s\r\n" % (b" " * 100_000)),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 10_000),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1;%s\r\n \r\n" % (b"x" * 100_000)),
    ],
    ids=["announced", "chunks", "small chunks", "chunk extensions"],
)
@pytest.mark.parametrize("path", [b"/echo", b"/nowhere"])
async def test_a_body_without_end_is_cut_off(serves: Serve, path: bytes, length: bytes, piece: bytes) -> None:
    served: Served = await serves()
    wire = await served.connect()
    wire.send(POST.replace(b"/echo", path), length)
    assert await wire.floods(piece, MOST_SENT) < BUFFERED
    assert await wire.is_closed()


async def test_a_body_that_is_too_large_gets_a_problem(serves: Serve) -> None:
    served: Served = await serves()
    for size in (LARGEST_BODY + 1, MOST_BODY_BYTES // 2):
        wire = await served.connect()
        wire.send(POST, b"Content-Length: %d\r\n\r\n" % size, b" " * size)
        assert is_problem(await wire.answer(), 413, "request-entity-too-large")
        wire.send(LIVE, END)
        assert (await wire.answer()).status == 200, "all of the body was read, so the connection goes on"


async def test_headers_after_the_body_are_limited_and_dropped(serves: Serve) -> None:
    served: Served = await serves()
    wire = await served.connect()
    wire.send(POST, b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n")
    assert (await wire.answer()).json() == {}
    wire.send(POST, b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    assert await wire.floods(b"a: b\r\n" * 10_000, MOST_SENT) < BUFFERED
    assert await wire.is_closed()


async def test_what_is_left_of_a_body_after_the_response_is_not_awaited_for_long(serves: Serve) -> None:
    served: Served = await serves(body_seconds=1.0)
    wire = await served.connect()
    wire.send(POST.replace(b"/echo", b"/nowhere"), b"Content-Length: 1000\r\n\r\nhalf")
    assert (await wire.answer()).status == 404
    dripping = asyncio.create_task(drip(wire, b" " * 900))
    assert await wire.is_closed()
    dripping.cancel()


async def test_a_connection_is_idle_after_the_rest_of_a_body_has_come(serves: Serve) -> None:
    served: Served = await serves(idle_seconds=0.3)
    wire = await served.connect()
    wire.send(POST.replace(b"/echo", b"/nowhere"), b"Content-Length: 10\r\n\r\nhalf ")
    assert (await wire.answer()).status == 404
    wire.send(b"whole")
    assert await wire.is_closed()


async def test_an_idle_connection_is_closed(serves: Serve) -> None:
    served: Served = await serves(idle_seconds=0.3, head_seconds=60)
    wire = await served.connect()
    wire.send(LIVE, END)
    assert (await wire.answer()).status == 200
    assert await wire.is_closed()


async def test_some_requests_may_be_sent_ahead(serves: Serve) -> None:
    served: Served = await serves()
    wire = await served.connect()
    wire.send(*(POST + b'Content-Length: 8\r\n\r\n{"a":%2d}' % number for number in range(15)))
    assert [(await wire.answer()).json() for _ in range(15)] == [{"a": number} for number in range(15)]


async def test_a_flood_of_requests_sent_ahead_is_cut_off(serves: Serve) -> None:
    served: Served = await serves()
    wire = await served.connect()
    wire.send(b"GET /slow HTTP/1.1\r\nHost: service\r\n\r\n")
    await eventually(lambda: served.requests)
    assert await wire.floods((LIVE + END) * 1000, MOST_SENT) < BUFFERED
    assert await wire.is_closed()
    assert served.requests == ["/slow"]


async def test_a_mistake_behind_a_request_is_not_taken_for_its_response(serves: Serve) -> None:
    served: Served = await serves()
    wire = await served.connect()
    wire.send(b"GET /slow HTTP/1.1\r\nHost: service\r\n\r\nNONSENSE\r\n\r\n")
    assert await wire.reader.read() == b""


async def test_too_many_connections_are_refused_until_some_end(serves: Serve) -> None:
    served: Served = await serves(max_connections=5)
    few = [await served.connect() for _ in range(5)]
    for wire in few:
        wire.send(LIVE, END)
        assert (await wire.answer()).status == 200
    refused = await served.connect()
    refused.send(LIVE, END)
    answer = await refused.answer()
    assert is_problem(answer, 503, "too-many-connections")
    assert int(answer.headers["retry-after"]) > 0
    assert await refused.is_closed()
    for wire in few:
        wire.send(LIVE, END)
        assert (await wire.answer()).status == 200
        wire.writer.close()
    await eventually(lambda: is_served(served))


async def is_served(served: Served) -> bool:
    return (await served.asks(LIVE, END)).status == 200


async def test_far_too_many_connections_are_closed_without_a_response(serves: Serve) -> None:
    served: Served = await serves(max_connections=1)
    held = [await served.connect() for _ in range(1 + MOST_REFUSED)]
    last = await served.connect()
    assert await last.is_closed()
    assert await held[1].is_closed()
    held[0].send(LIVE, END)
    assert (await held[0].answer()).status == 200


async def test_a_client_that_does_not_read_is_cut_off_and_little_is_buffered(serves: Serve) -> None:
    served: Served = await serves(send_seconds=0.5)
    wire = await served.connect(buffer=1)
    wire.send(b"GET /large HTTP/1.1\r\nHost: service\r\n\r\n")
    await eventually(lambda: served.written)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await eventually(lambda: connections() == 0)
    assert served.written < 4 * BUFFERED


async def test_a_wish_for_another_protocol_is_ignored(serves: Serve) -> None:
    served: Served = await serves()
    wire = await served.connect()
    for _ in range(2):
        wire.send(LIVE, b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n", END)
        assert (await wire.answer()).status == 200
    assert await wire.floods(b"PRI * HTTP/2.0\r\n\r\n" * 5000, MOST_SENT) < BUFFERED
    assert await wire.is_closed()


async def test_a_client_that_waits_for_the_servers_consent_gets_it(serves: Serve) -> None:
    served: Served = await serves()
    wire = await served.connect()
    wire.send(POST, b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"{}")
    assert (await wire.answer()).json() == {}


async def test_a_client_that_goes_away_in_its_request_is_no_error(
    serves: Serve,
) -> None:
    served: Served = await serves()
    with structlog.testing.capture_logs() as lines:
        for path in (b"/echo", b"/form"):
            wire = await served.connect()
            wire.send(b"POST %s HTTP/1.1\r\nHost: s\r\nContent-Length: 100\r\n" % path)
            wire.send(b"Content-Type: application/x-www-form-urlencoded\r\n\r\na=")
            await eventually(partial(served.requests.__contains__, path.decode()))
            wire.writer.close()
        await eventually(lambda: len(lines) >= 2)
    assert {line["event"] for line in lines} == {"request.served"}


async def test_refused_requests_are_counted_and_logged_with_their_number(
    serves: Serve,
) -> None:
    def counted() -> float:
        labels = {"method": "other", "route": "unknown", "status": "431"}
        return REGISTRY.get_sample_value("http_requests_total", labels) or 0

    served: Served = await serves()
    before = counted()
    with structlog.testing.capture_logs() as lines:
        answer = await served.asks(head_of(HEAD + 1))
    assert counted() == before + 1
    [line] = [line for line in lines if line["event"] == "request.refused"]
    assert (line["status"], line["correlation_id"]) == (431, answer.headers["x-correlation-id"])


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "possible"),
    [
        (1024, 4096, 2100, 1000),
        (1024, 1024, 1024, 512),
        (1024, resource.RLIM_INFINITY, 2100, 1000),
        (65_536, 65_536, 65_536, 1000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1000),
    ],
)
def test_there_are_never_more_connections_than_files_that_may_be_open(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int, possible: int
) -> None:
    now: list[Any] = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _what: now[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: now.append(limits))
    assert server._possible(HttpLimits()).max_connections == possible
    assert now[-1] == (raised, hard)
