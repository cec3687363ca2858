"""The page of the local issuer: who do you want to be?"""

import secrets
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from jinja2 import Environment
from starlette.responses import HTMLResponse

TEMPLATE = """\
<!DOCTYPE html>
<html lang="nl">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Aanmelden – demo</title>
<style nonce="{{ nonce }}">
html { font: 19px/1.45 system-ui, "Noto Sans", sans-serif; color: #16202c; background: #f1f4f8 }
main { max-width: 34rem; margin: 2rem auto; padding: 1rem 1.5rem; background: #fff;
  border: 1px solid #b9c3cf }
h1 { margin-top: 0 }
button { display: block; width: 100%; margin: .5rem 0; padding: .7rem 1rem; font: inherit; text-align: left;
  color: #12355b; background: #fff; border: 2px solid #12355b; border-radius: .3rem; cursor: pointer }
button:hover { background: #e8f0fa }
button:focus-visible { outline: 4px solid #f2b600; outline-offset: 2px }
</style>
</head>
<body>
<main>
<h1>Wie bent u?</h1>
<p>Dit is de aanmelddienst van de demonstratie: er is geen wachtwoord nodig.</p>
<form method="post" action="/authorize">
{% for name, value in asked.items() %}
<input type="hidden" name="{{ name }}" value="{{ value }}">
{% endfor %}
{% for organisation, people in organisations %}
<h2>{{ organisation }}</h2>
{% for person in people %}
<button name="person" value="{{ person.subject }}">{{ person.name }}
{%- if "operator" in person.scope %} – beheer{% endif %}</button>
{% endfor %}
{% endfor %}
</form>
</main>
</body>
</html>
"""
_template = Environment(autoescape=True).from_string(TEMPLATE)


def sign_in_page(asked: Mapping[str, Any], people: Iterable[Any], goes_to: str) -> HTMLResponse:
    """The people to choose from, by organisation; `goes_to` is where the form may lead."""
    nonce = secrets.token_urlsafe(16)
    organisations = [
        (name, list(group)) for name, group in groupby(people, key=lambda person: person.organisation_name)
    ]
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self' {goes_to}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(
        _template.render(asked=asked, organisations=organisations, nonce=nonce), headers=headers
    )
