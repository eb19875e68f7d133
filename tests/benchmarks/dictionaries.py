"""Meet in the middle in plain Python: dictionaries from outputs to rows, asked for what is missing beside each part."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from synthlab.language.interpreter import grid_outputs
from synthlab.search.library import Library

Rows = dict[tuple[int, ...], list[int]] | dict[bytes, list[int]]


class Tuples:
    """Tuples of outputs, and a loop over the parts; for the polynomial operators ``+ - *`` on whole numbers."""

    def __init__(self, library: Library) -> None:
        self.library, self.sizes = library, library.table.sizes.tolist()
        self.outputs = grid_outputs(library.grammar, library.table.text())
        self._tuples = [tuple(row) for row in self.outputs.tolist()]
        self._known: dict[tuple[int, ...], Rows] = {}

    def keys(self, where: Sequence[int]) -> Iterable[tuple[int, ...]] | Iterable[bytes]:
        """What every row is found by: its outputs at some points."""
        return (tuple(row[k] for k in where) for row in self._tuples)

    def known(self, where: tuple[int, ...]) -> Rows:
        """Rows by their outputs at some points; kept, as targets are zero in the same places again."""
        if where not in self._known:
            rows: Rows = defaultdict(list)
            for row, key in enumerate(self.keys(where)):
                rows[key].append(row)
            self._known[where] = dict(rows)
        return self._known[where]

    def smaller_half(self, wanted: np.ndarray, room: int) -> int:
        """Size of the smaller half of an answer of at most `room` leaves; 0 for the target itself, -1 for none."""
        goal, where = tuple(wanted.tolist()), tuple(np.flatnonzero(wanted).tolist())
        whole = self.known(tuple(range(len(goal))))
        if goal in whole:
            return 0
        factors = self.known(where)
        for a in range(self.library.num_up_to(room // 2)):
            part, most = self._tuples[a], room - self.sizes[a]
            rests = (
                tuple(map(operator.sub, goal, part)), tuple(map(operator.sub, part, goal)),
                tuple(map(operator.add, goal, part)),
            )  # fmt: skip
            if any(self.sizes[b] <= most for rest in rests for b in whole.get(rest, ())):
                return self.sizes[a]
            if all(part[k] and goal[k] % part[k] == 0 for k in where):
                quotient = tuple(goal[k] // part[k] for k in where)
                if any(self.sizes[b] <= most and self.multiplies(a, b, wanted) for b in factors.get(quotient, ())):
                    return self.sizes[a]
        return -1

    def multiplies(self, a: int, b: int, wanted: np.ndarray) -> bool:
        """Whether a product is right where the target is zero, too."""
        return bool((self.outputs[a] * self.outputs[b] == wanted).all())


class Bytes(Tuples):
    """Outputs as bytes, and the rests of many parts at once by NumPy: what plain Python is left with is the look-up."""

    at_once = 1 << 12

    def keys(self, where: Sequence[int]) -> Iterable[bytes]:
        return as_bytes(self.outputs[:, where])

    def smaller_half(self, wanted: np.ndarray, room: int) -> int:
        where = np.flatnonzero(wanted)
        whole, factors = self.known(tuple(range(len(wanted)))), self.known(tuple(where.tolist()))
        if wanted.tobytes() in whole:
            return 0
        for low in range(0, self.library.num_up_to(room // 2), self.at_once):
            found = self._halves(wanted, where, whole, factors, low, room)
            if found:
                return min(found)
        return -1

    def _halves(
        self, wanted: np.ndarray, where: np.ndarray, whole: Rows, factors: Rows, low: int, room: int
    ) -> list[int]:
        """Sizes of the parts in a block that have the right rest."""
        parts = self.outputs[low : min(low + self.at_once, self.library.num_up_to(room // 2))]
        pairs = []
        for rests in (wanted - parts, parts - wanted, wanted + parts):
            hits = map(whole.get, as_bytes(rests))
            pairs += [(low + k, b) for k, rows in enumerate(hits) if rows for b in rows]
        divisors = parts[:, where]
        fits = (divisors != 0).all(axis=1)
        fits[fits] = (wanted[where] % divisors[fits] == 0).all(axis=1)
        hits = map(factors.get, as_bytes(wanted[where] // divisors[fits]))
        for k, rows in zip(np.flatnonzero(fits).tolist(), hits, strict=True):
            pairs += [(low + k, b) for b in rows or () if self.multiplies(low + k, b, wanted)]
        return [self.sizes[a] for a, b in pairs if self.sizes[a] + self.sizes[b] <= room]


def as_bytes(rows: np.ndarray) -> list[bytes]:
    """Rows (K, P) of whole numbers as one string of bytes each."""
    width = rows.shape[1] * rows.itemsize
    whole = np.ascontiguousarray(rows).tobytes()
    return [whole[k : k + width] for k in range(0, len(whole), width)]


DICTIONARIES = {"dictionary of tuples": Tuples, "dictionary of bytes, NumPy": Bytes}
