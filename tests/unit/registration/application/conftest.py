"""Registration's use cases in memory."""

import pytest

from tests.support.registration import RegistrationUseCases, registration_in_memory


@pytest.fixture
def in_memory_registration() -> RegistrationUseCases:
    """On 11 September 2025, with the member of the seed at home."""
    return registration_in_memory()
