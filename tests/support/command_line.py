"""An installation's environment, for the commands that tests run in their own process."""

import pytest
from pydantic import SecretStr

from shared.platform.settings import ServiceSettings


def put_into_environment(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """These settings and no others; no local stack is looked at."""
    monkeypatch.delenv("RUN_DIR", raising=False)
    for name, value in settings.model_dump().items():
        variable = f"{settings.prefix()}{name.upper()}"
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            text = value.get_secret_value() if isinstance(value, SecretStr) else value
            monkeypatch.setenv(variable, str(text))
