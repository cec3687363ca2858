"""A clean stop: SIGTERM and SIGINT set an event, and everything ends what it has in hand."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that is set by the first of the signals; the old handlers are restored afterwards."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    before = {each: signal.getsignal(each) for each in SIGNALS}
    for each in SIGNALS:
        loop.add_signal_handler(each, stopping.set)
    try:
        yield stopping
    finally:
        for each, handler in before.items():
            loop.remove_signal_handler(each)
            signal.signal(each, handler)
