"""Where a program stands by its text: bags of pq-grams, length one, projected by an exact SVD.

A pq-gram is an anchor node with its p-1 ancestors (stem) and q consecutive children (base), padded with
a null label (Augsten, Boehlen, Gamper, VLDB 2005; TODS 35(1), 2010). The null is a label of its own and
never equals a token: written as ``*`` it would make x+(y*1) and (y*1)+x the same bag.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numba
import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.program import Program, token_matrix
from synthlab.spaces.space import SYNTACTIC, Space, principal_axes
from synthlab.universe.corpus import Corpus

NULL = "·"
_MAX_CODES = 1 << 27


@numba.njit(cache=True)
def _codes(row, arities, p, q, num_labels, parent, first_child, next_child, out):
    """Codes of all pq-grams of one program, written to `out`; returns how many."""
    base = num_labels + 1
    length = 0
    while length < len(row) and row[length] != PAD:
        length += 1
    _link(row, length, arities, parent, first_child, next_child)
    count = 0
    for node in range(length):
        stem, ancestor = 0, node
        scale = 1
        for _ in range(p):
            stem += scale * (num_labels if ancestor < 0 else int(row[ancestor]))
            scale *= base
            if ancestor >= 0:
                ancestor = parent[ancestor]
        arity = arities[row[node]]
        window = 0
        for _ in range(q):
            window = window * base + num_labels
        span = base ** (q - 1)
        if arity == 0:
            out[count] = window * scale + stem
            count += 1
            continue
        child = first_child[node]
        for _ in range(arity + q - 1):
            label = num_labels
            if child >= 0:
                label = int(row[child])
                child = next_child[child]
            window = (window % span) * base + label
            out[count] = window * scale + stem
            count += 1
    return count


@numba.njit(cache=True)
def _link(row, length, arities, parent, first_child, next_child):
    """Parent, first child and next sibling of every node of a prefix text; -1 for none."""
    for node in range(length):
        first_child[node] = next_child[node] = parent[node] = -1
    current = 0
    for node in range(1, length):
        while True:
            children, child = 0, first_child[current]
            last = -1
            while child >= 0:
                children, last, child = children + 1, child, next_child[child]
            if children < arities[row[current]]:
                break
            current = parent[current]
        parent[node] = current
        if last < 0:
            first_child[current] = node
        else:
            next_child[last] = node
        current = node


@numba.njit(cache=True)
def _mark(prefix, arities, p, q, num_labels, used):
    length = prefix.shape[1]
    links = np.empty((3, length), dtype=np.int64)
    out = np.empty(length * (q + 2), dtype=np.int64)
    for row in range(len(prefix)):
        count = _codes(prefix[row], arities, p, q, num_labels, links[0], links[1], links[2], out)
        for k in range(count):
            used[out[k]] = True


@numba.njit(cache=True)
def _columns(prefix, arities, p, q, num_labels, column_of, links, out, columns):
    """Columns of one program's pq-grams and the length of its count vector."""
    count = _codes(prefix, arities, p, q, num_labels, links[0], links[1], links[2], out)
    squares = 0
    for k in range(count):
        columns[k] = column_of[out[k]]
        for j in range(k):
            if columns[j] == columns[k]:
                squares += 2
        squares += 1
    return count, np.sqrt(squares)


@numba.njit(cache=True)
def _gram_matrix(prefix, arities, p, q, num_labels, column_of, gram):
    length = prefix.shape[1]
    links = np.empty((3, length), dtype=np.int64)
    out = np.empty(length * (q + 2), dtype=np.int64)
    columns = np.empty(length * (q + 2), dtype=np.int64)
    for row in range(len(prefix)):
        count, norm = _columns(prefix[row], arities, p, q, num_labels, column_of, links, out, columns)
        weight = 1.0 / (norm * norm)
        for a in range(count):
            for b in range(count):
                gram[columns[a], columns[b]] += weight


@numba.njit(cache=True)
def _embed(prefix, arities, p, q, num_labels, column_of, axes, result):
    length = prefix.shape[1]
    links = np.empty((3, length), dtype=np.int64)
    out = np.empty(length * (q + 2), dtype=np.int64)
    columns = np.empty(length * (q + 2), dtype=np.int64)
    for row in range(len(prefix)):
        count, norm = _columns(prefix[row], arities, p, q, num_labels, column_of, links, out, columns)
        for a in range(count):
            for axis in range(axes.shape[1]):
                result[row, axis] += axes[columns[a], axis]
        for axis in range(axes.shape[1]):
            result[row, axis] /= norm


def _num_codes(grammar: Grammar, p: int, q: int) -> int:
    if p < 1 or q < 1:
        raise ConfigurationError(f"pq-grams need p >= 1 and q >= 1, not p={p}, q={q}")
    return (len(grammar.tokens) + 1) ** (p + q)


def pq_profile(program: Program, p: int = 2, q: int = 3) -> Counter[int]:
    """Bag of pq-grams of one program, as codes; decode one with `pq_gram_text`."""
    if _num_codes(program.grammar, p, q) >= 1 << 62:
        raise ConfigurationError(f"p={p}, q={q} exceed 62-bit codes: lower p or q")
    row = token_matrix([program])[0]
    links = np.empty((3, len(row)), dtype=np.int64)
    out = np.empty(len(row) * (q + program.grammar.max_arity), dtype=np.int64)
    num_labels = len(program.grammar.tokens)
    count = _codes(row, program.grammar.arities, p, q, num_labels, links[0], links[1], links[2], out)
    return Counter(out[:count].tolist())


def pq_gram_text(grammar: Grammar, code: int, p: int, q: int) -> str:
    """A pq-gram as ``ancestor/anchor(child child child)``."""
    labels, base = [*grammar.tokens, NULL], len(grammar.tokens) + 1
    digits = []
    for _ in range(p + q):
        code, digit = divmod(code, base)
        digits.append(labels[digit])
    return f"{'/'.join(digits[:p][::-1])}({' '.join(digits[p:][::-1])})"


def pq_distances(first: Program, second: Program, p: int = 2, q: int = 3) -> dict[str, Any]:
    """Distances of two programs, with what they are made of.

    Returns
    -------
    dict
        ``distance`` 1 - 2I/(|P1|+|P2|) (VLDB 2005), ``metric`` (|P1|+|P2|-2I)/(|P1|+|P2|-I), for which the
        triangle inequality holds (TODS 2010), ``profile_sizes``, and ``intersection`` I of the bags.
    """
    one, two = pq_profile(first, p, q), pq_profile(second, p, q)
    shared, total = (one & two).total(), one.total() + two.total()
    return {
        "distance": 1 - 2 * shared / total,
        "metric": (total - 2 * shared) / (total - shared),
        "profile_sizes": [one.total(), two.total()],
        "intersection": shared,
    }


def fit_syntactic(corpus: Corpus, *, p: int = 2, q: int = 3, num_axes: int = 32) -> Space:
    """Fit the syntactic space on every program of the corpus.

    The singular vectors come from the exact Gram matrix of the pq-gram columns, so no program by pq-gram
    matrix is ever stored.

    Parameters
    ----------
    corpus
        The universe.
    p, q
        Length of stem and base.
    num_axes
        Axes to keep; fewer if the matrix has a smaller rank.
    """
    grammar = corpus.grammar
    num_codes = _num_codes(grammar, p, q)
    if num_codes > _MAX_CODES:
        raise ConfigurationError(f"p={p}, q={q} give {num_codes:,} pq-grams, over {_MAX_CODES:,}: lower p or q")
    shape = (grammar.arities, p, q, len(grammar.tokens))
    used = np.zeros(num_codes, dtype=np.bool_)
    _mark(corpus.prefix, *shape, used)
    codes = np.flatnonzero(used)
    column_of = np.full(num_codes, -1, dtype=np.int32)
    column_of[codes] = np.arange(len(codes))
    gram = np.zeros((len(codes), len(codes)))
    _gram_matrix(corpus.prefix, *shape, column_of, gram)
    explained, axes = principal_axes(gram, num_axes)
    coordinates = np.zeros((corpus.num_programs, axes.shape[1]), dtype=np.float32)
    _embed(corpus.prefix, *shape, column_of, axes.astype(np.float32), coordinates)
    return Space(
        SYNTACTIC,
        corpus.key,
        syntactic_settings(p, q, num_axes),
        coordinates,
        explained,
        axes,
        tuple(pq_gram_text(grammar, int(code), p, q) for code in codes),
    )


def syntactic_settings(p: int = 2, q: int = 3, num_axes: int = 32) -> dict[str, Any]:
    """Settings that decide the space, for its key."""
    return {"p": p, "q": q, "num_axes": num_axes, "weight": "l2"}
