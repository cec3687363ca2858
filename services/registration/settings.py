"""Registration's settings: `REGISTRATION_…` in the environment."""

from datetime import time
from pathlib import Path

from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """What registration needs beside what both services need."""

    model_config = SettingsConfigDict(env_prefix="REGISTRATION_")

    identity_url: str
    home_libraries: Path  # TOML: how each home library is reached
    organisations: Path  # TOML: the guest libraries
    service_token_file: Path
    nightly_at: time = time(2, 30)  # in Europe/Amsterdam: when terms are checked at home (R12)
    port: int = 8001
