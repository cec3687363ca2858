"""Whatever text is sent to a page: the page or its own error, never an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute

from registration.counter_ui.app import ROUTERS
from tests.support.counter_pages import CounterSite, fields_of, form_of, register
from tests.support.registration_service import CARD
from tests.support.routes import called_in_a_thread, dependants_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEXTS = ("a\0b", str(2**63))
ENDLESS = ("/koppeling", "/voortgang", "/afmelden")  # server-sent events; and what ends the session
ACTS_AT_ONCE = ("/wissen", "/herbouw")


@dataclass(frozen=True)
class PageRoute:
    """A page: its method and path, and the names of its form fields and query parameters."""

    method: str
    path: str
    form: frozenset[str]
    query: frozenset[str]

    def at(self, known: dict[str, str]) -> str:
        """Its path with these values."""
        path = self.path.replace(":uuid}", "}")
        for name, value in known.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        return path


def page_routes() -> Iterator[PageRoute]:
    """Every page."""
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            form, query = set[str](), set[str]()
            for dependant in dependants_of(route.dependant):
                for field in dependant.body_params:
                    kind: Any = field.field_info.annotation
                    form |= set(kind.model_fields) if hasattr(kind, "model_fields") else {field.alias}
                query |= {field.alias for field in dependant.query_params}
            for method in route.methods or set():
                if not route.path.endswith(ENDLESS):
                    yield PageRoute(method, route.path, frozenset(form), frozenset(query))


async def test_no_page_waits_for_a_thread() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    assert {name for route in routes for name in called_in_a_thread(route.dependant)} == set()


def requests_to(page: PageRoute, known: dict[str, str], csrf: str) -> Iterator[tuple[str, str, Any]]:
    """One request for each field, parameter and part of the path that is replaced by a nasty text."""
    if page.method == "POST" and not page.path.endswith(ACTS_AT_ONCE):
        for name in (*sorted(page.form), "idempotency_key", "csrf_token"):
            filled = {"csrf_token": csrf} | dict.fromkeys(page.form, "a") | {name: TEXTS[0]}
            yield page.method, page.at(known), {"data": filled}
    for text in TEXTS:
        for name in sorted(page.query):
            yield page.method, page.at(known), {"params": {name: text}}
        for name in known:
            if f"{{{name}" in page.path:
                yield "GET", page.at(known | {name: text}), {}


async def test_no_text_of_a_page_is_an_error_of_ours(counter_site: CounterSite) -> None:
    async with counter_site.signed_in("f.deboer") as client:
        guest_id = (await register(client, CARD)).rpartition("/")[2]
        csrf = fields_of((await client.get("/")).text, "scan")["csrf_token"]
        known = {"guest_id": guest_id, "into": str(uuid4()), "name": "history"}
        requests = [request for page in page_routes() for request in requests_to(page, known, csrf)]
        assert len(requests) > 150
        for method, path, more in requests:
            answer = await client.request(method, path, **more)
            assert answer.status_code < 500, f"{method} {path} {more}: {answer.text[:2000]}"


async def test_a_form_cannot_choose_the_codec_in_which_it_is_read(counter_site: CounterSite) -> None:
    # Python's codec punycode needs seconds for a form of 256 KiB, and nothing else is answered meanwhile.
    async with counter_site.visitor() as nobody:
        csrf = form_of((await nobody.get("/afmelden")).text, "/taal")["csrf_token"]
        for charset, status in (("utf-8", 415), ("punycode", 415), (None, 303)):
            kind = "multipart/form-data; boundary=x" + (f"; charset={charset}" if charset else "")
            part = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
            fields = {"csrf_token": csrf, "language": "en"}
            ending = "-" if charset == "punycode" else ""
            body = "".join(part.format(name + ending, value + ending) for name, value in fields.items())
            answer = await nobody.post("/taal", content=body + "--x--\r\n", headers={"Content-Type": kind})
            assert answer.status_code == status, (charset, answer.text[:500])
