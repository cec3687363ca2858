"""Settings of both services: addresses that need TLS, and the limits of the HTTP service."""

import re
from pathlib import Path

import pytest

from identity.settings import Settings
from registration.settings import Settings as RegistrationSettings
from shared.kernel.errors import ConfigurationError
from shared.platform.settings import HttpLimits, shown
from shared.web.issuer import ClaimNames, claim_names
from shared.web.security import organisations_of, scopes_of
from shared.web.service_token import ClientToken, TokenClient, TokenFile, service_token, token_client

REQUIRED = {
    "DATABASE_URL": "postgresql://localhost/identity",
    "OIDC_ISSUER": "https://issuer.example",
    "REGISTRATION_URL": "https://registration.example",
    "ORGANISATIONS": "organisations.toml",
    "SERVICE_TOKEN_FILE": "service.token",
    "MASTER_KEY_FILE": "master.key",
    "PERSON_REF_KEY_FILE": "person_ref.key",
}
ADDRESSES = ["OIDC_ISSUER", "OIDC_JWKS", "REGISTRATION_URL", "ACCOUNT_DIRECTORY_URL", "SERVICE_TOKEN_ISSUER"]


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


@pytest.mark.parametrize("name", ["OIDC_ISSUER", "OIDC_JWKS", "SERVICE_TOKEN_ISSUER"])
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


@pytest.mark.parametrize("name", ["DATABASE_URL", "OWNER_DATABASE_URL", "AMQP_URL"])
@pytest.mark.parametrize("password", ["a@b", "a/b", "a?b", "a#b", "a%b", "a%2", "12/34@", "p:q@r/s?t#u%v"])
def test_a_password_that_is_not_encoded_is_told_and_never_shown(
    name: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"postgresql://identity:{password}@db.example:5432/identity"
    with pytest.raises(ConfigurationError, match=f"IDENTITY_{name} is wrong: .*%40 %2F %3F %23") as raised:
        settings(monkeypatch, **{name: address})
    assert password not in str(raised.value)
    for setting in shown(Settings):
        assert password not in setting.value


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://identity:a%40b%2Fc%3Ad%3Fe%23f%25g@db.example/identity",
        "postgresql://identity:a:b@db.example/identity?sslmode=require",
        "postgresql://db.example/identity?user=a@b.example",
        "postgresql:///identity?host=/run/postgresql",
        "postgresql://identity@one:5432,two:5432/identity?target_session_attrs=read-write",
        "amqp://identity:%40@broker.example/%2F",
    ],
)
def test_an_address_that_is_encoded_is_taken(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, DATABASE_URL=address).database_url.get_secret_value() == address


@pytest.mark.parametrize(
    ("end", "advice"),
    [
        ("one,two:5432/identity", "target_session_attrs=read-write"),
        ("one,two/identity?target_session_attrs=any", "target_session_attrs=read-write"),
        ("one,two/identity?target_session_attrs=prefer-standby", "target_session_attrs=read-write"),
        ("one:5432,/identity?target_session_attrs=primary", "one:5432,two:5432"),
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "OWNER_DATABASE_URL"])
def test_several_hosts_without_the_wish_for_the_primary_are_refused(
    name: str, end: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver would take a standby as well, whichever answers first."""
    with pytest.raises(ConfigurationError, match=f"IDENTITY_{name} is wrong: .*{re.escape(advice)}"):
        settings(monkeypatch, **{name: f"postgresql://identity:secret@{end}"})


@pytest.mark.parametrize("claim", ["", "a\nb", "x" * 256])
def test_the_name_of_a_claim_can_be_seen(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not claim:
        assert settings(monkeypatch, OIDC_SCOPE_CLAIM=claim).oidc_scope_claim == "scope"
        return
    with pytest.raises(ConfigurationError, match=r"IDENTITY_OIDC_SCOPE_CLAIM is wrong: .*can all be seen"):
        settings(monkeypatch, OIDC_SCOPE_CLAIM=claim)


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("[groups.balie]\nscope = ['counter']", "groups.balie.scope: no such key"),
        ("[groups.balie]\nscopes = 'counter'", "groups.balie.scopes: "),
        ("[groups.balie]\nscopes = ['counter operator']", "one text for each scope"),
        ("[groups.balie]\norganisations = [1001]", "groups.balie.organisations.0: "),
        ("groups = 7", "groups: "),
        ("[groups", "not valid TOML"),
    ],
)
def test_a_file_of_groups_that_is_wrong_is_named(
    toml: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "groups.toml").write_text(toml, "utf-8")
    known = settings(monkeypatch, OIDC_GROUPS=str(tmp_path / "groups.toml"))
    with pytest.raises(ConfigurationError, match=re.escape(fault)) as raised:
        claim_names(known)
    assert "groups.toml" in str(raised.value)


def test_a_name_with_dots_is_that_of_a_claim_before_it_is_a_way() -> None:
    """Some providers name claims by addresses, others put roles into an object."""
    names = ClaimNames(organisation="https://id.example/org", scope="realm_access.roles")
    claims = {"https://id.example/org": "1001", "realm_access": {"roles": ["counter", "operator"]}}
    assert organisations_of(claims, names) == {"1001"}
    assert scopes_of(claims, names) == {"counter", "operator"}
    assert scopes_of({"realm_access.roles": "counter"}, names) == {"counter"}
    assert scopes_of({"realm_access": 7}, names) == frozenset()


CLIENT = {"SERVICE_TOKEN_FILE": "", "SERVICE_CLIENT_ID": "identity", "SERVICE_CLIENT_SECRET_FILE": "secret"}


def test_a_service_has_a_token_or_a_client_that_fetches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(service_token(settings(monkeypatch)), TokenFile)
    more = {"SERVICE_TOKEN_SCOPE": "feed", "SERVICE_TOKEN_ISSUER": "https://tokens.example"}
    known = settings(monkeypatch, **CLIENT, **more)
    assert isinstance(service_token(known), ClientToken)
    assert token_client(known) == TokenClient(
        "https://tokens.example", "identity", secret_file=Path("secret"), scope="feed"
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"SERVICE_TOKEN_FILE": ""}, "SERVICE_CLIENT_ID is wrong: .*one of SERVICE_TOKEN_FILE and"),
        ({**CLIENT, "SERVICE_TOKEN_FILE": "file"}, "SERVICE_CLIENT_ID is wrong: .*one of SERVICE_TOKEN_FILE"),
        ({**CLIENT, "SERVICE_CLIENT_SECRET_FILE": ""}, "SERVICE_CLIENT_KEY_FILE is wrong: .*set one of"),
        ({**CLIENT, "SERVICE_CLIENT_KEY_FILE": "key"}, "SERVICE_CLIENT_KEY_FILE is wrong: .*set one of"),
    ],
)
def test_both_or_none_is_refused(
    changed: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=f"IDENTITY_{named}"):
        settings(monkeypatch, **changed)


@pytest.mark.parametrize(("starts_at", "begins"), [("06:59", True), ("07:00", False), ("23:00", False)])
def test_r12_a_nightly_check_that_would_never_begin_is_refused(
    starts_at: str, begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRATION_NIGHTLY_AT", starts_at)
    with pytest.raises(ConfigurationError) as refused:
        RegistrationSettings.from_environment()  # other settings are missing
    assert ("REGISTRATION_NIGHTLY_AT is wrong" in str(refused.value)) != begins
