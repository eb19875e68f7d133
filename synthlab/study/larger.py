"""Tasks beyond an enumerated universe: functions of random programs of one size, each of them once.

Texts are drawn uniformly among all of their size, so that a function is met in proportion to the number of its
texts. Most texts collapse: x * y - (y * x - 2) is the constant 2. The size drawn is therefore only an upper bound
of a function's minimal size; a library of all functions up to a size gives a lower bound, since equal functions
have equal fingerprints and what is not in it needs more. How many draws were left out, and why, is counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthlab.assessment.tasks import Tasks
from synthlab.errors import ConfigurationError, GrammarError, SynthlabError
from synthlab.language.grammar import Grammar
from synthlab.language.identity import FINGERPRINT_SEED, check_coefficients, fingerprints, grid_codes
from synthlab.language.interpreter import grid_outputs, in_range
from synthlab.language.measure import sizes_of
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.search.library import Library
from synthlab.universe.hashing import HashIndex, KeyNumbers, KeySet
from synthlab.universe.sampling import sample_programs

FIRST_ID = -2
"""Class id of the first task that belongs to no universe; the next ones count down, and -1 stays "no class"."""
OUTCOMES = (
    "accepted", "undefined", "known", "smaller", "out of range", "no value on the grid", "repeated",
)  # fmt: skip
"""What becomes of a drawn program; `LargerTasks` says what each means."""
_ACCEPTED, _UNDEFINED, _KNOWN, _SMALLER, _OUT_OF_RANGE, _NO_VALUE, _REPEATED = range(len(OUTCOMES))
_FIRST_BATCH, _LARGEST_BATCH = 1 << 12, 1 << 16
_KEYS_AT_ONCE = 1 << 20
_LEAST_DRAWS, _DRAWS_PER_TASK = 1 << 18, 256
"""When to give up: fewer than one program in 256 is a new function then."""


@dataclass(frozen=True, eq=False)
class LargerTasks:
    """Functions of random programs, and what the draw cost.

    Attributes
    ----------
    tasks
        What solvers and the checker take (T). `class_leaves` are the leaves of the drawn text, an upper bound of
        the minimal number; class ids are -2, -3, ..., unique within these tasks only.
    prefix
        The drawn texts (T, L), for the checker and figures only.
    num_drawn
        Programs drawn up to the last task.
    left_out
        How many of them were left out, by the first reason that applies: undefined (no function), known (one of
        the given fingerprints), smaller (in the library), out of range (a value on the grid, or on the way to it, is
        not exact), no value on the grid (at some point, for this text), repeated (the function is a task already).
    """

    tasks: Tasks
    prefix: np.ndarray
    num_drawn: int
    left_out: Mapping[str, int]

    @property
    def acceptance(self) -> float:
        """Share of the drawn programs that became tasks."""
        return len(self.tasks) / self.num_drawn

    def frame(self) -> pd.DataFrame:
        """What became of the drawn programs: outcome, programs, share."""
        counts = {OUTCOMES[_ACCEPTED]: len(self.tasks), **self.left_out}
        shares = [count / self.num_drawn for count in counts.values()]
        return pd.DataFrame({"outcome": list(counts), "programs": list(counts.values()), "share": shares})


def larger_tasks(
    grammar: Grammar, size: int, num: int, *, measure: str = "leaves", seed: int = 0, beyond: Library | None = None,
    known: np.ndarray | None = None,
) -> tuple[Tasks, np.ndarray]:  # fmt: skip
    """Tasks of `draw_larger` with their drawn texts (T, L), which are for the checker and figures only."""
    drawn = draw_larger(grammar, size, num, measure=measure, seed=seed, beyond=beyond, known=known)
    return drawn.tasks, drawn.prefix


def draw_larger(
    grammar: Grammar, size: int, num: int, *, measure: str = "leaves", seed: int = 0, beyond: Library | None = None,
    known: np.ndarray | None = None,
) -> LargerTasks:  # fmt: skip
    """Draw distinct functions of random programs of exactly one size; answers of up to that size count.

    Parameters
    ----------
    grammar, size, measure
        The language, and the size of every drawn text, which is also the bound on answers.
    num, seed
        How many tasks, and the seed of the draw; fewer tasks of the same seed are the first of these.
    beyond
        All functions up to a smaller size: none of them becomes a task, so that the minimal size of every task is
        proven to be larger than the library's (`proven_larger`).
    known
        Fingerprints (K, 2) of functions that must not occur, such as those of training programs.

    Raises
    ------
    BudgetExceeded
        If identity is not exact at so large a size.
    ConfigurationError
        If the library is of another language, measure or not of a smaller size, or if there are hardly so many new
        functions.
    """
    if num < 1 or seed < 0:
        raise ConfigurationError(f"{num} tasks with seed {seed}: ask for one or more, and for no negative seed")
    check_coefficients(grammar, size, measure)
    if beyond is not None:
        _check_library(beyond, grammar, size, measure)
    sieve = _Sieve(grammar, num, beyond, _known_index(known))
    drawn, counts = _collect(sieve, (_batch(grammar, size, measure, seed, k) for k in itertools.count()))
    if len(drawn) < num:
        raise ConfigurationError(_shortage(size, measure, num, counts))
    left_out = dict(zip(OUTCOMES[1:], counts[1:].tolist(), strict=True))
    return LargerTasks(tasks_of_texts(grammar, drawn, size, measure), drawn, int(counts.sum()), left_out)


def tasks_of_texts(grammar: Grammar, prefix: np.ndarray, max_size: int, measure: str = "leaves") -> Tasks:
    """Tasks that belong to no universe: the functions of texts (T, L), in their order, with ids -2, -3, ...

    `class_leaves` are the leaves of the texts, upper bounds of the minimal numbers.
    """
    num = len(prefix)
    return Tasks(
        grammar=grammar, max_size=max_size, measure=measure, seed=FINGERPRINT_SEED,
        outputs=grid_outputs(grammar, prefix), codes=grid_codes(grammar, prefix),
        class_id=FIRST_ID - np.arange(num), class_leaves=sizes_of(grammar, prefix, "leaves"),
        fingerprints=fingerprints(grammar, prefix), weight=np.ones(num, dtype=np.int64),
    )  # fmt: skip


def proven_larger(library: Library, keys: np.ndarray) -> np.ndarray:
    """Whether functions, given by fingerprints (K, 2), need more than the library's size, bool (K,).

    Equal functions have equal fingerprints, so one that the library lacks is none of its functions. (In grammars
    without exact identity: it differs from all of them on the probes.) False for what is no function.
    """
    numbers, first = KeyNumbers().number(np.ascontiguousarray(keys), UNDEFINED_RESIDUE)
    index, larger = HashIndex(keys[first]), np.ones(len(first) + 1, dtype=bool)
    for start in range(0, len(library), _KEYS_AT_ONCE):  # few keys are indexed and many asked for: no large table
        found = index.find(library.table.keys[start : start + _KEYS_AT_ONCE])
        larger[found[found >= 0]] = False
    larger[-1] = False  # where undefined keys, numbered -1, look
    return larger[numbers]


# ---------------------------------------------------------------- drawing


def _batch(grammar: Grammar, size: int, measure: str, seed: int, batch: int) -> np.ndarray:
    """Random texts; how many does not depend on the number of tasks, so that fewer tasks are the first of more."""
    num = min(_FIRST_BATCH << batch, _LARGEST_BATCH)
    own = int(np.random.SeedSequence([seed, batch]).generate_state(1, np.uint64)[0])
    return sample_programs(grammar, size, num, measure=measure, seed=own)


def _collect(sieve: _Sieve, batches: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Accepted texts, and how often each outcome came up to the last of them; fewer than wanted when given up."""
    texts, counts, missing = [], np.zeros(len(OUTCOMES), dtype=np.int64), sieve.num
    for prefix in batches:
        outcome = sieve.judge(prefix)
        rows = np.flatnonzero(outcome == _ACCEPTED)[:missing]
        missing -= len(rows)
        counts += np.bincount(outcome if missing else outcome[: rows[-1] + 1], minlength=len(OUTCOMES))
        texts.append(prefix[rows])
        if not missing or counts.sum() >= max(_LEAST_DRAWS, _DRAWS_PER_TASK * sieve.num):
            break
    return np.concatenate(texts), counts


def _check_library(library: Library, grammar: Grammar, size: int, measure: str) -> None:
    table = library.table
    if (table.grammar.digest, table.measure) != (grammar.digest, measure):
        raise ConfigurationError(
            f"a library of {table.grammar.name!r} by {table.measure} says nothing of {grammar.name!r} by {measure}: "
            "build one of the same"
        )
    if library.max_size >= size:
        raise ConfigurationError(
            f"the library holds every function up to {library.max_size} {measure}: draw tasks of a larger size"
        )


def _known_index(known: np.ndarray | None) -> HashIndex | None:
    if known is None:
        return None
    keys = np.asarray(known)
    if keys.ndim != 2 or keys.shape[1] != 2 or keys.dtype != np.uint64:
        raise ConfigurationError(f"known functions are fingerprints, uint64 (K, 2), not {keys.dtype} {keys.shape}")
    return HashIndex(np.unique(keys, axis=0))


def _shortage(size: int, measure: str, num: int, counts: np.ndarray) -> str:
    reasons = ", ".join(f"{c:,} {name}" for name, c in zip(OUTCOMES, counts.tolist(), strict=True) if c)
    return (
        f"only {counts[_ACCEPTED]:,} of {num:,} tasks among {counts.sum():,} random programs of {size} {measure} "
        f"({reasons}): ask for fewer tasks, or for a larger size"
    )


@dataclass
class _Sieve:
    """Sorts drawn programs by what becomes of them; remembers the functions that it accepted."""

    grammar: Grammar
    num: int
    beyond: Library | None
    known: HashIndex | None

    def __post_init__(self) -> None:
        self.accepted = KeySet(self.num)

    def judge(self, prefix: np.ndarray) -> np.ndarray:
        """Index into `OUTCOMES` of every program (B,)."""
        outcome = np.full(len(prefix), _OUT_OF_RANGE, dtype=np.int64)
        rows, keys = _in_range(lambda texts: fingerprints(self.grammar, texts), prefix)
        outcome[rows] = self._judge_functions(keys)
        new = outcome[rows] == _ACCEPTED
        rows, keys = rows[new], keys[new]
        outcome[rows] = _OUT_OF_RANGE
        exact, complete = _in_range(lambda texts: _complete(self.grammar, texts), prefix[rows])
        outcome[rows[exact]] = np.where(complete, _REPEATED, _NO_VALUE)
        fresh = np.empty(int(complete.sum()), dtype=np.int64)
        kept = exact[complete]
        count = self.accepted.insert(keys[kept], len(kept), UNDEFINED_RESIDUE, fresh)
        outcome[rows[kept[fresh[:count]]]] = _ACCEPTED
        return outcome

    def _judge_functions(self, keys: np.ndarray) -> np.ndarray:
        outcome = np.full(len(keys), _ACCEPTED, dtype=np.int64)
        if self.beyond is not None:
            outcome[~proven_larger(self.beyond, keys)] = _SMALLER
        if self.known is not None:
            outcome[self.known.find(keys) >= 0] = _KNOWN
        outcome[keys[:, 0] == UNDEFINED_RESIDUE] = _UNDEFINED
        return outcome


def _complete(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """Whether programs have a value at every point of the grid, bool (P,)."""
    codes, outputs = grid_codes(grammar, prefix), grid_outputs(grammar, prefix)
    return (codes != UNDEFINED_RESIDUE).all(axis=1) & np.isfinite(outputs).all(axis=1)


def _in_range(compute: Callable[[np.ndarray], np.ndarray], prefix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `interpreter.in_range`, which is asked about distinct programs where some do not stay exact."""
    try:
        return np.arange(len(prefix)), compute(prefix)
    except GrammarError:
        raise
    except SynthlabError:
        distinct, inverse = np.unique(prefix, axis=0, return_inverse=True)
    kept, values = in_range(compute, distinct)
    place = np.full(len(distinct), -1)
    place[kept] = np.arange(len(kept))
    rows = np.flatnonzero(place[inverse] >= 0)
    return rows, values[place[inverse[rows]]]
