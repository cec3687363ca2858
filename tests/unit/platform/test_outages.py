"""Which errors are those of a database that cannot be used now, whatever they are wrapped in."""

from __future__ import annotations

import asyncpg
import pytest

from shared.platform.postgres import is_caused_by_outage, is_transient
from shared.web.problem_handlers import problem_of_unexpected

GONE = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
STATES_OF_AN_OUTAGE = (
    *("08000", "08001", "08003", "08004", "08006"),  # the connection
    *("25006", "40001", "40P01"),  # a standby; ended to let another one go on
    *("53000", "53100", "53200", "53300"),  # no space, no memory, too many connections
    *("57014", "57P01", "57P02", "57P03", "57P05"),  # stopped, crashed, not there yet, idle for too long
    *("58000", "58030", "58P01"),  # files
)


def of_state(state: str) -> Exception:
    """The driver's error for what the server says."""
    error: Exception = asyncpg.PostgresError.new({"C": state, "M": "text"})
    return error


@pytest.mark.parametrize("state", STATES_OF_AN_OUTAGE)
def test_every_state_of_an_outage_is_transient(state: str) -> None:
    assert is_transient(of_state(state))


@pytest.mark.parametrize("state", ["22P02", "23505", "42P01", "42501", "XX000"])
def test_what_another_attempt_does_not_change_is_not(state: str) -> None:
    error = of_state(state)
    assert not is_transient(error)
    assert problem_of_unexpected(error).status == 500


@pytest.mark.parametrize(
    "outage",
    [
        GONE,
        asyncpg.InternalClientError("got result for unknown protocol state 3"),
        asyncpg.ProtocolError("insufficient data"),
        asyncpg.InterfaceError("cannot call Connection.fetch(): connection is closed"),
        asyncpg.CrashShutdownError("terminating connection because of crash of another server process"),
        asyncpg.DiskFullError("could not extend file"),
    ],
)
def test_an_error_that_came_of_an_outage_is_known_by_it(outage: Exception) -> None:
    try:
        try:
            raise outage
        finally:
            None.close()  # type: ignore[attr-defined] # as a driver does whose connection has gone
    except AttributeError as error:
        found = error
    from_it = RuntimeError("wrapped")
    from_it.__cause__ = outage
    for each in (outage, found, from_it, ExceptionGroup("two", [ValueError(), from_it])):
        assert is_caused_by_outage(each)
        problem = problem_of_unexpected(each)
        assert (problem.status, "Retry-After" in (problem.headers or {})) == (503, True)


def test_errors_of_ours_and_of_other_sides_are_not() -> None:
    circle = RuntimeError("round")
    circle.__context__ = ValueError("and round")
    circle.__context__.__context__ = circle
    for error in (circle, asyncpg.DataError("wrong argument"), ConnectionResetError(), TimeoutError()):
        assert not is_caused_by_outage(error)
