"""Until when work may take: an interrupt that is repeated until it is heard, and a clock that trainings look at."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_UNTIL: ContextVar[float | None] = ContextVar("until", default=None)
_AGAIN_SECONDS = 2.0


def time_is_up() -> bool:
    """Whether the work of this thread has come to its end (`limited`)."""
    until = _UNTIL.get()
    return until is not None and time.time() >= until


class Alarm(threading.Thread):
    """Interrupts the main thread from a time on, as Ctrl-C would, and again every two seconds until it is stopped.

    Once is not enough: libraries lose an interrupt that reaches them in a callback, or catch whatever comes.
    """

    def __init__(self, at: float) -> None:
        super().__init__(daemon=True)
        self.at, self.over = at, threading.Event()

    def run(self) -> None:
        pause = max(0.0, self.at - time.time())
        while not self.over.wait(min(pause, threading.TIMEOUT_MAX)):
            _thread.interrupt_main()
            pause = _AGAIN_SECONDS

    def stop(self) -> None:
        """No more interrupts; one that is on its way arrives here, and not in what comes next."""
        late = False
        while self.is_alive():
            try:
                self.over.set()
                self.join()
            except KeyboardInterrupt:
                late = True
        if late:
            raise KeyboardInterrupt


@contextmanager
def limited(stop_at: float | None) -> Iterator[None]:
    """Interrupt what runs here when time is up; None for never.

    A training looks at the clock itself between two steps, keeps what it learned and ends. So it does in threads
    other than the main one, which no interrupt reaches: whatever else has begun there is finished.
    """
    before = _UNTIL.set(stop_at)
    alarm = Alarm(stop_at) if stop_at is not None and threading.current_thread() is threading.main_thread() else None
    try:
        if alarm is not None:
            alarm.start()
        yield
    finally:
        _UNTIL.reset(before)
        if alarm is not None:
            alarm.stop()
