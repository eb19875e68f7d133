"""Clocks, processes of their own, agreement, and what a report says about the machine."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np

T = TypeVar("T")
MEBIBYTE = 1 << 20
_SHORT, _MOST_CALLS = 0.01, 100
CHILD = Path(__file__).with_name("child.py")
PEERS = ("sympy", "numexpr", "pyoperon")
_PACKAGES = ("synthlab", "numpy", "numba", "scipy", "scikit-learn")


def timed(work: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Median and least wall-clock seconds of a call; short calls are repeated until the clock can tell."""
    seconds = [_seconds(work, 1)]
    calls = max(1, math.ceil(_SHORT / max(seconds[0], 1e-9))) if seconds[0] < _SHORT else 1
    if calls > 1:
        seconds = [_seconds(work, min(calls, _MOST_CALLS))]
    seconds += [_seconds(work, min(calls, _MOST_CALLS)) for _ in range(repeats - 1)]
    return summary(seconds)


def _seconds(work: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def alternated(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Wall-clock seconds of works that take turns, so that what else the machine does weighs on all alike.

    A first round is not kept: it warms up.
    """
    rounds = [{name: _seconds(work, 1) for name, work in works.items()} for _ in range(repeats + 1)][1:]
    return {name: [seconds[name] for seconds in rounds] for name in works}


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median and least of seconds, as `timed` gives them."""
    return {"median_s": statistics.median(seconds), "min_s": min(seconds)}


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios of works that took turns, turn by turn."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def rate(amount: float, timing: dict[str, float]) -> float:
    """Amount per second at the median."""
    return amount / timing["median_s"]


def check(agreed: Any, what: str) -> None:
    """End the benchmark where two ways to one result disagree."""
    if not agreed:
        raise SystemExit(f"disagreement: {what}")


def peak_megabytes() -> float:
    """Largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` would count the parent's memory too, which is shared until a child starts
        return float(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE


def memory_of(work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Result of a call, with the peak of the process and what the call added, at least the 1 MiB that can be told."""
    import psutil

    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of the imports
    before = psutil.Process().memory_info().rss / MEBIBYTE
    result = work()
    peak = peak_megabytes()
    return result, {"peak_mib": peak, "work_mib": max(1.0, peak - before)}


def in_process(function: str, **arguments: Any) -> Any:
    """Result of ``module.function`` of this folder in a fresh process, whose peak of memory is then its own."""
    command = [sys.executable, str(CHILD), function, json.dumps(arguments)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout)


def installed(name: str) -> bool:
    """Whether a peer can be imported."""
    return importlib.util.find_spec(name) is not None


# ---------------------------------------------------------------- the machine


def load() -> float:
    """Processes that ran or waited over the last minute; zero where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def machine() -> dict[str, Any]:
    """Processor, cores, system and versions."""
    names = [*_PACKAGES, *filter(installed, PEERS)]
    found = {name: _version(name) for name in names}
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **{n: v for n, v in found.items() if v}},
    }


def _version(name: str) -> str:
    """Version of a package; empty where it is not installed, or, like synthlab, is run from its folder."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@numba.njit(cache=True)
def _random_reads(table, num, dependent):
    """Sum over `num` random rows; where reads are dependent, each waits for the one before it."""
    mask, total, factor = np.uint64(len(table) - 1), np.uint64(0), np.uint64(0x9E3779B97F4A7C15)
    for k in range(num):
        seed = np.uint64(k)
        if dependent:
            seed ^= total
        slot = ((seed * factor) >> np.uint64(32)) & mask
        total += table[slot, 0] ^ table[slot, 1]
    return total


def bench_memory(repeats: int, table_bytes: int, copied_bytes: int) -> dict[str, Any]:
    """Bandwidth of a copy, and nanoseconds of a random 16-byte read, alone and where many overlap."""
    source = np.ones(copied_bytes // 8)
    target = np.zeros_like(source)
    copy = timed(lambda: np.copyto(target, source), repeats)
    table = np.random.default_rng(0).integers(0, 1 << 61, size=(table_bytes // 16, 2), dtype=np.uint64)
    num = min(len(table), 1 << 22)
    _random_reads(table, 1, False)  # compiles
    reads = {name: timed(lambda d=name == "dependent": _random_reads(table, num, d), repeats)
             for name in ("overlapping", "dependent")}  # fmt: skip
    return {
        "copied_mib": copied_bytes / MEBIBYTE, "copy": copy,
        "copy_gb_s": copied_bytes / copy["median_s"] / 1e9,
        "table_mib": table_bytes / MEBIBYTE, "reads": reads,
        **{f"{name}_read_ns": 1e9 * timing["median_s"] / num for name, timing in reads.items()},
    }  # fmt: skip
