"""What a training is wrapped in: signals, memory, randomness of the caller, and quiet."""

from __future__ import annotations

import gc
import logging
import random
import signal
import threading
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from synthlab.errors import ConfigurationError


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seeded weights, and the caller's random numbers as they were afterwards."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
    random.setstate(of_python)
    np.random.set_state(of_numpy)  # noqa: NPY002


@contextmanager
def memory_errors(batch_size: int) -> Iterator[None]:
    """A device that is out of memory as one line that names a smaller batch; what was allocated is let go."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "t allocate memory" not in str(error):
            raise
        error.__traceback__ = None  # its frames hold the tensors
        problem = ConfigurationError(
            f"out of device memory with batches of {batch_size}: "
            + (f"use batch_size={batch_size // 2}, or a smaller model" if batch_size > 1 else "use a smaller model")
        )
    else:
        return
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise problem from None


class StopSignal:
    """Ctrl-C, or a scheduler's SIGTERM, as a flag that is looked at between steps; a second one interrupts at once."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.seen = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.seen

    def listen(self) -> None:
        """Take the signals; again once Lightning has put its own handlers in front, which would end the process."""
        if threading.current_thread() is threading.main_thread():  # else leave them to whoever owns them
            for number in self.NUMBERS:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True


@contextmanager
def interrupts() -> Iterator[StopSignal]:
    """A `StopSignal` that listens for a while; the handlers of before return."""
    before = {number: signal.getsignal(number) for number in StopSignal.NUMBERS}
    stop = StopSignal()
    stop.listen()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's hints about workers, devices and tips, which say nothing about the science."""
    loggers = [logging.getLogger(n) for n in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
