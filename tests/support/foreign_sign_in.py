"""A clerk's browser at a sign-in service that nobody here wrote: its forms are filled in over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx2

from tests.support.counter_pages import Visitor

MOST_PAGES = 20


@dataclass
class Form:
    """A form of a page: where it is sent, what is in it, and the names of its fields to type in."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    typed: list[str] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.found.append(Form(given.get("action", ""), given.get("method", "get").lower()))
        elif self.found and tag in {"input", "button"} and (name := given.get("name")):
            kind = given.get("type", "submit" if tag == "button" else "text")
            if kind == "hidden":
                self.found[-1].fields[name] = given.get("value", "")
            elif kind == "submit":
                self.found[-1].buttons.append((name, given.get("value", "")))
            else:
                self.found[-1].typed.append(name)


def forms_of(html: str) -> list[Form]:
    """The forms of a page that are posted."""
    parser = _Forms()
    parser.feed(html)
    return [form for form in parser.found if form.method == "post"]


async def go_on(
    visitor: Visitor, answer: httpx2.Response, until: str, typed: dict[str, str], button: str | None = None
) -> str:
    """Follow redirects and fill in forms until a redirect to the path `until`; return that address.

    `typed`: by the name of a field. `button`: the value of the button to press, where a form has several.
    """
    for _ in range(MOST_PAGES):
        if answer.is_redirect:
            address = urljoin(str(answer.url), answer.headers["location"])
            if urlsplit(address).path == until:
                return address
            answer = await visitor.get(address)
            continue
        assert answer.status_code == 200, (answer.status_code, answer.text[:2000])
        form = _to_fill_in(forms_of(answer.text), typed, answer.text)
        fields = form.fields | {name: typed[name] for name in form.typed if name in typed}
        pressed = [(name, value) for name, value in form.buttons if button in {None, value}]
        answer = await visitor.sends(
            urljoin(str(answer.url), form.action), data=fields | dict(pressed[:1] or form.buttons[:1])
        )
    raise AssertionError(f"no way to {until} within {MOST_PAGES} pages")


def _to_fill_in(forms: list[Form], typed: dict[str, str], text: str) -> Form:
    assert forms, f"no form: {text[:2000]}"
    return next((form for form in forms if set(form.typed) & set(typed)), forms[0])
