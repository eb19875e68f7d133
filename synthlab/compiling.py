"""Numba for every kernel of the package, with compilations that Ctrl-C does not tear.

An interrupt inside a compilation is lost in a callback of LLVM, or becomes an error of the compiler in its place
("no compiled object yet"). So it waits until the kernel in hand is compiled and cached, seconds at most, and then
arrives as what it is.
"""

from __future__ import annotations

import signal
import threading
import types
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

__all__ = ["numba"]

_LOCKED = "numba:compiler_lock"  # held from before a cached kernel is looked up until a compiled one is cached


class _Waiting(event.Listener):
    """Takes Ctrl-C while the main thread compiles, and hands it to whom it was meant for afterwards."""

    def __init__(self) -> None:
        self.depth, self.struck = 0, False
        self.meant_for: Callable[[int, types.FrameType | None], Any] | None = None

    def on_start(self, event: Any) -> None:
        if threading.current_thread() is not threading.main_thread():  # no other thread is ever interrupted
            return
        if self.depth == 0:
            handler = signal.getsignal(signal.SIGINT)
            self.meant_for, self.struck = handler if callable(handler) else None, False
            if self.meant_for is not None:
                signal.signal(signal.SIGINT, self._note)
        self.depth += 1

    def on_end(self, event: Any) -> None:
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


event.register(_LOCKED, _Waiting())
