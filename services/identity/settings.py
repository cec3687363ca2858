"""Identity's settings: `IDENTITY_…` in the environment."""

from pathlib import Path

from pydantic_settings import SettingsConfigDict

from shared.platform.settings import ServiceSettings


class Settings(ServiceSettings):
    """What identity needs beside what both services need."""

    model_config = SettingsConfigDict(env_prefix="IDENTITY_")

    registration_url: str
    account_directory_url: str | None = None  # none: only accounts that were imported or opened here
    organisations: Path  # TOML: the guest libraries, of which each is the home of its own members
    service_token_file: Path
    port: int = 8002
