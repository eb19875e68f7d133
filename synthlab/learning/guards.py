"""What a training is wrapped in: signals, memory, randomness of the caller, and quiet."""

from __future__ import annotations

import gc
import logging
import random
import signal
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch

from synthlab.deadline import time_is_up
from synthlab.errors import ConfigurationError

T = TypeVar("T")
_OUT_OF_MEMORY = ("t allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED")


@contextmanager
def own_state(seed: int) -> Iterator[None]:
    """Seeded weights, and gradients; the caller's random numbers and modes as they were afterwards.

    An interrupt that strikes as PyTorch begins or ends to do without gradients leaves the process without them.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(seed)
            yield
    finally:  # also after Ctrl-C
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that something could not be allocated, on the host or on a device."""
    said = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY)
    return said or isinstance(error, MemoryError)


def within_memory(batch_size: int, work: Callable[[], T]) -> T:
    """Do what allocates; a device that is out of memory is one line that names a smaller batch.

    The error is raised here, where no frame of the failed work is left: a notebook keeps the last traceback, and
    with it all that its frames hold.

    Raises
    ------
    ConfigurationError
        If there is too little memory.
    """
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    raise ConfigurationError(
        f"out of device memory with batches of {batch_size}: "
        + (f"use batch_size={batch_size // 2}, or a smaller model" if batch_size > 1 else "use a smaller model")
    )


class StopSignal:
    """Ctrl-C, a scheduler's SIGTERM or the end of a slice as a flag that is looked at between steps.

    A second Ctrl-C interrupts at once; the end of a slice is told again and again, and waits for the step.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.seen = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.seen or time_is_up()

    def listen(self) -> None:
        """Take the signals; again once Lightning has put its own handlers in front, which would end the process."""
        if threading.current_thread() is threading.main_thread():  # else leave them to whoever owns them
            for number in self.NUMBERS:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        if self.seen and not time_is_up():
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
                # a handler that Python has not installed cannot be put back by it
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


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
