"""Settings of both services: addresses that need TLS, and the limits of the HTTP service."""

import pytest

from identity.settings import Settings
from shared.kernel.errors import ConfigurationError
from shared.platform.settings import HttpLimits

REQUIRED = {
    "DATABASE_URL": "postgresql://localhost/identity",
    "OIDC_ISSUER": "https://issuer.example",
    "REGISTRATION_URL": "https://registration.example",
    "ORGANISATIONS": "organisations.toml",
    "SERVICE_TOKEN_FILE": "service.token",
    "MASTER_KEY_FILE": "master.key",
    "PERSON_REF_KEY_FILE": "person_ref.key",
}
ADDRESSES = ["OIDC_ISSUER", "OIDC_JWKS", "REGISTRATION_URL", "ACCOUNT_DIRECTORY_URL"]


def settings(monkeypatch: pytest.MonkeyPatch, **more: str) -> Settings:
    """Identity's settings from an environment with these beside the required ones."""
    monkeypatch.delenv("RUN_DIR", raising=False)
    for name, value in (REQUIRED | more).items():
        monkeypatch.setenv(f"IDENTITY_{name}", value)
    return Settings.from_environment()


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize(
    "address",
    [
        "http://elsewhere.example/",
        "http://10.0.0.7:8000",
        "HTTP://elsewhere.example",
        "http://127.0.0.1.elsewhere.example",
        "http://127.0.0.1@elsewhere.example",
        "http://localhost.example",
    ],
)
def test_an_address_without_tls_is_refused(name: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=f"IDENTITY_{name} is wrong: .*use (an )?https"):
        settings(monkeypatch, **{name: address})


@pytest.mark.parametrize("name", ["OIDC_ISSUER", "OIDC_JWKS"])
def test_the_issuer_is_asked_over_tls_in_a_private_network_too(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=f"IDENTITY_{name} is wrong: .*use an https"):
        settings(monkeypatch, **{name: "http://sign-in:8000/"}, PLAIN_HTTP_HOSTS="sign-in")


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize(
    "address",
    ["https://elsewhere.example/", "http://127.0.0.1:8001", "http://[::1]:8001", "http://localhost"],
)
def test_tls_and_this_machine_are_taken(name: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert address in vars(settings(monkeypatch, **{name: address})).values()


def test_hosts_of_a_private_network_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = settings(
        monkeypatch, REGISTRATION_URL="http://registration:8000", PLAIN_HTTP_HOSTS="directory, registration"
    )
    assert known.registration_url == "http://registration:8000"
    with pytest.raises(ConfigurationError, match="IDENTITY_REGISTRATION_URL is wrong"):
        settings(monkeypatch, REGISTRATION_URL="http://another:8000")


def test_no_host_is_named_by_an_empty_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="IDENTITY_REGISTRATION_URL is wrong"):
        settings(monkeypatch, REGISTRATION_URL="http:///path", PLAIN_HTTP_HOSTS="")


def test_the_limits_of_the_http_service_have_defaults_and_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch).http_limits == HttpLimits(1000, 16_384, 10, 30, 75, 30)
    changed = {
        "HTTP_MAX_CONNECTIONS": "7",
        "HTTP_MAX_HEAD_BYTES": "2000",
        "HTTP_HEAD_SECONDS": "0.5",
        "HTTP_BODY_SECONDS": "2",
        "HTTP_IDLE_SECONDS": "3",
        "HTTP_SEND_SECONDS": "4",
    }
    assert settings(monkeypatch, **changed).http_limits == HttpLimits(7, 2000, 0.5, 2, 3, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_MAX_CONNECTIONS", "0"),
        ("HTTP_MAX_HEAD_BYTES", "100"),
        ("HTTP_HEAD_SECONDS", "0"),
        ("HTTP_BODY_SECONDS", "-1"),
        ("HTTP_IDLE_SECONDS", "inf"),
        ("HTTP_SEND_SECONDS", "nan"),
    ],
)
def test_a_limit_that_limits_nothing_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=f"IDENTITY_{name} is wrong"):
        settings(monkeypatch, **{name: value})
