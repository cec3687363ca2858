"""A library that keeps failing is left alone, and tried again."""

import asyncio
from dataclasses import dataclass, field

import pytest

from registration.adapters.home_library.client import DirectoryHomeLibraries
from registration.adapters.home_library.errors import TimedOut
from registration.adapters.home_library.settings import Directory, read_directory
from registration.application.dependencies import LibraryState
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.verdict import NotFound
from shared.platform.circuit_breaker import CircuitBreaker

LIBRARY = '[libraries.NL-070288]\nhost = "127.0.0.1"\nport = 1\n'


def directory(text: str, **environment: str) -> Directory:
    return read_directory(text, environment)


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
    libraries = DirectoryHomeLibraries(directory(LIBRARY), lambda isil, found: library)
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


@dataclass
class Watched:
    """A library that answers when it may, and knows whether it was closed."""

    connections: int = 1
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    closed: int = 0

    async def ask(self, card_number: str) -> NotFound:
        self.asked += 1
        await self.may_answer.wait()
        return NotFound()

    def close(self) -> None:
        self.closed += 1


async def test_only_a_library_whose_settings_changed_gets_new_connections() -> None:
    made: list[tuple[str, Watched]] = []

    def connect(isil: str, found: Directory) -> Watched:
        made.append((isil, Watched()))
        return made[-1][1]

    def environment(text: str, letter: str = "a") -> Directory:
        return directory(text, U="u", P=letter)

    with_login = LIBRARY + 'username_env = "U"\npassword_env = "P"\n'
    other = '[libraries.NL-070297]\nhost = "127.0.0.1"\nport = 2\n'
    libraries = DirectoryHomeLibraries(environment(with_login + other), connect)
    (_, first), (_, second) = made
    # A name and aliases change no connection, and the breaker stays as it is.
    libraries.replace(environment(with_login + 'name = "A"\naliases = ["NL-000001"]\n' + other))
    assert len(made) == 2
    first.may_answer.set()
    await libraries.ask("NL-000001", "0990139305")
    assert first.asked == 1

    # The credential changed: a question that is under way ends with the old one, which is closed then.
    under_way = asyncio.create_task(libraries.ask("NL-070297", "0990139305"))
    await asyncio.sleep(0)
    libraries.replace(environment(with_login + other.replace("port = 2", "port = 3"), "b"))
    assert [isil for isil, _ in made[2:]] == ["NL-070288", "NL-070297"]
    assert (first.closed, second.closed) == (1, 0)
    second.may_answer.set()
    assert await under_way == NotFound()
    assert second.closed == 1

    libraries.replace(environment(with_login, "b"))
    assert made[3][1].closed == 1
    with pytest.raises(UnknownHomeLibrary):
        await libraries.ask("NL-070297", "0990139305")
    assert made[2][1].closed == 0


async def test_a_breaker_stays_open_over_a_change_elsewhere() -> None:
    libraries = DirectoryHomeLibraries(directory(LIBRARY), lambda isil, found: Failing())
    for _ in range(6):
        await libraries.ask("NL-070288", "0990139305")
    libraries.replace(directory(LIBRARY + '[libraries.NL-070297]\nhost = "127.0.0.1"\nport = 2\n'))
    states = libraries.states()
    assert (states["NL-070288"].left_alone, states["NL-070297"].left_alone) == (True, False)
