"""Identity's settings: `IDENTITY_…` in the environment."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.platform.settings import ServiceSettings


class Settings(ServiceSettings):
    """The settings of identity: its own, and those of both services."""

    model_config = SettingsConfigDict(env_prefix="IDENTITY_")

    registration_url: str
    account_directory_url: str | None = None  # of two HTTP requests; another kind: the file
    account_directory: Path | None = None  # TOML: kind, address and attributes; both None: no directory
    catalogues: Path | None = None  # TOML: account providers and catalogues; None: account ids only
    referral_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 15  # from link-required to the counter (I12)
    counter_url: str | None = None  # the counter's pages, for the links of referrals; None: no links
    organisations: Path  # TOML file of the guest libraries and their own ISILs
    oidc_audience: str = "identity"
    port: int = 8002
    worker_port: int = 8012
