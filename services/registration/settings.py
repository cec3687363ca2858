"""Registration's settings: `REGISTRATION_…` in the environment."""

import os
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, TypeVar

from dotenv import dotenv_values
from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from registration.domain.term_check import MORNING
from shared.platform.settings import ClaimName, ServiceSettings

T = TypeVar("T")


def environment() -> Mapping[str, str]:
    """Where the credentials of home libraries are found: beside the settings."""
    file = Settings.env_file()
    in_file = dotenv_values(file) if file and file.is_file() else {}
    return {**{name: value for name, value in in_file.items() if value}, **os.environ}


class Settings(ServiceSettings):
    """What registration needs beside what both need. With a client id it serves the counter's pages."""

    model_config = SettingsConfigDict(env_prefix="REGISTRATION_")

    identity_url: str
    home_libraries: Path  # TOML: how each home library is reached
    organisations: Path  # TOML: the guest libraries
    webhooks: Path | None = None  # TOML: who gets messages over webhooks; None: nobody
    nightly_at: time = time(2, 30)  # in Europe/Amsterdam: when terms are checked at home (R12)
    nightly_not_found_percent: Annotated[int, Field(ge=1, le=100)] = 5  # more stop a library's check (R12)
    account_handle_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = (
        15  # how long a found account can be chosen
    )
    lookups_per_minute: Annotated[int, Field(ge=1)] = 30  # of one clerk (R22)
    lookups_per_hour: Annotated[int, Field(ge=1)] = 300
    lookups_retention_days: Annotated[int, Field(ge=1)] = 365  # how long look-ups are kept
    oidc_audience: str = "registration"
    identity_subject: str = "identity"  # the claim `sub` of identity's tokens
    port: int = 8001
    worker_port: int = 8011
    oidc_client_id: str | None = None  # of the counter's pages at the issuer; none: no pages
    oidc_client_secret_file: Path | None = None  # none: a public client, with PKCE alone
    oidc_request_scope: str = "openid profile"  # what a sign-in asks for, with spaces
    oidc_name_claim: ClaimName = "name"  # of staff, for the counter's pages
    session_key_file: Annotated[Path | None, Field(validate_default=True)] = (
        None  # signs the sessions' cookies
    )
    counter_url: Annotated[str | None, Field(validate_default=True)] = (
        None  # where browsers reach the counter
    )

    @field_validator("nightly_at")
    @classmethod
    def _in_the_night(cls, starts_at: time) -> time:
        if starts_at >= MORNING:
            raise ValueError(f"must be before {MORNING:%H:%M}: no check begins by itself from then on")
        return starts_at

    @field_validator("session_key_file", "counter_url")
    @classmethod
    def _needed_for_pages(cls, value: T, info: ValidationInfo) -> T:
        if value is None and info.data.get("oidc_client_id"):
            raise ValueError("needed with OIDC_CLIENT_ID, for the pages of the counter")
        return value
