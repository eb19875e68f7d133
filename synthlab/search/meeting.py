"""Meet in the middle: a target is a part that is known, an operator, and a rest that is looked up.

For every function a of a library the rest that makes ``a op b`` or ``b op a`` the target follows from a and the
target: b = t - a, a - t, t / a, ... A look-up of its hash says whether the library holds it, so that n look-ups
decide n^2 programs (Horowitz and Sahni 1974 for sums; for programs the divide step of Alur et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synthlab.compiling import numba
from synthlab.language import tracing
from synthlab.language.grammar import Grammar
from synthlab.language.measure import operator_weight
from synthlab.language.residues import PRIME, batch_inverse, inverse, mulmod, reduce_once
from synthlab.search.library import (
    Library,
    find_rows,
    may_hold,
    product_keys,
    product_points,
    slot_of,
    spread,
    sum_keys,
)

_P, _ONE = np.uint64(PRIME), np.uint64(1)
_CHUNK = 1 << 15
_MOST_HITS, _SAME_HASH = 256, 16
_LEFT, _RIGHT = 0, 1


@dataclass(frozen=True, eq=False)
class Target:
    """Wanted outputs.

    Attributes
    ----------
    codes
        Residues (G,); meaningless where not known.
    known
        Where a program has to have them (G,); elsewhere any value will do.
    """

    codes: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> Target:
        """Outputs wanted everywhere."""
        return cls(codes, np.ones(len(codes), dtype=bool))


@dataclass(frozen=True)
class Move:
    """An operator around a known part: the part is its `side` operand (0 left, 1 right), the rest is open.

    Attributes
    ----------
    token, kind
        The operator, and its instruction.
    side
        Which operand the known part is.
    """

    token: int
    kind: int
    side: int


def moves(library: Library) -> list[Move]:
    """All ways in which a known part can stand beside an open rest; one side suffices where operands may swap."""
    grammar, found = library.grammar, []
    for number, operator in enumerate(grammar.operators):
        token = grammar.num_terminals + number
        kind = int(library.kinds[token])
        if kind >= 0 and operator.arity == 2:
            sides = (_LEFT,) if kind in (tracing.ADD, tracing.MULTIPLY) else (_LEFT, _RIGHT)
            found += [Move(token, kind, side) for side in sides]
    return found


_SUM_RULES = {(tracing.ADD, _LEFT): 0, (tracing.SUBTRACT, _LEFT): 1, (tracing.SUBTRACT, _RIGHT): 2}
_PRODUCT_RULES = {(tracing.MULTIPLY, _LEFT): 3, (tracing.DIVIDE, _LEFT): 4, (tracing.DIVIDE, _RIGHT): 5}


@numba.njit(cache=True, nogil=True)
def _same(kind, left, right, wanted, known):
    for g in range(len(wanted)):
        if not known[g]:
            continue
        if kind == tracing.ADD:
            same = reduce_once(left[g] + right[g]) == wanted[g]
        elif kind == tracing.SUBTRACT:
            same = reduce_once(left[g] + (_P - right[g])) == wanted[g]
        elif kind == tracing.MULTIPLY:
            same = mulmod(left[g], right[g]) == wanted[g]
        else:
            same = right[g] != 0 and left[g] == mulmod(right[g], wanted[g])
        if not same:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _probe(rule, own, inverses, low, high, target, target_inverse, table, judge, hits):
    """Rows a in [low, high) with a right rest b: writes (a, b); returns how many, and where it stopped.

    `judge` holds what a hit is compared with: instruction, side, outputs and sizes of all rows, bound, and the
    wanted outputs.
    """
    (kind, side, codes, sizes, room, wanted, known), (slots, rows, bits) = judge, table
    count = 0
    for a in range(low, high):
        if own[a] >= _P:
            continue
        if rule == 0:
            key = reduce_once(target + (_P - own[a]))
        elif rule == 1:
            key = reduce_once(own[a] + (_P - target))
        elif rule == 2:
            key = reduce_once(target + own[a])
        elif rule == 3:
            key = mulmod(target, inverses[a])
        elif rule == 4:
            key = mulmod(own[a], target_inverse)
        else:
            key = mulmod(target, own[a])
        mixed = spread(key)
        if not may_hold(mixed, bits):
            continue
        slot, enough = slot_of(mixed, slots), count + _SAME_HASH
        while slots[slot] != 0 and count < enough:
            if slots[slot] == key + _ONE:
                b = rows[slot]
                if sizes[a] + sizes[b] > room:
                    break  # rows of one hash stand in order of size
                left, right = (a, b) if side == 0 else (b, a)
                if _same(kind, codes[left], codes[right], wanted, known):
                    hits[count, 0], hits[count, 1] = a, b
                    count += 1
            slot = (slot + _ONE) & np.uint64(len(slots) - 1)
        if count + _SAME_HASH > len(hits):
            return count, a + 1
    return count, high


@dataclass(frozen=True)
class Meeting:
    """A program in two halves: rows of the library below one operator."""

    move: Move
    known: int
    rest: int

    def size(self, library: Library) -> int:
        """Sizes of both halves."""
        return int(library.table.sizes[self.known]) + int(library.table.sizes[self.rest])

    def text(self, library: Library) -> np.ndarray:
        """Its prefix tokens."""
        halves = [prefix_of(library, row) for row in (self.known, self.rest)]
        return np.concatenate([[self.move.token], *(halves if self.move.side == _LEFT else halves[::-1])])


def prefix_of(library: Library, row: int) -> np.ndarray:
    """Prefix tokens of one function of a library."""
    text = library.table.text(np.array([row]))[0]
    return text[text < len(library.grammar.tokens)]


def lookup(library: Library, target: Target) -> int:
    """Row of the smallest function with the wanted outputs; -1 if the library has none."""
    index = library.additive(target.known)
    key = sum_keys(target.codes[None], np.ones(1, dtype=bool), target.known)[0]
    out = np.empty(_MOST_HITS, dtype=np.int64)
    rows = np.sort(out[: find_rows(key, *index.table, out)])
    fits = (library.codes[rows][:, target.known] == target.codes[target.known]).all(axis=1)
    return int(rows[fits][0]) if fits.any() else -1


class MeetInTheMiddle:
    """One target against one library, in order of the size of the smaller half.

    Parameters
    ----------
    library, target
        What is known, and what is wanted.
    max_size
        Bound on the size of the whole program.
    """

    def __init__(self, library: Library, target: Target, max_size: int) -> None:
        self.library, self.target = library, target
        self.room = max_size - operator_weight(library.table.measure)
        self.lookups = 0
        self._hits = np.empty((_MOST_HITS, 2), dtype=np.int64)
        one = np.ones(1, dtype=bool)
        points = product_points(np.where(target.known, target.codes, _P), library.point_order)
        self._rules = []
        for move in moves(library):
            rule = (_SUM_RULES | _PRODUCT_RULES)[move.kind, move.side]
            if move.kind in (tracing.MULTIPLY, tracing.DIVIDE):
                if not points.any():
                    continue  # the target is zero wherever it is known: a factor would be any zero
                index = library.multiplicative(points)
                key = product_keys(target.codes[None], one, np.flatnonzero(points))[0]
                self._rules.append((move, rule, index, key, np.uint64(inverse(key))))
            else:
                index = library.additive(target.known)
                key = sum_keys(target.codes[None], one, target.known)[0]
                self._rules.append((move, rule, index, key, np.uint64(0)))

    def chunks(self, most: int | None = None) -> Iterator[list[Meeting]]:
        """Meetings that are right wherever the target is known, chunk by chunk of look-ups.

        Parameters
        ----------
        most
            Largest size of the half that is enumerated; half of the whole by default, which is enough.
        """
        largest = min(self.room // 2 if most is None else most, self.library.max_size)
        low = 0
        for size in range(1, largest + 1):
            high = self.library.num_up_to(size)
            for start in range(low, high, _CHUNK):
                stop = min(high, start + _CHUNK)
                for rule in self._rules:
                    yield self._meet(rule, start, stop)
            low = high

    def taken(self) -> int:
        """Look-ups since this was last asked."""
        new, self.lookups = self.lookups, 0
        return new

    def _meet(self, rule: tuple, start: int, stop: int) -> list[Meeting]:
        move, number, index, key, key_inverse = rule
        library, target = self.library, self.target
        judge = (move.kind, move.side, library.codes, library.table.sizes, self.room, target.codes, target.known)
        found: list[Meeting] = []
        self.lookups += stop - start
        while start < stop:
            num, start = _probe(
                number, index.keys, index.inverses, start, stop, key, key_inverse, index.table, judge, self._hits
            )
            found += [Meeting(move, int(a), int(b)) for a, b in self._hits[:num]]
        return found


# ---------------------------------------------------------------- residuals


@numba.njit(cache=True, nogil=True)
def undo(kind, side, codes, known, parts, limit, rests, rest_known, possible):
    """What the rest has to be, for many known parts (M, G): writes residues (M, G), where they are known, and whether
    a rest exists. Wanted outputs are those of one target (1, G), or of one per part (M, G).

    With a limit above 0, rests whose magnitude reaches it somewhere are impossible: no whole number is a residue
    of that kind.
    """
    for row in range(len(parts)):
        possible[row], own = True, row if len(codes) > 1 else 0
        for g in range(codes.shape[1]):
            t, s = codes[own, g], parts[row, g]
            if s >= _P:
                possible[row] = False
                break
            rest_known[row, g], rests[row, g] = known[own, g], 0
            if not known[own, g]:
                continue
            if kind == tracing.ADD:
                r = reduce_once(t + (_P - s))
            elif kind == tracing.SUBTRACT:
                r = reduce_once(s + (_P - t)) if side == 0 else reduce_once(t + s)
            elif kind == tracing.MULTIPLY or (kind == tracing.DIVIDE and side == 0):
                # t = s * r, or t = s / r: zeros have to meet, and say nothing about the rest
                top, bottom = (t, s) if kind == tracing.MULTIPLY else (s, t)
                if bottom == 0:
                    if top != 0:
                        possible[row] = False
                        break
                    rest_known[row, g] = False
                    continue
                r = _P
                rests[row, g] = bottom
                if kind == tracing.DIVIDE and top == 0:
                    possible[row] = False
                    break
            else:
                if s == 0:
                    possible[row] = False
                    break
                r = mulmod(t, s)
            if r < _P:
                rests[row, g] = r
        if possible[row] and (kind == tracing.MULTIPLY or (kind == tracing.DIVIDE and side == 0)):
            _divide_row(kind, codes[own], parts[row], rest_known[row], rests[row])
        if possible[row] and limit > 0:
            for g in range(codes.shape[1]):
                if rest_known[row, g] and limit <= rests[row, g] <= _P - limit:
                    possible[row] = False
                    break


@numba.njit(cache=True, nogil=True)
def _divide_row(kind, codes, part, known, rest):
    """Quotients of one row in place of its divisors, with one inversion."""
    inverses = np.empty(len(codes), dtype=np.uint64)
    batch_inverse(rest, inverses)  # nothing but divisors is known, and none of them is 0
    for g in range(len(codes)):
        if known[g]:
            rest[g] = mulmod(codes[g] if kind == tracing.MULTIPLY else part[g], inverses[g])


WHOLE_LIMIT = np.uint64(1 << 45)
"""Whole rests are smaller in magnitude; quotients that are not whole look random and almost never are."""


def whole_limit(grammar: Grammar) -> np.uint64:
    """The limit for `undo`: 0 where rests may be fractions."""
    return WHOLE_LIMIT if grammar.integral else np.uint64(0)


def rests(
    library: Library, move: Move, targets: np.ndarray, known: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rests for many known parts.

    Parameters
    ----------
    library, move, rows
        Where the parts come from, what they stand under, and which they are (M,).
    targets, known
        Wanted outputs, and where they are known: of one target (1, G), or of one per part (M, G).

    Returns
    -------
    tuple
        Residues (K, G) and where they are known (K, G), of the parts for which a rest is possible, and places of
        these among the rows (K,).
    """
    parts = library.codes[rows]
    found, sure = np.empty_like(parts), np.empty(parts.shape, dtype=bool)
    possible = np.empty(len(rows), dtype=bool)
    undo(move.kind, move.side, targets, known, parts, whole_limit(library.grammar), found, sure, possible)
    return found[possible], sure[possible], np.flatnonzero(possible)
