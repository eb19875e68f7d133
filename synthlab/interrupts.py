"""Work that Ctrl-C may not tear: it waits until such work is done, and then arrives."""

from __future__ import annotations

import signal
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Waiting:
    """Takes Ctrl-C from `hold` to the last `release`, and hands it to whom it was meant for afterwards.

    Only the main thread is ever interrupted, so nothing waits in others.
    """

    def __init__(self) -> None:
        self.depth, self.struck = 0, False
        self.meant_for: Callable[[int, types.FrameType | None], Any] | None = None

    def hold(self) -> None:
        """Let Ctrl-C wait; one that came before is raised here."""
        if threading.current_thread() is not threading.main_thread():
            return
        if self.depth == 0:
            handler = signal.getsignal(signal.SIGINT)
            self.meant_for, self.struck = handler if callable(handler) else None, False
            if self.meant_for is not None:
                signal.signal(signal.SIGINT, self._note)
        self.depth += 1

    def release(self) -> None:
        """Once for every `hold`: the last lets Ctrl-C through."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.depth -= 1
        if self.depth == 0 and self.meant_for is not None:
            handler, self.meant_for = self.meant_for, None
            signal.signal(signal.SIGINT, handler)
            if self.struck:
                signal.raise_signal(signal.SIGINT)

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        self.struck = True


WAITING = Waiting()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for work of less than seconds, such as changes of the process that have to be undone."""
    WAITING.hold()
    try:
        yield
    finally:
        WAITING.release()
