"""The containers cannot be run in every test environment, but what they promise can be read and checked."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from identity.settings import Settings as IdentitySettings
from registration.settings import Settings as RegistrationSettings
from shared.messaging.rabbitmq import LARGEST_MESSAGE
from shared.platform.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SETTINGS: dict[str, type[ServiceSettings]] = {
    "registration": RegistrationSettings,
    "identity": IdentitySettings,
}


@pytest.mark.parametrize("service", SETTINGS)
def test_every_required_setting_is_given_and_none_is_unknown(service: str) -> None:
    kind = SETTINGS[service]
    container = COMPOSE["services"][service]
    in_secrets = set(re.findall(rf"{kind.prefix()}\w+", (ROOT / "infra/docker/README.md").read_text("utf-8")))
    given = set(container["environment"]) | in_secrets
    fields = {f"{kind.prefix()}{name.upper()}": field for name, field in kind.model_fields.items()}
    assert given <= set(fields), "a setting that the service does not know"
    assert {name for name, field in fields.items() if field.is_required()} <= given


def test_both_services_run_with_a_worker_each_after_their_migration() -> None:
    for service in SETTINGS:
        for role in (service, f"{service}-worker"):
            needs = COMPOSE["services"][role]["depends_on"]
            assert needs[f"{service}-migrate"]["condition"] == "service_completed_successfully"


def test_ports_are_bound_to_loopback_only() -> None:
    ports = [port for container in COMPOSE["services"].values() for port in container.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_database_is_durable() -> None:
    command = COMPOSE["services"]["postgres"]["command"]
    assert {"fsync=on", "full_page_writes=on", "synchronous_commit=on"} <= set(command)


def test_the_brokers_take_no_message_that_a_worker_refuses() -> None:
    for configuration in ("infra/rabbitmq/rabbitmq.conf", "infra/local/rabbitmq.py"):
        text = (ROOT / configuration).read_text(encoding="utf-8")
        assert f"\nmax_message_size = {LARGEST_MESSAGE}\n" in text


def test_nothing_secret_is_written_down_and_no_container_runs_as_root() -> None:
    for container in COMPOSE["services"].values():
        assert not [
            name for name in container.get("environment", {}) if name.endswith(("PASSWORD", "TOKEN", "KEY"))
        ]
    assert "\nUSER landelijk-lenen" in (ROOT / "infra/docker/Dockerfile").read_text(encoding="utf-8")


def test_every_file_that_is_mounted_from_the_repository_exists() -> None:
    mounted = [
        volume.split(":")[0]
        for container in COMPOSE["services"].values()
        for volume in container.get("volumes", [])
        if volume.startswith("./infra/")
    ]
    assert mounted
    assert [path for path in mounted if not (ROOT / path).exists()] == []
