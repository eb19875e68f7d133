"""Programs kept as operands of larger ones, and which candidates are worth keeping.

Of all programs with the same outputs the first one is kept (observational equivalence, Udupa et al. 2013), and
later ones only if they are smaller. Where identity is exact, a program with an output at every point of the grid is
known by its fingerprint, in O(1) a candidate; all others are known by their outputs, missing ones included.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from synthlab.compiling import numba
from synthlab.language import tracing
from synthlab.language.grammar import Grammar
from synthlab.language.identity import identity_algebra, keys_of, mix, observation_algebra
from synthlab.language.program import Program
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE, batch_inverse, combine_arrays
from synthlab.universe.candidates import fingerprint_keys
from synthlab.universe.hashing import empty_slots, num_slots

MARKED = 6
"""Points of the grid at which a program first has to have the wanted outputs."""
_LEAST_ROOM = 1 << 12
_P = np.uint64(PRIME)
_ONE, _SIZE_BITS, _HOME_SHIFT, _SIZE_MASK = np.uint64(1), np.uint64(8), np.uint64(20), np.uint64(255)


class SmallestSizes:
    """Keys of all functions so far, each with the smallest size of its programs (at most 255)."""

    def __init__(self) -> None:
        self.count = 0
        self._slots = empty_slots(num_slots(1 << 15))
        self._ahead = np.empty(1 << 9, dtype=np.uint64)

    def admit(self, keys: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Rows of keys (B, 2) that are new or have become smaller; those of programs without a value never are."""
        wanted = num_slots(self.count + len(keys))
        if wanted > len(self._slots):
            larger = empty_slots(2 * wanted)
            _move(self._slots, larger)
            self._slots = larger
        fresh = np.empty(len(keys), dtype=np.int64)
        num, new = _admit(keys, sizes, self._slots, self._ahead, fresh)
        self.count += new
        return fresh[:num]


@numba.njit(cache=True, nogil=True, inline="always")
def _home(first, second, mask):
    return (first ^ (second >> _HOME_SHIFT)) & mask


@numba.njit(cache=True, nogil=True)
def _admit(keys, sizes, slots, ahead, fresh):
    """A slot holds the first key plus one and, in its second half, 56 bits of the second key above a size."""
    mask, num, new = np.uint64(len(slots) - 1), 0, 0
    for start in range(0, len(keys), len(ahead)):
        stop = min(len(keys), start + len(ahead))
        for row in range(start, stop):  # reads that do not wait for each other bring the slots near
            ahead[row - start] = slots[_home(keys[row, 0], keys[row, 1], mask), 0]
        for row in range(start, stop):
            first, second, size = keys[row, 0], keys[row, 1], np.uint64(sizes[row])
            if first >= _P:
                continue
            slot, part = _home(first, second, mask), second << _SIZE_BITS
            while slots[slot, 0] != 0 and not (slots[slot, 0] == first + _ONE and slots[slot, 1] ^ part <= _SIZE_MASK):
                slot = (slot + _ONE) & mask
            if slots[slot, 0] == 0:
                new += 1
            elif slots[slot, 1] & _SIZE_MASK <= size:
                continue
            slots[slot, 0], slots[slot, 1] = first + _ONE, part | size
            fresh[num] = row
            num += 1
    return num, new


@numba.njit(cache=True, nogil=True)
def _move(old, slots):
    mask = np.uint64(len(slots) - 1)
    for k in range(len(old)):
        if old[k, 0] == 0:
            continue
        slot = _home(old[k, 0] - _ONE, old[k, 1] >> _SIZE_BITS, mask)
        while slots[slot, 0] != 0:
            slot = (slot + _ONE) & mask
        slots[slot, 0], slots[slot, 1] = old[k, 0], old[k, 1]


class Operands:
    """Growing columns of programs with their outputs on the grid, which decide equality.

    Attributes
    ----------
    columns
        By name: root tokens (C,), sizes (C,), rows of their operands (C, max arity), outputs (C, W), and what
        subclasses add; the first `count` rows are filled.
    points
        Points of the grid (W,) at which outputs are computed.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.grammar, self.algebra, self.count = grammar, observation_algebra(grammar), 0
        self.seen, self.points = SmallestSizes(), self._watched()
        self.terminals = np.ascontiguousarray(self.algebra.terminals[:, self.points])
        self.columns: dict[str, np.ndarray] = {
            "tokens": np.empty(0, dtype=np.uint8),
            "sizes": np.empty(0, dtype=np.uint8),
            "operands": np.empty((0, grammar.max_arity), dtype=np.int32),
            "values": self.terminals[:0],
        }

    @staticmethod
    def of(grammar: Grammar) -> Operands:
        """No programs yet, with the fastest equality that the grammar allows."""
        return ProvenOperands(grammar) if grammar.exact else Operands(grammar)

    def _watched(self) -> np.ndarray:
        return np.random.default_rng(1).permutation(self.algebra.terminals.shape[1])

    def values(self, token: int, rows: np.ndarray) -> np.ndarray:
        """Outputs (B, W) of a token on operand rows (B, max arity)."""
        if token < self.grammar.num_terminals:
            return self.terminals[token][None].repeat(len(rows), axis=0)
        operands = [self.columns["values"][rows[:, k]] for k in range(self.grammar.arities[token])]
        return self.algebra.apply(self.grammar.operator(token), *operands)

    def keys(self, token: int, rows: np.ndarray) -> np.ndarray:
        """Keys (B, 2) of a token on operand rows, equal for equal functions; the prime where there is no value."""
        return keys_of(self.algebra, self.values(token, rows))

    def add(self, token: int, sizes: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
        """Keep programs of one token, with their outputs."""
        self._store(tokens=token, sizes=sizes, operands=rows, values=values)

    def _store(self, **parts: Any) -> None:
        stop = self.count + len(parts["operands"])
        if stop > len(self.columns["tokens"]):
            for name, column in self.columns.items():
                self.columns[name] = np.empty((max(_LEAST_ROOM, 4 * stop), *column.shape[1:]), dtype=column.dtype)
                self.columns[name][: self.count] = column[: self.count]
        for name, part in parts.items():
            self.columns[name][self.count : stop] = part
        self.count = stop

    def marks(self, codes: np.ndarray) -> np.ndarray:
        """Hashes (T, 2) of wanted outputs (T, G); a program that has them on the whole grid has the same hash."""
        return mix(codes[:, self.points[:MARKED]])

    def execute(
        self, tokens: np.ndarray, sizes: np.ndarray, rows: np.ndarray, largest: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Execute candidates (B,) on operand rows (B, max arity) and keep what is new and at most so large.

        Returns
        -------
        tuple
            Candidates that are new functions, or smaller programs of known ones (F,), and their `marks` (F, 2).
        """
        keys = np.empty((len(tokens), 2), dtype=np.uint64)
        for token, part in _runs(tokens):
            keys[part] = self.keys(token, rows[part])
        fresh = self.seen.admit(keys, sizes)
        codes = [np.empty((0, min(MARKED, len(self.points))), dtype=np.uint64)]
        for token, part in _runs(tokens[fresh]):
            operands, own = rows[fresh[part]], sizes[fresh[part]]
            values = self.values(token, operands)
            codes.append(self.algebra.codes(values[:, :MARKED]))
            kept = own <= largest
            self.add(token, own[kept], operands[kept], values[kept])
        return fresh, mix(np.concatenate(codes))

    def program(self, token: int, rows: np.ndarray) -> Program:
        """Text of one token on operand rows (max arity,)."""
        text, waiting = [token], list(rows[: self.grammar.arities[token]][::-1])
        while waiting:
            row = waiting.pop()
            text.append(int(self.columns["tokens"][row]))
            waiting += list(self.columns["operands"][row, : self.grammar.arities[text[-1]]][::-1])
        return Program(self.grammar, tuple(text))


def _runs(tokens: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Tokens and where each of them stands without a break."""
    bounds = [0, *(np.flatnonzero(tokens[1:] != tokens[:-1]) + 1).tolist(), len(tokens)]
    return ((int(tokens[low]), slice(low, high)) for low, high in itertools.pairwise(bounds) if low < high)


class ProvenOperands(Operands):
    """The same where identity is exact: programs with a value at every point are known by their fingerprints.

    A program with a pole on the grid has outputs of its own, also if its function has a program without one. Where
    no operator has poles, outputs are computed at a few points only.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.partial = any(o.field_code is not None and o.field_code.is_partial for o in grammar.operators)
        super().__init__(grammar)
        self.identity = identity_algebra(grammar)
        self.columns |= {name: np.empty((0, 2), dtype=np.uint64) for name in ("prints", "inverses")}
        self.columns |= {name: np.empty(0, dtype=bool) for name in ("whole", "nonzero")}

    def _watched(self) -> np.ndarray:
        return super()._watched()[: None if self.partial else MARKED]

    def _is_quotient(self, token: int) -> bool:
        return self.algebra.table is not None and bool(self.algebra.table.simple[token] == tracing.DIVIDE)

    def values(self, token: int, rows: np.ndarray) -> np.ndarray:
        if not self._is_quotient(token):
            return super().values(token, rows)
        over, under = (self.columns["values"][rows[:, k]] for k in range(2))
        inverses = np.empty_like(under)
        batch_inverse(under.ravel(), inverses.ravel())
        return combine_arrays(tracing.MULTIPLY, over, inverses)

    def _prints(self, token: int, rows: np.ndarray) -> np.ndarray:
        """Fingerprints (B, 2)."""
        if token < self.grammar.num_terminals:
            return self.identity.terminals[token][None].repeat(len(rows), axis=0)
        prints = np.empty((len(rows), 2), dtype=np.uint64)
        fingerprint_keys(self.identity, token, rows, self.columns["prints"], self.columns["inverses"], prints)
        return prints

    def keys(self, token: int, rows: np.ndarray) -> np.ndarray:
        prints = self._prints(token, rows)
        if self.partial and token >= self.grammar.num_terminals:
            unsure = np.flatnonzero(self._may_have_poles(token, rows) & (prints[:, 0] != UNDEFINED_RESIDUE))
            values = self.values(token, rows[unsure])
            poles = (values == UNDEFINED_RESIDUE).any(axis=1)
            prints[unsure[poles]] = mix(values[poles])
        return prints

    def _may_have_poles(self, token: int, rows: np.ndarray) -> np.ndarray:
        code = self.grammar.operator(token).field_code
        assert code is not None
        if code.is_partial and not self._is_quotient(token):
            return np.ones(len(rows), dtype=bool)
        names = ["whole"] * (code.arity - 1) + ["nonzero" if code.is_partial else "whole"]
        return ~np.logical_and.reduce([self.columns[name][rows[:, k]] for k, name in enumerate(names)])

    def add(self, token: int, sizes: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
        prints = self._prints(token, rows)
        parts = dict(tokens=token, sizes=sizes, operands=rows, values=values, prints=prints)
        if self.partial:
            inverses, whole = np.empty_like(prints), (values != UNDEFINED_RESIDUE).all(axis=1)
            batch_inverse(prints.ravel(), inverses.ravel())
            parts |= dict(inverses=inverses, whole=whole, nonzero=whole & (values != 0).all(axis=1))
        self._store(**parts)
