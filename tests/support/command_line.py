"""Settings for a command that a test runs in this process."""

from __future__ import annotations

import pytest

from shared.settings import ServiceSettings


def give_settings(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put these, and no others, into the environment of the service's commands; without a broker."""
    monkeypatch.delenv("RUN_DIR", raising=False)
    for name, value in settings.model_dump().items():
        variable = f"{settings.prefix()}{name.upper()}"
        monkeypatch.delenv(variable, raising=False)
        if value is not None and name != "amqp_url":
            secret = getattr(value, "get_secret_value", None)
            monkeypatch.setenv(variable, str(secret() if secret else value))
