"""A model's programs completed from a library: meet in the middle with the model on one side.

A program that is wrong may be wrong in one subtree only. For every place of every proposal the outputs that a subtree
would need there follow from the target and from the rest of the program, and one look-up says whether a library
holds a function with these outputs. A proposal of n subtrees thus stands for n times as many programs as there
are functions in the library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.language.identity import mix
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE
from synthlab.search.filtering import ProposalSolver, consider_all
from synthlab.search.holes import Holes
from synthlab.search.library import Library, may_hold, slot_of, spread, sum_keys
from synthlab.search.meeting import MeetInTheMiddle, Target, prefix_of
from synthlab.search.problem import Attempt
from synthlab.search.proposer import Proposer
from synthlab.search.symbolic import meetings, require_same, submit
from synthlab.universe.hashing import KeyNumbers

_P, _ONE = np.uint64(PRIME), np.uint64(1)
_AT_ONCE = 512
"""Most look-ups between two looks at the budget."""
_WATCHED, _FEW, _LEAST_MET = 10, 4, 8
"""Points that a look-up reads, the number below which it scans instead, and how many a meeting needs to mean much."""
_MOST_ROWS = 64
"""Completions of one hole that are tried: only where a divisor must not vanish are later ones ever needed."""


# ---------------------------------------------------------------- many look-ups


@numba.njit(cache=True, nogil=True)
def _agree(row, codes, wanted, known):
    g = 0
    while g < len(wanted) and (not known[g] or codes[row, g] == wanted[g]):
        g += 1
    return g == len(wanted)


@numba.njit(cache=True, nogil=True)
def _find(key, slots, rows, bits, codes, wanted, known, last, out):
    """Rows below `last` with one hash and the wanted outputs, smallest first, as many as fit; returns their number."""
    count, mixed = 0, spread(key)
    if not may_hold(mixed, bits):
        return 0
    slot = slot_of(mixed, slots)
    while slots[slot] != 0 and count < len(out):  # rows of one hash stand in the order of the library
        if slots[slot] == key + _ONE and rows[slot] < last and _agree(rows[slot], codes, wanted, known):
            out[count] = rows[slot]
            count += 1
        slot = (slot + _ONE) & np.uint64(len(slots) - 1)
    return count


@numba.njit(cache=True, nogil=True)
def _scan(usable, codes, wanted, known, last, out):
    """The same by a look at every row."""
    count = 0
    for row in range(last):
        if usable[row] and _agree(row, codes, wanted, known):
            out[count] = row
            count += 1
            if count == len(out):
                break
    return count


@numba.njit(cache=True, nogil=True)
def _find_first(keys, slots, rows, bits, codes, wanted, known, found):
    for k in range(len(keys)):
        _find(keys[k], slots, rows, bits, codes, wanted[k], known[k], len(codes), found[k : k + 1])


class PartialLookup:
    """Look-ups of outputs that are known at some points only.

    A hash of few points is enough to find candidates, which are compared at all known points. One index over points
    then serves every target that is known there; points at which functions are rarely zero serve most.

    Parameters
    ----------
    library
        Where to look.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._sets: list[np.ndarray] = []
        self._set_of: dict[bytes, int] = {}

    def first(self, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Row of the smallest function with the outputs (T, G) where they are known (T, G), (T,); -1 for none."""
        library, found = self.library, np.full(len(codes), -1)
        packed = np.packbits(known, axis=1)
        _, one, which = np.unique(packed, axis=0, return_index=True, return_inverse=True)
        sets = np.array([self._choose(known[row]) for row in one], dtype=np.int64)[which.ravel()]
        for number in np.unique(sets):
            rows = np.flatnonzero(sets == number)
            if number < 0:
                for row in rows:
                    _scan(library.usable, library.codes, codes[row], known[row], len(library), found[row : row + 1])
                continue
            keys, own = self._keys(codes[rows], number), np.full(len(rows), -1)
            table = library.additive(self._sets[number]).table
            _find_first(keys, *table, library.codes, codes[rows], known[rows], own)
            found[rows] = own
        return found

    def all(self, codes: np.ndarray, known: np.ndarray, room: int) -> np.ndarray:
        """Rows of functions with the outputs (G,) where known (G,) that are not larger than `room`, smallest first."""
        library, out = self.library, np.empty(_MOST_ROWS, dtype=np.int64)
        number, judge = self._choose(known), (library.codes, codes, known, library.num_up_to(room), out)
        if number < 0:
            return out[: _scan(library.usable, *judge)]
        table = library.additive(self._sets[number]).table
        return out[: _find(self._keys(codes[None], number)[0], *table, *judge)]

    def _keys(self, codes: np.ndarray, number: int) -> np.ndarray:
        return sum_keys(codes, np.ones(len(codes), dtype=bool), self._sets[number])

    def _choose(self, known: np.ndarray) -> int:
        """Number of a set of known points; -1 for too few points, which many functions share."""
        name = known.tobytes()
        if name not in self._set_of:
            if known.sum() < _FEW:
                return -1
            number = next((n for n, points in enumerate(self._sets) if (known | ~points).all()), len(self._sets))
            if number == len(self._sets):
                points = np.zeros(len(known), dtype=bool)
                points[self.library.point_order[known[self.library.point_order]][:_WATCHED]] = True
                self._sets.append(points)
            self._set_of[name] = number
        return self._set_of[name]


# ---------------------------------------------------------------- the solver


@dataclass(frozen=True, eq=False)
class _Targets:
    """Different outputs wanted in holes.

    Attributes
    ----------
    holes
        Where.
    rows, numbers
        Holes that something may fill (R,), and the number of what is wanted in each (R,), by first appearance.
    first
        The first hole of each (T,).
    """

    holes: Holes
    rows: np.ndarray
    numbers: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, holes: Holes) -> _Targets:
        rows = holes.rows()
        keys = mix(np.where(holes.known[rows], holes.codes[rows], UNDEFINED_RESIDUE))
        keys[keys[:, 0] == UNDEFINED_RESIDUE] = 0  # anything will do: a wish like others
        numbers, first = KeyNumbers().number(keys, UNDEFINED_RESIDUE)
        return cls(holes, rows, numbers, rows[first])

    def roomiest(self) -> np.ndarray:
        """For each the first of the holes with most room (T,)."""
        order = np.lexsort([self.rows, -self.holes.room[self.rows], self.numbers])
        return self.rows[order[np.flatnonzero(np.diff(self.numbers[order], prepend=-1))]]


class Completion(ProposalSolver):
    """Proposals with one subtree replaced by a function from a library.

    Parameters
    ----------
    library
        What fills holes; its building, and the proposer's training, are the `setup`.
    proposer, num
        As in `ProposalSolver`; proposals are candidates themselves, before any hole is made.
    name
        What results are reported under.
    meet
        When no function fills any hole, try two of them below one operator in every hole in turn.

    Raises
    ------
    ConfigurationError
        For meeting in a library by depth, whose functions do not add up.
    """

    def __init__(
        self, library: Library, proposer: Proposer | None, num: int, name: str | None = None, meet: bool = False
    ) -> None:
        if meet and library.table.measure == "depth":
            raise ConfigurationError("depths of two halves do not add up: meet in a library by leaves or nodes")
        super().__init__(proposer, num, name, f"{num} {'met in the middle' if meet else 'completed'}")
        self.library, self.meet, self.setup = library, meet, self.setup + library.cost
        self._lookup = PartialLookup(library)

    def search(self, attempt: Attempt) -> None:
        require_same(self.library, attempt.problem)
        super().search(attempt)

    def answer(self, attempt: Attempt, prefix: np.ndarray) -> None:
        consider_all(attempt, prefix)
        if attempt.over or not len(prefix):
            return
        targets = _Targets.of(Holes.of(attempt.problem, prefix))
        self._fill(attempt, targets)
        if self.meet and not attempt.over:
            self._meet(attempt, targets)

    def _fill(self, attempt: Attempt, targets: _Targets) -> None:
        """Look for one function for every hole."""
        holes, start = targets.holes, 0
        while start < len(targets.first) and not attempt.over:
            left = attempt.meter.left("tested", attempt.meter.left("lookups", _AT_ONCE))
            wanted = targets.first[start : start + left]
            found = self._lookup.first(holes.codes[wanted], holes.known[wanted])
            attempt.meter.lookups += len(wanted)
            here = np.flatnonzero((targets.numbers >= start) & (targets.numbers < start + len(wanted)))
            row = found[targets.numbers[here] - start]
            small = row < np.searchsorted(self.library.table.sizes, holes.room[targets.rows[here]], side="right")
            for hole in targets.rows[here[(row >= 0) & small]]:
                self._submit(attempt, holes, int(hole))
            start += len(wanted)

    def _submit(self, attempt: Attempt, holes: Holes, hole: int) -> None:
        """Hand in what fills a hole."""
        if attempt.program is None:
            rows = self._lookup.all(holes.codes[hole], holes.known[hole], int(holes.room[hole]))
            submit(attempt, [holes.filled(hole, prefix_of(self.library, int(row))) for row in rows])

    def _meet(self, attempt: Attempt, targets: _Targets) -> None:
        """Look for two functions for every hole that has room for more than the library holds."""
        holes = targets.holes
        for hole in targets.roomiest():
            if attempt.over:
                return
            room, known = int(holes.room[hole]), holes.known[hole]
            if room <= self.library.max_size or known.sum() < min(_LEAST_MET, len(known)):
                continue
            meeting = MeetInTheMiddle(self.library, Target(holes.codes[hole], known), room)
            for found in meetings(attempt, meeting):
                submit(attempt, [holes.filled(int(hole), half.text(self.library)) for half in found])
