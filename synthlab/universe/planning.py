"""What an enumeration will take, predicted before it starts, and refusal of what will not fit.

Numbers of programs are exact. Numbers of functions are exact up to a pilot enumeration of a fraction of a
second and extrapolated beyond it: tree-like classes grow as c r^n n^(-3/2) (Flajolet and Sedgewick 2009,
VII.3), which two sizes determine. Seconds come from timing samples on this machine.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.language.grammar import Grammar
from synthlab.language.identity import FINGERPRINT_SEED, FingerprintPoints, fingerprints, identity_algebra
from synthlab.language.measure import max_length, operand_sizes, operator_weight, smallest_size
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE
from synthlab.universe.counting import program_counts, readable, unrank
from synthlab.universe.enumeration import BLOCK, SPARE, VALUES_AT_ONCE, grow
from synthlab.universe.hashing import KeySet, num_slots
from synthlab.universe.pruning import redundancy_rules

SHARE = 0.8
"""Part of the free memory, and of the free disk, that work may take unless told otherwise."""
_PILOT_CANDIDATES = 1_000_000
WORTH_A_PLAN = 2_000_000
_WORTH_A_LOOK = 1e8
_SAMPLE = 50_000
_LOOKED_UP = 0.6
"""Share of the candidates that the redundancy rules of + - * leave to be looked up."""
_MOST_CALIBRATION_KEYS = 1 << 21
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_CGROUP_USES = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
_CGROUP_STATS = ("/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat")


def free_memory() -> float:
    """Bytes of memory that are free, within the limit of a container."""
    import psutil

    free = float(psutil.virtual_memory().available)
    for limit, used, stat in zip(*(map(Path, p) for p in (_CGROUP_LIMITS, _CGROUP_USES, _CGROUP_STATS)), strict=False):
        if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
            free = min(free, float(limit.read_text()) - float(used.read_text()) + _page_cache(stat))
    return free


def _page_cache(stat: Path) -> float:
    """Bytes of files in memory that the system gives up when they are needed otherwise."""
    lines = (line.split() for line in stat.read_text().splitlines()) if stat.is_file() else ()
    return float(dict(lines).get("inactive_file", 0))


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


def require_memory(num: int, need: float) -> None:
    """Refuse programs that would not fit into the memory that is free.

    Raises
    ------
    BudgetExceeded
        With what they need and what they may take.
    """
    if need > _WORTH_A_LOOK and need > (have := Limits().memory_bytes):
        needs = f"{_bytes(need)} of memory ({_bytes(have)} allowed)"
        raise BudgetExceeded(f"{readable(num)} programs need {needs}: draw fewer")


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
        Number of functions: exact where the pilot reached the bound, else extrapolated.
    candidates
        Operator applications of the enumeration (functions), or texts to evaluate.
    memory_bytes, disk_bytes, seconds
        Peak memory in memory, size on disk, and wall-clock time of the work.
    row_bytes
        Memory of one function, or of one text, while it is an operand or stored.
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
    row_bytes: float
    smaller: Callable[[int], Plan] = field(repr=False, compare=False)

    def excess(self, limits: Limits) -> list[str]:
        """What exceeds the limits, in words."""
        compared = [
            ("memory", self.memory_bytes, limits.memory_bytes, _bytes),
            ("disk", self.disk_bytes, limits.disk_bytes, _bytes),
            ("time", self.seconds, limits.seconds, lambda seconds: f"{seconds:,.1f} s"),
        ]
        return [f"{text(need)} of {name} ({text(have)} allowed)" for name, need, have, text in compared if need > have]

    def require(self, limits: Limits | None = None, *, in_memory: bool = False) -> None:
        """Refuse work that would not fit; of work in memory the disk is not asked.

        Raises
        ------
        BudgetExceeded
            With the prediction, and the largest size that would fit.
        """
        limits = limits or Limits()
        limits = replace(limits, disk_bytes=math.inf) if in_memory else limits
        excess = self.excess(limits)
        if not excess:
            return
        fitting = self._largest_fitting(limits)
        advice = f"{fitting} {self.measure} would fit" if fitting is not None else "no size fits"
        functions = f"about {self.functions:,.0f}" if self.functions < 1e15 else f"about {self.functions:.1g}"
        counted = f"{readable(self.programs)} programs" if self.what == "texts" else f"{functions} functions"
        needs = " and ".join([*excess, *(() if self.seconds > limits.seconds else (f"about {_time(self.seconds)}",))])
        raise BudgetExceeded(f"{counted} of up to {self.max_size} {self.measure} need {needs}: {advice}")

    def _largest_fitting(self, limits: Limits) -> int | None:
        smallest = smallest_size(self.measure)
        sizes = range(smallest, self.max_size)  # what is needed never falls with the size
        num = bisect.bisect_left(sizes, True, key=lambda size: bool(self.smaller(size).excess(limits)))
        return smallest + num - 1 if num else None

    def row(self) -> dict[str, Any]:
        """The prediction as one row of a table."""
        programs = self.programs if math.isfinite(_float(self.programs)) else readable(self.programs)
        numbers = {
            "functions": self.functions, "candidates": self.candidates, "memory_gb": self.memory_bytes / 1e9,
            "disk_gb": self.disk_bytes / 1e9, "seconds": self.seconds,
        }  # fmt: skip
        finite = {name: float(n) if math.isfinite(n) else None for name, n in numbers.items()}
        return {"what": self.what, self.measure: self.max_size, "programs": programs, **finite}


def _bytes(num: float) -> str:
    if num >= 1e15:
        return f"{num / 1e9:.3g} GB"
    return f"{num / 1e9:,.1f} GB" if num >= 5e7 else f"{num / 1e6:,.3g} MB"


def _time(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds:.2g} s" if seconds < 99.5 else f"{seconds / 60:.0f} minutes"
    hours = seconds / 3600
    return f"{hours:,.0f} hours" if hours < 1e5 else f"{hours / 8766:.2g} years"


def _float(number: int) -> float:
    """A big integer as a float; infinite beyond its range."""
    return float(number) if number.bit_length() < 1000 else math.inf


def _known(number: float) -> float:
    """A prediction, infinite where it left the floats."""
    return math.inf if math.isnan(number) else number


# ---------------------------------------------------------------- texts


def plan_texts(grammar: Grammar, max_size: int, measure: str = "leaves", seed: int = FINGERPRINT_SEED) -> Plan:
    """Predict the enumeration of all texts with their classes, held in memory."""
    pilot = _run_pilot(grammar, max_size, measure, seed)
    return _plan_texts(grammar, max_size, measure, pilot, _seconds_per_text(grammar, max_size, measure, seed))


def _plan_texts(grammar: Grammar, max_size: int, measure: str, pilot: _Pilot, seconds_per_text: float) -> Plan:
    count = sum(program_counts(grammar, max_size, measure))
    programs, length = _float(count), max_length(grammar, max_size, measure)
    functions = min(programs, sum(extrapolated_counts(grammar, pilot.counts, max_size, measure)[: max_size + 1]))
    classes = 24.0 * functions  # keys and ids
    return Plan(
        what="texts", max_size=max_size, measure=measure, programs=count, functions=functions, candidates=programs,
        # tokens, their comparison with the leaves and its sums; or tokens, leaves, classes and one block of values
        memory_bytes=max(
            programs * (2.0 * length + 8),
            programs * (length + 5.0) + 2 * classes + _block_bytes(programs, pilot.width),
            _candidate_bytes(pilot.width),
        ),
        disk_bytes=programs * (length + 5.0) + classes, seconds=programs * seconds_per_text, row_bytes=length + 5.0,
        smaller=lambda size: _plan_texts(grammar, size, measure, pilot, seconds_per_text),
    )  # fmt: skip


def _block_bytes(programs: float, width: int) -> float:
    """Memory of the values of one block of texts, and of what they are compared by."""
    return 24.0 * width * min(programs, VALUES_AT_ONCE // width)


def _candidate_bytes(width: int) -> float:
    """Memory of one block of candidates on probes: values of operands and results, and what they are compared by."""
    return 64.0 * width * min(BLOCK, VALUES_AT_ONCE // width) if width > 2 else 0.0


def _seconds_per_text(grammar: Grammar, max_size: int, measure: str, seed: int) -> float:
    """Time to write and fingerprint one text, on a sample of the largest size whose ids fit 63 bits."""
    totals = list(itertools.accumulate(program_counts(grammar, max_size, measure)))
    size = smallest_size(measure) + sum(total < 1 << 62 for total in totals) - 1
    total = totals[size - smallest_size(measure)]
    ids = np.random.default_rng(0).integers(0, total, size=min(_SAMPLE, total))
    fingerprints(grammar, unrank(grammar, ids[:1], size, measure), seed)  # compiles
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        fingerprints(grammar, unrank(grammar, ids, size, measure), seed)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / len(ids)


# ---------------------------------------------------------------- functions


@dataclass(frozen=True, eq=False)
class _Pilot:
    """A small enumeration: new functions per size (from size 0), and seconds per candidate."""

    counts: list[int]
    executed: int
    seconds_per_candidate: float
    width: int


def plan_functions(grammar: Grammar, max_size: int, measure: str = "leaves", seed: int = FINGERPRINT_SEED) -> Plan:
    """Predict the enumeration of all functions, held in memory."""
    return _plan_functions(grammar, max_size, measure, _run_pilot(grammar, max_size, measure, seed))


def require_functions(
    grammar: Grammar, max_size: int, measure: str = "leaves", *, row_bytes: float, limits: Limits | None = None
) -> None:
    """Refuse functions that would not fit in memory with what is to be held of each; few are not planned.

    `row_bytes` is the memory per function beside the enumeration's own.

    Raises
    ------
    BudgetExceeded
        With the prediction, and the largest size that would fit.
    """
    if limits is not None or sum(program_counts(grammar, max_size, measure)) > WORTH_A_PLAN:
        plan = plan_functions(grammar, max_size, measure)
        _with_rows(plan, row_bytes).require(limits, in_memory=True)


def _with_rows(plan: Plan, row_bytes: float) -> Plan:
    """The same plan where more is held of every function."""
    return replace(
        plan, memory_bytes=plan.memory_bytes + plan.functions * row_bytes, row_bytes=plan.row_bytes + row_bytes,
        smaller=lambda size: _with_rows(plan.smaller(size), row_bytes),
    )  # fmt: skip


@functools.lru_cache(maxsize=32)
def _run_pilot(grammar: Grammar, max_size: int, measure: str, seed: int) -> _Pilot:
    algebra, smallest = identity_algebra(grammar, seed), smallest_size(measure)
    width = 2 if isinstance(algebra, FingerprintPoints) else algebra.terminals.shape[1]
    most = _PILOT_CANDIDATES * 2 // width
    for _ in grow(grammar, algebra, min(max_size, smallest + 2), measure=measure):
        pass  # compiles
    counts, executed, done, seconds = [0] * smallest, 0, 1, 0.0
    start = time.perf_counter()
    for size, table in enumerate(grow(grammar, algebra, max_size, measure=measure), smallest):
        seconds = time.perf_counter() - start
        counts, done, executed = [0] * smallest + table.counts(), table.executed - executed, table.executed
        counts += [0] * (size + 1 - len(counts))
        if size < max_size and _candidates(grammar, counts, size + 1, measure) + executed > most:
            break
        start = time.perf_counter()
    return _Pilot(counts, executed, seconds / max(done, 1), width)


def _candidates(grammar: Grammar, counts: list[float] | list[int], size: int, measure: str) -> float:
    """Operator applications of one size, from the numbers of new functions of the smaller ones."""
    total, rest = 0.0, size - operator_weight(measure)
    for operator in grammar.operators:
        if measure == "depth":
            alike = float(sum(counts[:size]))
            found = math.prod([alike] * operator.arity)
        else:
            alike = float(counts[rest // 2]) if rest > 1 and rest % 2 == 0 else 0.0
            found = sum(math.prod(counts[s] for s in sizes) for sizes in operand_sizes(measure, operator.arity, size))
        # of two operands in either order one is looked at; pairs of one function with itself have one order
        total += (found + alike) / 2 if operator.commutative else found
    return total


def extrapolated_counts(grammar: Grammar, counts: list[int], max_size: int, measure: str) -> list[float]:
    """New functions per size (from size 0) continued to `max_size`."""
    known: list[float] = list(map(float, counts))
    present = [n for n, c in enumerate(known) if c and n]
    step = present[-1] - present[-2] if len(present) > 1 else 1
    for size in range(len(known), max_size + 1):
        if measure == "depth":
            share = known[-1] / max(_candidates(grammar, known[:-1], size - 1, measure), 1.0)
            known.append(_known(share * _candidates(grammar, known, size, measure)))
        elif (size - present[-1]) % step:
            known.append(0.0)
        else:
            sizes = (size - step, size - 2 * step)
            one, two = (known[n] * n**1.5 for n in sizes) if len(present) > 1 else (1.0, 1.0)
            grown = one * (one / two) / size**1.5 if math.isfinite(one) else math.inf
            known.append(min(grown, _candidates(grammar, known, size, measure)))
    return known


def _plan_functions(grammar: Grammar, max_size: int, measure: str, pilot: _Pilot) -> Plan:
    counts = extrapolated_counts(grammar, pilot.counts, max_size, measure)[: max_size + 1]
    functions, last = sum(counts), counts[-1]
    candidates = sum(_candidates(grammar, counts, size, measure) for size in range(len(counts)))
    operands = 1 + 4.0 * grammar.max_arity + 16
    values = 8.0 * pilot.width if pilot.width > 2 else 0.0
    row = operands + 1 + values
    # hash slots and what is collected while the last size grows; then the table, twice while it is joined
    growing = 16.0 * num_slots(int(min(SPARE * functions, 2.0**60))) + SPARE * last * (operands + 8)
    # smaller functions also in their orders by text, with their inverses, and what makes them redundant
    memory = (functions - last) * (row + 60) + max(growing, last * (row + operands + values + 8))
    extra = _seconds_of_misses(num_slots(int(min(functions, _MOST_CALIBRATION_KEYS))))
    extra *= _LOOKED_UP if redundancy_rules(grammar).any() else 1.0
    return Plan(
        what="functions", max_size=max_size, measure=measure,
        programs=sum(program_counts(grammar, max_size, measure)), functions=functions, candidates=candidates,
        memory_bytes=_known(max(memory, _candidate_bytes(pilot.width))),
        # every piece with the numbers of its candidates, and all sizes but the last once more, merged
        disk_bytes=functions * (operands + 8) + (functions - last) * operands,
        seconds=candidates * (pilot.seconds_per_candidate + (extra if candidates > pilot.executed else 0.0)),
        row_bytes=row, smaller=lambda size: _plan_functions(grammar, size, measure, pilot),
    )  # fmt: skip


@functools.lru_cache(maxsize=64)
def _seconds_of_misses(slots: int) -> float:
    """Time by which a look-up in a hash table of so many slots exceeds one in the cache."""
    keys = np.random.default_rng(0).integers(0, PRIME, size=(1 << 16, 2), dtype=np.uint64)
    fresh = np.empty(len(keys), dtype=np.int32)
    seconds = []
    for expected in (len(keys), slots // 2):
        table = KeySet(expected)
        start = time.perf_counter()
        table.insert(keys, len(keys), UNDEFINED_RESIDUE, fresh)
        seconds.append((time.perf_counter() - start) / len(keys))
    return max(0.0, seconds[1] - seconds[0])
