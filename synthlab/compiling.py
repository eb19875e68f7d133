"""Numba for every kernel of the package, with compilations that Ctrl-C does not tear.

An interrupt inside a compilation is lost in a callback of LLVM, or becomes an error of the compiler in its place
("no compiled object yet"). So it waits until the kernel in hand is compiled and cached, seconds at most.
"""

from __future__ import annotations

from typing import Any

import numba
from numba.core import event

from synthlab.interrupts import WAITING

__all__ = ["numba"]

_LOCKED = "numba:compiler_lock"  # held from before a cached kernel is looked up until a compiled one is cached


class _Compilation(event.Listener):
    def on_start(self, event: Any) -> None:
        WAITING.hold()

    def on_end(self, event: Any) -> None:
        WAITING.release()


event.register(_LOCKED, _Compilation())
