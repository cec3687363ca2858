"""asyncapi.yaml says what the code does: types, data, envelope, exchanges and queues."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import jsonschema_rs
import pytest
import yaml

from identity.adapters.messages import PUBLISHED
from identity.domain.errors import RefusalReason
from registration.adapters.messages import MESSAGE_TYPES
from shared.messaging import exchanges
from shared.messaging.envelope import CONTENT_TYPE, Message
from shared.messaging.exchanges import QUEUES
from tests.unit.messaging.test_envelope import MESSAGE

REPOSITORY = Path(__file__).parents[3]
GOLDEN = REPOSITORY / "tests" / "unit"
ASYNCAPI: dict[str, Any] = yaml.safe_load((REPOSITORY / "shared" / "messaging" / "asyncapi.yaml").read_text())
TYPES = {
    "registration": set(MESSAGE_TYPES.values()),
    "identity": {kind for kind, _ in PUBLISHED.values()},
}
OTHER = {"registration": "identity", "identity": "registration"}
EVERY_TYPE = [(service, kind) for service, problem_types in TYPES.items() for kind in sorted(problem_types)]


def payload(service: str, kind: str) -> jsonschema_rs.Validator:
    """What the description asks of a message of this type."""
    described = ASYNCAPI["components"]["messages"][f"{service}.{kind}"]["payload"]
    return jsonschema_rs.validator_for(
        {**described, "components": ASYNCAPI["components"]}, validate_formats=True
    )


def message_of(service: str, kind: str, data: dict[str, Any]) -> Message:
    """A message as the service would send it."""
    return Message(
        id=uuid4(),
        source=f"/{service}/{UUID(int=1)}",
        type=kind,
        subject=uuid4(),
        time=MESSAGE.time,
        stream_version=1,
        position=1,
        correlation_id=uuid4(),
        causation_id=uuid4(),
        data=data,
    )


@pytest.mark.parametrize("service", TYPES)
def test_all_published_types_are_described_and_no_others(service: str) -> None:
    channels = ASYNCAPI["channels"]
    assert set(channels[f"{service}.events"]["messages"]) == TYPES[service]
    assert set(channels[f"{OTHER[service]}.guests"]["messages"]) == TYPES[service]
    described = {name for name in ASYNCAPI["components"]["messages"] if name.startswith(f"{service}.")}
    assert described == {f"{service}.{kind}" for kind in TYPES[service]}


@pytest.mark.parametrize(
    ("service", "golden"),
    [
        (service, golden)
        for service in TYPES
        for golden in sorted((GOLDEN / service / "messages").glob("*.json"))
    ],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_golden_messages_are_as_described(service: str, golden: Path) -> None:
    message = message_of(service, golden.stem, json.loads(golden.read_text()))
    payload(service, golden.stem).validate(message.to_cloudevent())


@pytest.mark.parametrize(("service", "kind"), EVERY_TYPE)
def test_every_type_has_its_golden_message_as_an_example(service: str, kind: str) -> None:
    described = ASYNCAPI["components"]["messages"][f"{service}.{kind}"]
    (example,) = described["examples"]
    headers = {**ASYNCAPI["components"]["schemas"]["Headers"], "components": ASYNCAPI["components"]}
    jsonschema_rs.validator_for(headers, validate_formats=True).validate(example["headers"])
    payload(service, kind).validate(example["payload"])
    message = Message.from_cloudevent(example["payload"])
    assert (message.type, message.source.split("/")[1]) == (kind, service)
    golden = GOLDEN / service / "messages" / f"{kind}.json"
    assert message.data == json.loads(golden.read_text())


@pytest.mark.parametrize("kind", ["guest-registered.v1", "guest-reregistered.v1"])
def test_r27_a_registration_with_preferences_is_as_described(kind: str) -> None:
    golden = json.loads((GOLDEN / "registration" / "messages" / f"{kind}.json").read_text())
    wanted = {"language": "en", "lending_history": True}
    validator = payload("registration", kind)
    validator.validate(message_of("registration", kind, golden | {"preferences": wanted}).to_cloudevent())
    more = golden | {"preferences": {**wanted, "newsletter": True}}
    assert not validator.is_valid(message_of("registration", kind, more).to_cloudevent())


@pytest.mark.parametrize("kind", sorted(TYPES["identity"]))
def test_what_identity_makes_of_its_events_is_as_described(kind: str) -> None:
    event = SimpleNamespace(account_id="acc-jan", actor_id=uuid4(), reason="account-in-use")
    (data,) = [data for known, data in PUBLISHED.values() if known == kind]
    payload("identity", kind).validate(message_of("identity", kind, data(event)).to_cloudevent())


@pytest.mark.parametrize(("service", "kind"), EVERY_TYPE)
def test_nothing_else_may_slip_into_a_message(service: str, kind: str) -> None:
    validator = payload(service, kind)
    assert not validator.is_valid(message_of(service, kind, {"name": "Jan Jansen"}).to_cloudevent())
    assert not validator.is_valid(message_of(service, "other.v1", {}).to_cloudevent())


def test_an_erased_guests_message_and_one_without_data_are_described() -> None:
    message = message_of("registration", "guest-reinstated.v1", {}).to_cloudevent()
    validator = payload("registration", "guest-reinstated.v1")
    assert validator.is_valid({**message, "erased": True})
    assert validator.is_valid({**message, "unreadable": True})
    assert not validator.is_valid({**message, "colour": "red"})


@pytest.mark.parametrize("service", TYPES)
def test_queues_and_exchanges_are_as_declared(service: str) -> None:
    queues = ASYNCAPI["channels"][f"{service}.guests"]
    assert queues["parameters"]["number"]["enum"] == [str(number) for number in range(QUEUES)]
    assert queues["x-queue-arguments"] == exchanges.QUEUE_ARGUMENTS
    assert queues["x-exchange"]["arguments"] == exchanges.exchanges_of(service)[f"{service}.guests"][1]
    assert ASYNCAPI["components"]["schemas"]["Headers"]["required"] == [exchanges.SUBJECT_HEADER]
    assert ASYNCAPI["defaultContentType"] == CONTENT_TYPE


def test_identitys_refusals_are_described() -> None:
    refusal = ASYNCAPI["components"]["schemas"]["Refusal"]
    assert set(refusal["properties"]["reason"]["enum"]) == {reason.value for reason in RefusalReason}


def test_every_reference_leads_somewhere() -> None:
    for reference in _references(ASYNCAPI):
        place = ASYNCAPI
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []
