"""The containers cannot be run in every test environment, but what they promise can be read and checked."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from identity.settings import Settings as IdentitySettings
from infra.docker.secrets import SERVER_USER, SERVICE_USER, create, secret_files
from registration.adapters.home_library.settings import load_directory
from registration.settings import Settings as RegistrationSettings
from shared.kernel.organisations import read_organisations
from shared.messaging.exchanges import LARGEST_MESSAGE
from shared.platform import limits
from shared.platform.secrets import read_key_file
from shared.platform.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "infra/docker/Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SETTINGS: dict[str, type[ServiceSettings]] = {
    "registration": RegistrationSettings,
    "identity": IdentitySettings,
}


def created(folder: Path) -> Path:
    """A folder after `make secrets`, as a user who may not give files away."""
    for _ in create(folder, may_give_away=False, owner=os.getuid()):
        pass
    return folder


def interpolated(value: str, variables: Mapping[str, str | None]) -> str:
    """What compose makes of `${NAME:-default}` and `${NAME:?message}`."""

    def replaced(found: re.Match[str]) -> str:
        name, kind, otherwise = found.groups()
        if kind == "?" and not variables.get(name):
            pytest.fail(f"compose does not start: {name}: {otherwise}")
        return variables.get(name) or otherwise

    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", replaced, value)


@pytest.mark.parametrize("service", SETTINGS)
def test_a_service_starts_with_what_compose_and_make_secrets_give_it(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every required setting is given, each is right, none is unknown; the mounted files can be read."""
    kind, variables = SETTINGS[service], dotenv_values(created(tmp_path) / ".env")
    container, given = COMPOSE["services"][f"{service}-migrate"], dict[str, str | None]()
    for file in container["env_file"]:
        given |= dotenv_values(tmp_path / file)
    given |= {name: interpolated(value, variables) for name, value in container["environment"].items()}
    assert set(given) <= {f"{kind.prefix()}{name.upper()}" for name in kind.model_fields}
    for name in [name for name in os.environ if name.startswith(kind.prefix()) or name == "RUN_DIR"]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    settings = kind.from_environment()
    assert "owner" in settings.owner_url
    assert settings.amqp_url is not None
    files = [value for value in given.values() if value and value.startswith("/run/secrets/")]
    for name in (file.rpartition("/")[2] for file in files):
        assert name in container["secrets"], f"{service} cannot read {name}"
        if name.endswith("_key"):
            assert read_key_file(tmp_path / COMPOSE["secrets"][name]["file"])
    assert read_organisations(tmp_path / "config/organisations.toml") == {}
    assert load_directory(tmp_path / "config/home_libraries.toml", {}).libraries == {}


def test_make_secrets_creates_every_file_that_compose_names_and_no_other(tmp_path: Path) -> None:
    services = COMPOSE["services"].values()
    named = {secret["file"] for secret in COMPOSE["secrets"].values()}
    named |= {file for container in services for file in container.get("env_file", [])}
    mounts = [volume.split(":") for container in services for volume in container.get("volumes", [])]
    named |= {source.removeprefix("./") for source, *_ in mounts if source.startswith("./secrets/")}
    made = {str(path.relative_to(tmp_path)) for path in created(tmp_path).glob("secrets/*")}
    only_for_others = {f"secrets/{service}_broker_password" for service in SETTINGS}
    assert made - only_for_others == named
    assert {name for container in services for name in container.get("secrets", [])} == set(
        COMPOSE["secrets"]
    )


def test_each_secret_is_for_the_user_of_the_container_that_reads_it() -> None:
    readers = {file.name: file.reader for file in secret_files()}
    for name, container in COMPOSE["services"].items():
        user = SERVER_USER if name in {"postgres", "rabbitmq"} else SERVICE_USER
        assert {readers[secret] for secret in container.get("secrets", [])} <= {user}, name
    assert readers["rabbitmq_definitions.json"] == SERVER_USER
    assert f"\nUSER {SERVICE_USER}\n" in DOCKERFILE


def test_the_compose_file_is_one_by_the_specification() -> None:
    """With its JSON schema, as `check-jsonschema` has it."""
    command = Path(sys.executable).with_name("check-jsonschema")
    checked = subprocess.run(
        [str(command), "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_image_is_built_once_and_never_looked_for_elsewhere() -> None:
    ours = {name: it for name, it in COMPOSE["services"].items() if it["image"] == "landelijk-lenen"}
    assert len(ours) == 2 * 3
    assert [name for name, it in ours.items() if "build" in it] == ["registration-migrate"]
    policies = {it["pull_policy"] for name, it in ours.items() if name != "registration-migrate"}
    assert (policies, ours["registration-migrate"]["pull_policy"]) == ({"never"}, "build")


def test_what_others_made_is_pinned_by_its_digest() -> None:
    images = [it["image"] for it in COMPOSE["services"].values() if it["image"] != "landelijk-lenen"]
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert set(bases) == {"${PYTHON}"}
    for image in (*images, *re.findall(r"^ARG PYTHON=(.+)", DOCKERFILE, re.MULTILINE)):
        assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image)


def test_no_container_fills_the_disk_or_the_memory_or_is_killed_while_it_stops() -> None:
    for name, container in COMPOSE["services"].items():
        assert set(container["logging"]["options"]) == {"max-size", "max-file"}, name
        assert re.fullmatch(r"\d+[mg]", container["mem_limit"]), name
        assert int(container["stop_grace_period"].removesuffix("s")) > limits.STOP, name


def test_all_that_goes_on_has_a_health_check_and_its_metrics_can_be_collected() -> None:
    for name, container in COMPOSE["services"].items():
        if not name.endswith("-migrate"):
            assert "test" in container["healthcheck"], name
        if name not in {"postgres", "registration-migrate", "identity-migrate"}:
            assert container["ports"], name
    assert "rabbitmq_prometheus" in (ROOT / "infra/rabbitmq/enabled_plugins").read_text("utf-8")
    assert "rabbitmq_consistent_hash_exchange" in (ROOT / "infra/rabbitmq/enabled_plugins").read_text("utf-8")


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
    users = re.findall(r"^USER (.+)", DOCKERFILE, re.MULTILINE)
    assert [user.isdigit() and int(user) > 0 for user in users] == [True]


def test_every_file_that_is_mounted_from_the_repository_exists() -> None:
    mounted = [
        volume.split(":")[0]
        for container in COMPOSE["services"].values()
        for volume in container.get("volumes", [])
        if volume.startswith("./infra/")
    ]
    assert mounted
    assert [path for path in mounted if not (ROOT / path).exists()] == []
