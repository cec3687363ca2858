"""Both HTTP APIs are as the release before described them, but for their words."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from identity.adapters.tables import SCHEMA as IDENTITY
from registration.adapters.tables import SCHEMA as REGISTRATION
from tests.support.identity_service import open_identity_app
from tests.support.json_paths import differences
from tests.support.registration_service import open_registration_app
from tests.support.servers import Databases

RECORDED = Path(__file__).parents[1] / "recorded" / "before_0_1"
WORDS = {"description", "summary", "title"}
DATA = {"value", "example", "default", "enum", "const"}
"""What stands below these is no description of anything, whatever its members are called."""

CHOICE_PROBLEMS = [
    f'$.paths["{path}"].post.responses["{status}"].content["application/problem+json"]'
    f'.examples["{code}"] is new'
    for path in ("/v1/guests", "/v1/guests/{guest_id}/reregistration", "/v1/guests/{guest_id}/login-account")
    for status, code in (
        (409, "account-of-other-library"),
        (409, "account-of-other-person"),
        (409, "username-taken"),
        (422, "account-handle-invalid"),
        (503, "login-accounts-unavailable"),
    )
]
OF_A_PROBLEM = '$.paths["{}"].post.responses["{}"].content["application/problem+json"].examples'
ADDED = re.compile(r'\$\.(paths|components\.schemas)\["[^"]*"\] is new')
"""A whole path or schema that is new changes nothing for a client of the release before."""
CHANGES: dict[str, list[str]] = {
    "registration": [
        '$.paths["/v1/feed/guests/{guest_id}/new-account"].get.parameters[1].schema.anyOf[0].pattern',
        *CHOICE_PROBLEMS,
        # An account is named by its handle, or by its id as before.
        '$.components.schemas.AccountJson.properties["account_handle"] is new',
        "$.components.schemas.AccountJson.required: there were 3",
        "$.components.schemas.Existing.properties.account_id",
        '$.components.schemas.Existing.properties["account_handle"] is new',
        '$.components.schemas.Existing.properties["reason"] is new',
        "$.components.schemas.Existing.required: there were 2",
        # Libraries merge.
        '$.paths["/v1/feed/registrations"].get.parameters: there were 3',
        '$.paths["/v1/feed/registrations"].get.responses["422"]',
        '$.paths["/v1/feed/registrations"].get.responses["503"]',
        '$.components.schemas.NewAccountJson.properties["merged_isils"] is new',
        "$.components.schemas.NewAccountJson.required: there were 4",
        # A number is not a person, and may be another guest's by now.
        f'{OF_A_PROBLEM.format("/v1/guests", 409)}["other-person"] is new',
        f'{OF_A_PROBLEM.format("/v1/guests/{guest_id}/reregistration", 409)}["other-person"] is new',
        f'{OF_A_PROBLEM.format("/v1/guests/{guest_id}/reregistration", 409)}["card-of-another-guest"] is new',
        # A likely duplicate is told, and there are ways to go on.
        f'{OF_A_PROBLEM.format("/v1/guests", 409)}["likely-duplicate"] is new',
        f'{OF_A_PROBLEM.format("/v1/guests", 409)}["card-of-another-guest"] is new',
        f'{OF_A_PROBLEM.format("/v1/guests", 409)}["merge-blocked"] is new',
        '$.components.schemas.NewGuest.properties["same_as"] is new',
        '$.components.schemas.NewGuest.properties["not_same_as"] is new',
        # A search tells the total and goes both ways.
        '$.paths["/v1/guests"].get.parameters: there were 5',
        '$.components.schemas.FoundGuestsJson.properties["total"] is new',
        '$.components.schemas.FoundGuestsJson.properties["previous_cursor"] is new',
        "$.components.schemas.FoundGuestsJson.required: there were 2",
        # What a clerk must know of a guest.
        *(
            f'$.components.schemas.GuestJson.properties["{name}"] is new'
            for name in ("reason", "ended_on", "active_at", "card_since", "chip_since")
        ),
        "$.components.schemas.GuestJson.required: there were 22",
        *(
            f'$.components.schemas.HomeJson.properties["{name}"] is new'
            for name in ("answered_at", "changed")
        ),
        "$.components.schemas.HomeJson.required: there were 3",
        # The home library of an imported guest was not asked yet.
        "$.components.schemas.HomeJson.properties.verdict.enum: there were 4, there are 5",
        '$.paths["/v1/guests/{guest_id}/login-account"]["get"] is new',
        # A wrong tick is corrected.
        # A new account has an address to which mail can be sent.
        "$.components.schemas.New.properties.email.pattern",
        # What the guest wants.
        '$.components.schemas.GuestJson.properties["preferences"] is new',
        "$.components.schemas.GuestJson.required: there were 22",
        "$.components.schemas.NewGuest.examples",
        '$.components.schemas.NewGuest.properties["preferences"] is new',
        '$.components.schemas.Reregistration.properties["preferences"] is new',
        # Looking up people is limited.
        '$.paths["/v1/guests"].get.responses["429"] is new',
        '$.paths["/v1/home-patrons/{isil}/{card_number}"].get.responses["429"] is new',
        '$.paths["/v1/login-accounts"].get.responses["429"] is new',
    ],
    "identity": [
        '$.components.schemas.AccountJson.properties["person_ref"] is new',
        "$.components.schemas.AccountJson.required: there were 8",
        '$.components.schemas.FoundAccountJson.properties["person_ref"] is new',
        "$.components.schemas.FoundAccountJson.required: there were 4",
        (
            '$.paths["/v1/logins"].post.responses["422"].content["application/problem+json"]'
            '.examples["unknown-organisation"] is new'
        ),
        '$.paths["/v1/login-accounts/{account_id}"].get.parameters[0].schema',
        "$.components.schemas.ActorJson.properties.account_id",
        # A login may be proven by an ID token.
        "$.components.schemas.Login.properties.account_id",
        '$.components.schemas.Login.properties["id_token"] is new',
        '$.components.schemas.Login.properties["nonce"] is new',
        "$.components.schemas.Login.required: there were 2, there are 1",
        f'{OF_A_PROBLEM.format("/v1/logins", 403)}["id-token-required"] is new',
        f'{OF_A_PROBLEM.format("/v1/logins", 422)}["id-token-invalid"] is new',
        # A new account has a username of letters and digits, and an address to which mail can be sent.
        "$.components.schemas.NewLoginAccount.properties.email.pattern",
        *(
            f'$.paths["/v1/login-accounts"].{method}.responses["422"].content["application/problem+json"]'
            '.examples["malformed-username"].value.detail'
            for method in ("get", "post")
        ),
        "$.components.schemas.NewLoginAccount.properties.account_id.anyOf[0].pattern",
    ],
}
"""What the API says since then on purpose: how the line of each difference begins."""


def without_words(described: Any) -> Any:
    """The same document, without what only people read."""
    match described:
        case dict():
            return {name: _member(name, value) for name, value in described.items() if name not in WORDS}
        case list():
            return [without_words(each) for each in described]
        case _:
            return described


def _member(name: str, value: Any) -> Any:
    if name in DATA or (name == "examples" and isinstance(value, list)):
        return value
    if name in {"properties", "examples"}:  # the names are the document's own: a member may be called title
        return {each: without_words(described) for each, described in value.items()}
    return without_words(value)


def must_be_as_recorded(service: str, now: dict[str, Any]) -> None:
    recorded = json.loads((RECORDED / f"openapi.{service}.json").read_text("utf-8"))
    as_sent = json.loads(json.dumps(now))
    found = list(differences(without_words(recorded), without_words(as_sent)))
    meant = tuple(CHANGES[service])
    changed = [each for each in found if not ADDED.match(each)]
    assert [each for each in changed if not each.startswith(meant)] == [], "\n".join(changed)
    assert [each for each in meant if not any(line.startswith(each) for line in changed)] == []


async def test_registrations_api_is_as_before(databases: Databases, tmp_path: Path) -> None:
    async with open_registration_app(databases(scripts=REGISTRATION), tmp_path) as registration:
        must_be_as_recorded("registration", registration.app.openapi())


async def test_identitys_api_is_as_before(databases: Databases, tmp_path: Path) -> None:
    async with open_identity_app(databases(scripts=IDENTITY), tmp_path) as identity:
        must_be_as_recorded("identity", identity.app.openapi())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"title": "A", "type": "object"}, {"title": "B", "type": "object"}),
        ({"get": {"summary": "A"}}, {"get": {"description": "B"}}),
    ],
)
def test_other_words_are_no_difference(one: Any, other: Any) -> None:
    assert without_words(one) == without_words(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"properties": {"title": {"type": "string"}}}, {"properties": {"title": {"type": "integer"}}}),
        ({"properties": {"title": {"type": "string"}}}, {"properties": {}}),
        ({"examples": {"a": {"value": {"title": "Not Found"}}}}, {"examples": {"a": {"value": {}}}}),
        ({"examples": [{"title": "A"}]}, {"examples": [{"title": "B"}]}),
        ({"required": ["title"]}, {"required": []}),
    ],
)
def test_a_member_called_title_is_no_word(one: Any, other: Any) -> None:
    assert list(differences(without_words(one), without_words(other))) != []
