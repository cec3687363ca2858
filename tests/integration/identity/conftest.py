"""Identity over a fresh database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.identity_service import LoginDesk, open_desk


@pytest.fixture
async def desk(database: str, tmp_path: Path) -> AsyncIterator[LoginDesk]:
    """Identity, running."""
    async with open_desk(database, tmp_path) as opened:
        yield opened
