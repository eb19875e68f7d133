"""What an enumeration will take, predicted before it starts, and refusal of what will not fit.

Numbers of programs are exact. Numbers of functions are exact up to a pilot enumeration of a fraction of a
second and extrapolated beyond it: tree-like classes grow as c r^n n^(-3/2) (Flajolet and Sedgewick 2009,
VII.3), which two sizes determine. Seconds come from timing samples on this machine.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.language.grammar import Grammar
from synthlab.language.identity import FINGERPRINT_SEED, FingerprintPoints, fingerprints, identity_algebra
from synthlab.language.measure import max_length, operand_sizes, smallest_size
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE
from synthlab.universe.counting import program_counts, unrank
from synthlab.universe.enumeration import grow
from synthlab.universe.hashing import KeySet, num_slots

SHARE = 0.8
"""Part of the free memory, and of the free disk, that work may take unless told otherwise."""
_PILOT_CANDIDATES = 1_000_000
_SAMPLE = 20_000
_MOST_CALIBRATION_KEYS = 1 << 23
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_CGROUP_USES = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")


def free_memory() -> float:
    """Bytes of memory that are free, within the limit of a container."""
    import psutil

    free = float(psutil.virtual_memory().available)
    for limit, used in zip(map(Path, _CGROUP_LIMITS), map(Path, _CGROUP_USES), strict=True):
        if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
            free = min(free, float(limit.read_text()) - float(used.read_text()))
    return free


def free_disk(folder: Path) -> float:
    """Bytes free where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an enumeration may take.

    Parameters
    ----------
    memory_bytes
        Peak memory; 80 % of what is free by default.
    disk_bytes
        Disk; 80 % of what is free by default.
    seconds
        Wall-clock time; unlimited by default.
    """

    memory_bytes: float = field(default_factory=lambda: SHARE * free_memory())
    disk_bytes: float = math.inf
    seconds: float = math.inf

    def __post_init__(self) -> None:
        if not (self.memory_bytes > 0 and self.disk_bytes > 0 and self.seconds > 0):
            raise ConfigurationError(f"limits must be positive: {self}")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Prediction of one enumeration.

    Attributes
    ----------
    what
        "texts" or "functions".
    max_size, measure
        The bound.
    programs
        Exact number of program texts.
    functions
        Number of functions: exact where the pilot reached the bound, else extrapolated; NaN for texts.
    candidates
        Operator applications of the enumeration.
    memory_bytes, disk_bytes, seconds
        Peak memory, size on disk, and wall-clock time of the work.
    smaller
        Plan of the same universe with a smaller bound.
    """

    what: str
    max_size: int
    measure: str
    programs: int
    functions: float
    candidates: float
    memory_bytes: float
    disk_bytes: float
    seconds: float
    smaller: Callable[[int], Plan] = field(repr=False, compare=False)

    def excess(self, limits: Limits) -> list[str]:
        """What exceeds the limits, in words."""
        compared = [
            (self.memory_bytes, limits.memory_bytes, "memory", 1e9, "GB"),
            (self.disk_bytes, limits.disk_bytes, "disk", 1e9, "GB"),
            (self.seconds, limits.seconds, "time", 1.0, "s"),
        ]
        return [f"{need / unit:,.1f} {sign} of {name} ({have / unit:,.1f} allowed)"
                for need, have, name, unit, sign in compared if need > have]  # fmt: skip

    def require(self, limits: Limits | None = None) -> None:
        """Refuse work that would not fit.

        Raises
        ------
        BudgetExceeded
            With the prediction, and the largest size that would fit.
        """
        limits = limits or Limits()
        excess = self.excess(limits)
        if not excess:
            return
        fitting = self._largest_fitting(limits)
        advice = f"{fitting} {self.measure} would fit" if fitting is not None else "no size fits"
        count = f"{self.programs:,}" if self.programs < 10**15 else f"{self.programs:.3g}"
        counted = f"{count} programs" if self.what == "texts" else f"about {self.functions:,.0f} functions"
        raise BudgetExceeded(f"{counted} of up to {self.max_size} {self.measure} need {' and '.join(excess)}: {advice}")

    def _largest_fitting(self, limits: Limits) -> int | None:
        for size in range(self.max_size - 1, smallest_size(self.measure) - 1, -1):
            if not self.smaller(size).excess(limits):
                return size
        return None

    def row(self) -> dict[str, Any]:
        """The prediction as one row of a table."""
        functions = None if math.isnan(self.functions) else self.functions
        return {
            "what": self.what, self.measure: self.max_size, "programs": self.programs, "functions": functions,
            "candidates": self.candidates, "memory_gb": self.memory_bytes / 1e9, "disk_gb": self.disk_bytes / 1e9,
            "seconds": self.seconds,
        }  # fmt: skip


# ---------------------------------------------------------------- texts


def plan_texts(grammar: Grammar, max_size: int, measure: str = "leaves", seed: int = FINGERPRINT_SEED) -> Plan:
    """Predict the enumeration of all texts with their classes, held in memory."""
    return _plan_texts(grammar, max_size, measure, _seconds_per_text(grammar, max_size, measure, seed))


def _plan_texts(grammar: Grammar, max_size: int, measure: str, seconds_per_text: float) -> Plan:
    programs = sum(program_counts(grammar, max_size, measure))
    length = max_length(grammar, max_size, measure)
    return Plan(
        what="texts", max_size=max_size, measure=measure, programs=programs, functions=math.nan, candidates=programs,
        # token matrix and its comparison with the leaf tokens; leaves, class and id
        memory_bytes=programs * (2.0 * length + 1 + 4 + 8), disk_bytes=programs * (length + 5.0),
        seconds=programs * seconds_per_text,
        smaller=lambda size: _plan_texts(grammar, size, measure, seconds_per_text),
    )  # fmt: skip


def _seconds_per_text(grammar: Grammar, max_size: int, measure: str, seed: int) -> float:
    """Time to write and fingerprint one text, on a sample of the largest size whose ids fit 63 bits."""
    while sum(program_counts(grammar, max_size, measure)) >= 1 << 62:
        max_size -= 1
    total = sum(program_counts(grammar, max_size, measure))
    ids = np.random.default_rng(0).integers(0, total, size=min(_SAMPLE, total))
    fingerprints(grammar, unrank(grammar, ids[:1], max_size, measure), seed)  # compiles
    start = time.perf_counter()
    fingerprints(grammar, unrank(grammar, ids, max_size, measure), seed)
    return (time.perf_counter() - start) / len(ids)


# ---------------------------------------------------------------- functions


@dataclass(frozen=True, eq=False)
class _Pilot:
    """A small enumeration: new functions per size (from size 0), and seconds per candidate."""

    counts: list[int]
    executed: int
    seconds_per_candidate: float
    width: int


def plan_functions(
    grammar: Grammar, max_size: int, measure: str = "leaves", seed: int = FINGERPRINT_SEED
) -> Plan:  # fmt: skip
    """Predict the enumeration of all functions, held in memory."""
    return _plan_functions(grammar, max_size, measure, _run_pilot(grammar, max_size, measure, seed))


def _run_pilot(grammar: Grammar, max_size: int, measure: str, seed: int) -> _Pilot:
    algebra, smallest = identity_algebra(grammar, seed), smallest_size(measure)
    for _ in grow(grammar, algebra, min(max_size, smallest + 2), measure=measure, num_threads=1):
        pass  # compiles
    counts, executed, done, seconds = [0] * smallest, 0, 1, 0.0
    start = time.perf_counter()
    for size, table in enumerate(grow(grammar, algebra, max_size, measure=measure, num_threads=1), smallest):
        seconds = time.perf_counter() - start
        counts, done, executed = [0] * smallest + table.counts(), table.executed - executed, table.executed
        counts += [0] * (size + 1 - len(counts))
        if size < max_size and _candidates(grammar, counts, size + 1, measure) + executed > _PILOT_CANDIDATES:
            break
        start = time.perf_counter()
    width = 2 if isinstance(algebra, FingerprintPoints) else algebra.terminals.shape[1]
    return _Pilot(counts, executed, seconds / max(done, 1), width)


def _candidates(grammar: Grammar, counts: list[float] | list[int], size: int, measure: str) -> float:
    """Operator applications of one size, from the numbers of new functions of the smaller ones."""
    total = 0.0
    for operator in grammar.operators:
        if measure == "depth":
            found = float(sum(counts[:size])) ** operator.arity
        else:
            found = sum(math.prod(counts[s] for s in sizes) for sizes in operand_sizes(measure, operator.arity, size))
        total += found / 2 if operator.commutative else found
    return total


def extrapolated_counts(grammar: Grammar, counts: list[int], max_size: int, measure: str) -> list[float]:
    """New functions per size (from size 0) continued to `max_size`."""
    known: list[float] = list(map(float, counts))
    present = [n for n, c in enumerate(known) if c and n]
    step = present[-1] - present[-2] if len(present) > 1 else 1
    for size in range(len(known), max_size + 1):
        if measure == "depth":
            share = known[-1] / max(_candidates(grammar, known[:-1], size - 1, measure), 1.0)
            known.append(share * _candidates(grammar, known, size, measure))
        elif (size - present[-1]) % step:
            known.append(0.0)
        else:
            sizes = (size - step, size - 2 * step)
            scaled = [known[n] * n**1.5 for n in sizes] if len(present) > 1 else [1.0, 1.0]
            known.append(min(scaled[0] ** 2 / scaled[1] / size**1.5, _candidates(grammar, known, size, measure)))
    return known


def _plan_functions(grammar: Grammar, max_size: int, measure: str, pilot: _Pilot) -> Plan:
    counts = extrapolated_counts(grammar, pilot.counts, max_size, measure)[: max_size + 1]
    functions, last = sum(counts), counts[-1]
    candidates = sum(_candidates(grammar, counts, size, measure) for size in range(len(counts)))
    row = 2 + 4 * grammar.max_arity + 16 + (8 * pilot.width if pilot.width > 2 else 0)
    # hash slots and what is collected while the last size grows; then the table, twice while it is joined
    growing = 16 * num_slots(int(functions)) + last * (row + 8)
    memory = (functions - last) * row + max(growing, last * (2 * row + 8))
    extra = _seconds_of_misses(int(functions)) if candidates > pilot.executed else 0.0
    threads = os.cpu_count() or 1
    return Plan(
        what="functions", max_size=max_size, measure=measure,
        programs=sum(program_counts(grammar, max_size, measure)), functions=functions, candidates=candidates,
        memory_bytes=memory, disk_bytes=functions * row,
        seconds=candidates * (pilot.seconds_per_candidate + extra / threads),
        smaller=lambda size: _plan_functions(grammar, size, measure, pilot),
    )  # fmt: skip


def _seconds_of_misses(num_keys: int) -> float:
    """Time by which a look-up in so large a hash table exceeds one in the cache."""
    keys = np.random.default_rng(0).integers(0, PRIME, size=(1 << 16, 2), dtype=np.uint64)
    fresh = np.empty(len(keys), dtype=np.int32)
    seconds = []
    for expected in (len(keys), min(num_keys, _MOST_CALIBRATION_KEYS)):
        table = KeySet(expected)
        start = time.perf_counter()
        table.insert(keys, len(keys), UNDEFINED_RESIDUE, fresh)
        seconds.append((time.perf_counter() - start) / len(keys))
    return max(0.0, seconds[1] - seconds[0])
