"""pq-grams in bulk: the bag of small neighbourhoods of every program, and distances between bags.

A pq-gram is an anchor node with its p-1 ancestors (stem) and q consecutive children (base), padded with
a null label (Augsten, Boehlen, Gamper, VLDB 2005; TODS 35(1), 2010). The null is a label of its own and
never equals a token: written as ``*`` it would make x+(y*1) and (y*1)+x the same bag.

The windowed variant (Augsten, Boehlen, Dyreson, Gamper, ICDE 2008) is for operators whose operands have no
order: siblings are sorted by label and padded with nulls to the width w of a window, and the base of a
pq-gram is a sibling with one of the w-1 that follow it, cyclically. Here only operands of commutative operators are
sorted; the others keep their order and carry their place in their label, so that x-y is not y-x.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, Grammar

NULL = "·"
LABELS = ("tokens", "shape")
"""Labels of nodes: their tokens, or only how many children they have."""

_BITS = 62
_MASK = (1 << _BITS) - 1
_HASH_SEED = 2005
_MOST_NODES = 64
_ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class PQGrams:
    """Which pq-grams make a profile.

    Parameters
    ----------
    p, q
        Nodes of the stem (the anchor and its p-1 ancestors) and of the base.
    window
        0 for ordered trees; else the width (at least 2) of the window in which the operands of commutative
        operators are paired, with q = 2.
    labels
        ``tokens``, or ``shape`` for trees whose nodes are told apart by their number of children alone.
    """

    p: int = 2
    q: int = 3
    window: int = 0
    labels: str = "tokens"

    def __post_init__(self) -> None:
        if self.p < 1 or self.q < 1:
            raise ConfigurationError(f"pq-grams need p >= 1 and q >= 1, not p={self.p}, q={self.q}")
        if max(self.p, self.q) > _MOST_NODES:
            raise ConfigurationError(f"pq-grams of p={self.p}, q={self.q}: use at most {_MOST_NODES} of either")
        if self.labels not in LABELS:
            raise ConfigurationError(f"unknown labels {self.labels!r}: choose from {', '.join(LABELS)}")
        if self.window and self.window < 2:
            raise ConfigurationError(f"window={self.window} pairs nothing: take at least 2, or 0 for ordered pq-grams")
        if self.window and self.q != 2:
            raise ConfigurationError(
                f"windowed pq-grams have bases of two: window={self.window} needs q=2, not {self.q}"
            )


@dataclass(frozen=True, eq=False)
class Profiles:
    """Bags of pq-grams, one row a program.

    Attributes
    ----------
    codes
        Codes of the pq-grams (P, K), ascending and repeated as often as they occur; behind the last the
        largest number of the type, which is int32 where it holds all codes, else int64.
    counts
        Number of pq-grams of every program (P,), int64.
    """

    codes: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Profiles:
        """Some of the rows: a slice, a mask, or an array of numbers."""
        return Profiles(self.codes[rows], self.counts[rows])

    def bag(self, row: int) -> Counter[int]:
        """Codes of one program and how often each occurs."""
        return Counter(self.codes[row, : self.counts[row]].tolist())


@dataclass(frozen=True, eq=False)
class _Coding:
    """How the pq-grams of a grammar become numbers: the sum of one summand per place and label, modulo 2^62.

    Labels run from 0 and the null label comes last. Codes of up to 62 bits are the digits of a number, the
    base's before the stem's. Longer ones are hashed by random summands: two pq-grams collide with
    probability 2^-62.
    """

    grams: PQGrams
    grammar: Grammar
    names: tuple[str, ...]
    label_of: np.ndarray
    num_plain: int

    @property
    def base(self) -> int:
        return len(self.names) + 1

    @property
    def is_exact(self) -> bool:
        return self.base ** (self.grams.p + self.grams.q) <= 1 << _BITS

    @property
    def dtype(self) -> type:
        return np.int32 if self.base ** (self.grams.p + self.grams.q) < 1 << 31 else np.int64

    def summands(self) -> np.ndarray:
        """Summand of every label at every place (p + q, labels and null): ancestors upwards, then children."""
        p, q, base = self.grams.p, self.grams.q, self.base
        if not self.is_exact:
            return np.random.default_rng(_HASH_SEED).integers(0, 1 << _BITS, size=(p + q, base))
        places = [*range(p), *range(p + q - 1, p - 1, -1)]
        return np.array([[label * base**place for label in range(base)] for place in places], dtype=np.int64)

    @property
    def sorted_children(self) -> np.ndarray:
        """Tokens whose operands have no order (V,), bool."""
        unordered = [False] * self.grammar.num_terminals + [o.commutative for o in self.grammar.operators]
        return np.array(unordered) & (self.grams.window > 0)

    @property
    def placed_children(self) -> np.ndarray:
        """Tokens whose operands carry their place in their label (V,), bool."""
        return ~self.sorted_children & (self.grams.window > 0)

    @property
    def num_grams(self) -> np.ndarray:
        """Number of pq-grams anchored at a node of every token, int64 (256,); 0 for the padding."""
        arities, window = self.grammar.arities, self.grams.window
        inner = np.maximum(arities, window) * (window - 1) if window else arities + self.grams.q - 1
        found = np.zeros(PAD + 1, dtype=np.int64)
        found[: len(arities)] = np.where(arities == 0, 1, inner)
        return found


_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def _coding(grammar: Grammar, grams: PQGrams) -> _Coding:
    if grams.labels == "shape":
        arities = np.unique(grammar.arities)
        plain, label_of = [str(a) for a in arities.tolist()], np.searchsorted(arities, grammar.arities)
    else:
        plain, label_of = list(grammar.tokens), np.arange(len(grammar.tokens))
    ordered = [o.arity for o in grammar.operators if not o.commutative] if grams.window else []
    places = ["", *(str(k + 1).translate(_SUBSCRIPTS) for k in range(max(ordered, default=0)))]
    return _Coding(grams, grammar, tuple(n + place for place in places for n in plain), label_of, len(plain))


# ---------------------------------------------------------------- extraction


@numba.njit(cache=True, nogil=True)
def _walk(row, arities, label_of, placed, num_plain, labels, parent, stack):
    """Label and parent of every node, numbered from 1; returns how many there are. Node 0 is above the root."""
    length = 0
    while length < len(row) and row[length] != PAD:
        length += 1
    top = 0
    for place in range(length - 1, -1, -1):  # backwards, so that a node finds its children on the stack
        token = row[place]
        for number in range(arities[token]):
            top -= 1
            child = stack[top]
            labels[child] = label_of[row[child - 1]] + (num_plain * (number + 1) if placed[token] else 0)
            parent[child] = place + 1
        stack[top] = place + 1
        top += 1
    labels[1], parent[1] = label_of[row[0]], 0
    return length


@numba.njit(cache=True, nogil=True, inline="always")
def _stem(node, stems, empty, labels, parent):
    """Code of a pq-gram whose base is all null."""
    code, ancestor = empty, node
    for k in range(len(stems)):
        code = (code + stems[k, labels[ancestor]]) & _MASK
        ancestor = parent[ancestor]
    return code


@numba.njit(cache=True, nogil=True)
def _ordered(row, length, arities, stems, bases, empty, labels, parent, first, out):
    """Codes of the pq-grams of an ordered tree; returns how many."""
    q, count = len(bases), 0
    for node in range(1, length + 1):
        code = _stem(node, stems, empty, labels, parent)
        if node > 1:  # a child stands in q consecutive bases of its parent
            slot = first[parent[node]]
            first[parent[node]] = slot + 1
            for place in range(q):
                out[slot - place] = (out[slot - place] + bases[place, labels[node]]) & _MASK
        arity, num = arities[row[node - 1]], 1
        if arity > 0:
            first[node], num = count + q - 1, arity + q - 1
        for k in range(num):
            out[count + k] = code
        count += num
    return count


@numba.njit(cache=True, nogil=True)
def _windowed(row, length, arities, unordered, window, stems, bases, empty, labels, parent, first, children, out):
    """Codes of the windowed pq-grams; returns how many."""
    listed, count = 0, 0
    for node in range(1, length + 1):
        if node > 1:
            children[first[parent[node]]] = labels[node]
            first[parent[node]] += 1
        first[node] = listed
        listed += arities[row[node - 1]]
    for node in range(1, length + 1):
        code, arity = _stem(node, stems, empty, labels, parent), arities[row[node - 1]]
        if arity == 0:
            out[count] = code
            count += 1
            continue
        siblings = children[first[node] - arity : first[node]]
        if unordered[row[node - 1]]:
            siblings.sort()
        width = max(arity, window)
        for k in range(width):
            one = bases[0, siblings[k]] if k < arity else 0
            for step in range(1, window):
                j = (k + step) % width
                two = bases[1, siblings[j]] if j < arity else 0
                out[count] = (((code + one) & _MASK) + two) & _MASK
                count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _extract(prefix, arities, label_of, unordered, placed, num_plain, window, stems, bases, empty, padding, out):
    """Codes of the pq-grams of every row, in no particular order, and `padding` behind them."""
    length = prefix.shape[1] + 1
    # unsigned, or every look-up would first ask whether it counts from the end
    labels, parent = np.zeros(length, dtype=np.uint32), np.zeros(length, dtype=np.uint32)
    stack, first = np.zeros(length, dtype=np.uint32), np.zeros(length, dtype=np.uint32)
    children = np.zeros(length, dtype=np.uint32)
    labels[0] = stems.shape[1] - 1
    for r in range(len(prefix)):
        row = prefix[r]
        num = _walk(row, arities, label_of, placed, num_plain, labels, parent, stack)
        if window > 0:
            count = _windowed(
                row, num, arities, unordered, window, stems, bases, empty, labels, parent, first, children, out[r]
            )
        else:
            count = _ordered(row, num, arities, stems, bases, empty, labels, parent, first, out[r])
        out[r, count:] = padding


def _write_codes(coding: _Coding, summands: np.ndarray, prefix: np.ndarray, out: np.ndarray) -> None:
    stems, bases = summands[: coding.grams.p], summands[coding.grams.p :]
    differences = (bases - bases[:, -1:]) & _MASK  # a base starts as all nulls, and children replace them
    empty = sum(bases[:, -1].tolist()) & _MASK
    rows = np.ascontiguousarray(prefix)
    _extract(
        rows, coding.grammar.arities, coding.label_of, coding.sorted_children, coding.placed_children,
        coding.num_plain, coding.grams.window, stems, differences, empty, np.iinfo(out.dtype).max, out,
    )  # fmt: skip


def profiles(grammar: Grammar, prefix: np.ndarray, grams: PQGrams | None = None) -> Profiles:
    """Profiles of many programs.

    Parameters
    ----------
    grammar
        Grammar of the tokens.
    prefix
        Padded token matrix (P, L), each row one complete tree.
    grams
        Which pq-grams; p = 2 and q = 3 by default.
    """
    coding = _coding(grammar, grams or PQGrams())
    counts = profile_sizes(grammar, prefix, coding.grams)
    codes: np.ndarray = np.empty((len(prefix), int(counts.max(initial=1))), dtype=coding.dtype)
    summands = coding.summands()
    for start in range(0, len(prefix), _ROWS_AT_ONCE):
        block = codes[start : start + _ROWS_AT_ONCE]
        _write_codes(coding, summands, prefix[start : start + _ROWS_AT_ONCE], block)
        block.sort(axis=1)
    return Profiles(codes, counts)


def profile_sizes(grammar: Grammar, prefix: np.ndarray, grams: PQGrams) -> np.ndarray:
    """Number of pq-grams of every program, int64 (P,)."""
    num_grams, sizes = _coding(grammar, grams).num_grams, np.zeros(len(prefix), dtype=np.int64)
    for column in prefix.T:
        sizes += num_grams[column]
    return sizes


def code_texts(grammar: Grammar, grams: PQGrams, codes: np.ndarray, witnesses: np.ndarray) -> list[str]:
    """Codes as ``ancestor/anchor(child child)``, read off programs in which they occur.

    A place in an ordered operator is written as a subscript (windowed pq-grams only). Codes may be hashes,
    so they are not decoded.

    Parameters
    ----------
    grammar, grams
        What the codes mean.
    codes
        Codes of `profiles` (F,).
    witnesses
        Prefix tokens (F, L) of a program with each.
    """
    coding = _coding(grammar, grams)
    num, places = int(profile_sizes(grammar, witnesses, grams).max(initial=1)), grams.p + grams.q
    found = np.empty((len(codes), num), dtype=np.int64)
    _write_codes(coding, coding.summands(), witnesses, found)
    at, rows = np.argmax(found == codes[:, None], axis=1), np.arange(len(codes))
    labels = np.empty((len(codes), places), dtype=np.int64)
    for place in range(places):  # with a summand at one place only, a code is the label there
        alone = np.zeros((places, coding.base), dtype=np.int64)
        alone[place] = np.arange(coding.base)
        _write_codes(coding, alone, witnesses, found)
        labels[:, place] = found[rows, at]
    return [spell(coding.names, row, grams.p) for row in labels.tolist()]


def spell(names: tuple[str, ...], labels: list[int], p: int) -> str:
    """Text of a pq-gram of labels: p nodes upwards from the anchor, then the children."""
    texts = [*names, NULL]
    parts = [texts[label] for label in labels]
    return f"{'/'.join(parts[:p][::-1])}({' '.join(parts[p:])})"


# ---------------------------------------------------------------- distances


@numba.njit(cache=True, nogil=True)
def _intersections(first, num_first, second, num_second, out):
    """Size of the bag intersection of every pair of sorted rows."""
    for row in range(len(first)):
        a, b, shared = 0, 0, 0
        while a < num_first[row] and b < num_second[row]:
            one, two = first[row, a], second[row, b]
            shared += one == two
            a += one <= two
            b += two <= one
        out[row] = shared


def intersections(first: Profiles, second: Profiles) -> np.ndarray:
    """Number of pq-grams that the programs of a row share, int64 (P,).

    Raises
    ------
    ConfigurationError
        If there are not as many profiles on both sides.
    """
    if len(first) != len(second):
        raise ConfigurationError(f"{len(first)} profiles against {len(second)}: pairs need as many on both sides")
    shared = np.empty(len(first), dtype=np.int64)
    _intersections(first.codes, first.counts, second.codes, second.counts, shared)
    return shared


def pair_distances(first: Profiles, second: Profiles, metric: bool = True) -> np.ndarray:
    """Distance of the programs of every row, float64 (P,), from 0 to 1.

    With I the size of the bag intersection and n the sum of both sizes, the metric is (n-2I)/(n-I),
    for which the triangle inequality holds (TODS 2010); otherwise it is 1 - 2I/n (VLDB 2005).
    """
    shared, total = intersections(first, second), first.counts + second.counts
    return (total - 2 * shared) / (total - shared if metric else total)
