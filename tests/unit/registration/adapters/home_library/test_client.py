"""A library that keeps failing is left alone, and tried again."""

from registration.adapters.home_library.client import DirectoryHomeLibraries
from registration.adapters.home_library.errors import TimedOut
from registration.application.dependencies import LibraryState
from registration.domain.verdict import NotFound
from shared.platform.circuit_breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def opened(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(clock)
    for _ in range(5):
        assert breaker.lets_through()
        breaker.failed()
    return breaker


def test_it_opens_after_five_failures_in_a_row() -> None:
    assert not opened(Clock()).lets_through()


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = CircuitBreaker(Clock())
    for _ in range(20):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.lets_through()


def test_after_the_pause_one_trial_goes_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.seconds += 1.0
    assert [breaker.lets_through() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert breaker.lets_through()


def test_each_failed_trial_doubles_the_pause_up_to_thirty_seconds() -> None:
    clock = Clock()
    breaker = opened(clock)
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        clock.seconds += pause - 0.1
        assert not breaker.lets_through()
        clock.seconds += 0.1
        assert breaker.lets_through()
        breaker.failed()


def test_stragglers_that_fail_while_it_is_open_lengthen_nothing() -> None:
    clock = Clock()
    breaker = opened(clock)
    for _ in range(50):
        breaker.failed()
    clock.seconds += 1.0
    assert breaker.lets_through()


def test_a_trial_without_a_result_makes_room_for_another() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.seconds += 1.0
    assert breaker.lets_through()
    clock.seconds += 1.0
    assert breaker.lets_through()


class Failing:
    """A home library that never replies, unless it is told to."""

    connections = 1
    verdict: NotFound | None = None

    async def ask(self, card_number: str) -> NotFound:
        if self.verdict is None:
            raise TimedOut
        return self.verdict

    def close(self) -> None: ...


async def test_the_state_shows_the_last_reply_and_whether_the_library_is_left_alone() -> None:
    library = Failing()
    libraries = DirectoryHomeLibraries({"NL-070288": library}, {})
    assert libraries.states() == {"NL-070288": LibraryState()}
    library.verdict = NotFound()
    await libraries.ask("NL-070288", "0990139305")
    state = libraries.states()["NL-070288"]
    assert (state.left_alone, state.last and state.last.verdict) == (False, "not_found")
    library.verdict = None
    for _ in range(6):
        await libraries.ask("NL-070288", "0990139305")
    state = libraries.states()["NL-070288"]
    assert state.left_alone
    assert state.last is not None
    assert (state.last.verdict, state.last.reason) == ("unavailable", TimedOut().reason)
