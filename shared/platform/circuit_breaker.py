"""A side that keeps failing is left alone for a while, so that nobody waits for it: the circuit breaker."""

from collections.abc import Callable
from time import monotonic

_FAILURES_TO_OPEN = 5
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class CircuitBreaker:
    """Opens after five failures in a row: for 1 second, then twice as long each time, at most 30 seconds.

    What is a failure, the caller says: a reply that cannot be read says that the side is there (R23).

    After the pause one question is let through as a trial. Its result closes the breaker or opens it again.
    If a trial has no result, the next trial follows after another pause.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.succeeded()

    def succeeded(self) -> None:
        """Close the breaker: the side replied."""
        self._failures = 0
        self._pause = _FIRST_PAUSE
        self._open_until: float | None = None
        self._on_trial = False

    @property
    def is_open(self) -> bool:
        """Whether the side is left alone, or was until the trial that is due."""
        return self._open_until is not None

    def lets_through(self) -> bool:
        """Return whether to ask now. After the pause only the first caller may."""
        if self._open_until is None:
            return True
        if self._clock() < self._open_until:
            return False
        self._open_until = self._clock() + self._pause
        self._on_trial = True
        return True

    def failed(self) -> None:
        """Count a failure, and open the breaker when there were enough."""
        self._failures += 1
        if self._on_trial:
            self._on_trial = False
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        elif self._open_until is not None or self._failures < _FAILURES_TO_OPEN:
            return  # asked before it opened, or too few failures
        self._open_until = self._clock() + self._pause
