"""Where a program stands by its text: bags of pq-grams (`pqgrams`), weighted, projected by an exact SVD."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import Grammar
from synthlab.language.program import Program, token_matrix
from synthlab.spaces.pqgrams import NULL as NULL
from synthlab.spaces.pqgrams import PQGrams, Profiles, code_texts, profile_sizes, profiles, spell
from synthlab.spaces.space import SYNTACTIC, Space, check_num_axes, in_halves, sparse_axes
from synthlab.universe.corpus import Corpus
from synthlab.universe.hashing import HashIndex, KeyNumbers

WEIGHTINGS = ("raw", "l2", "tfidf")
"""Counts as they are; of length one; times inverse document frequency, then of length one."""

_ROWS_AT_ONCE = 1 << 16
_NO_KEY = np.uint64(1 << 63)  # codes have 62 bits


def pq_profile(program: Program, p: int = 2, q: int = 3) -> Counter[int]:
    """Bag of pq-grams of one program, as codes; decode one with `pq_gram_text`."""
    return profiles(program.grammar, token_matrix([program]), PQGrams(p=p, q=q)).bag(0)


def pq_gram_text(grammar: Grammar, code: int, p: int, q: int) -> str:
    """A pq-gram as ``ancestor/anchor(child child child)``.

    Raises
    ------
    ConfigurationError
        If p and q are so large that codes are hashes.
    """
    base, digits = len(grammar.tokens) + 1, []
    if base ** (p + q) > 1 << 62:
        raise ConfigurationError(f"codes of p={p}, q={q} are hashes of more than 62 bits: lower p or q")
    for _ in range(p + q):
        code, digit = divmod(code, base)
        digits.append(digit)
    return spell(grammar.tokens, digits[:p] + digits[p:][::-1], p)


def pq_distances(first: Program, second: Program, p: int = 2, q: int = 3) -> dict[str, Any]:
    """Distances of two programs, with what they are made of; of many pairs, see `pqgrams.pair_distances`.

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


# ---------------------------------------------------------------- bags as a sparse matrix


@numba.njit(cache=True, nogil=True)
def _distinct(codes, counts, found, repeats, ends):
    """Distinct codes of sorted rows, how often each occurs, and where each row ends; returns how many there are."""
    num = 0
    for row in range(len(codes)):
        for k in range(counts[row]):
            if k > 0 and codes[row, k] == codes[row, k - 1]:
                repeats[num - 1] += 1
            else:
                found[num, 0], repeats[num] = codes[row, k], 1
                num += 1
        ends[row] = num
    return num


@numba.njit(cache=True, nogil=True)
def _renumber(columns, rank):
    for k in range(len(columns)):
        columns[k] = rank[columns[k]]


@numba.njit(cache=True, nogil=True)
def _lengths(starts, columns, values, weights, lengths):
    """Euclidean length of every row of a sparse matrix whose columns are weighted."""
    for row in range(len(lengths)):
        squares = 0.0
        for k in range(starts[row], starts[row + 1]):
            squares += (values[k] * weights[columns[k]]) ** 2
        lengths[row] = np.sqrt(squares)


@numba.njit(cache=True, nogil=True)
def _place(starts, columns, values, scales, axes, places):
    """Rows of a sparse matrix times axes (F, A), each row scaled."""
    for row in range(len(places)):
        place = places[row]
        for k in range(starts[row], starts[row + 1]):
            value, loadings = np.float32(values[k]), axes[columns[k]]
            for axis in range(len(place)):
                place[axis] += value * loadings[axis]
        for axis in range(len(place)):
            place[axis] *= scales[row]


@dataclass(frozen=True, eq=False)
class Bags:
    """Counts of pq-grams of many programs.

    Attributes
    ----------
    codes
        Distinct pq-grams, ascending (F,), int64.
    first
        First program with each (F,).
    counts
        How often each occurs in every program, uint16 CSR (P, F), columns ascending in every row.
    """

    codes: np.ndarray
    first: np.ndarray
    counts: csr_array


def pq_gram_bags(grammar: Grammar, prefix: np.ndarray, grams: PQGrams) -> Bags:
    """Bags of pq-grams of every row of a padded token matrix (P, L)."""
    numbering, keys, first = KeyNumbers(), [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    most = int(profile_sizes(grammar, prefix, grams).sum())
    index = np.int32 if most < 1 << 31 else np.int64  # of one type, or the matrix would copy them
    columns, values = np.empty(most, dtype=index), np.empty(most, dtype=np.uint16)
    starts, filled = np.zeros(len(prefix) + 1, dtype=index), 0
    for start in range(0, len(prefix), _ROWS_AT_ONCE):
        found, repeats, ends = _distinct_codes(profiles(grammar, prefix[start : start + _ROWS_AT_ONCE], grams))
        numbers, fresh = numbering.number(found, _NO_KEY)
        keys.append(found[fresh, 0].astype(np.int64))
        first.append(start + np.searchsorted(ends, fresh, side="right"))
        columns[filled : filled + len(found)] = numbers
        values[filled : filled + len(found)] = repeats
        starts[start + 1 : start + 1 + len(ends)] = filled + ends
        filled += len(found)
    codes = np.concatenate(keys)
    order, rank = np.argsort(codes), np.empty(len(codes), dtype=index)
    rank[order] = np.arange(len(codes))
    _renumber(columns[:filled], rank)  # by code instead of by first appearance
    counts = csr_array((values[:filled], columns[:filled], starts), shape=(len(prefix), len(codes)))
    return Bags(codes[order], np.concatenate(first)[order], counts)


def _distinct_codes(given: Profiles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct codes as keys (n, 2) of a hash table, their counts (n,), and the end of every row (P,)."""
    most = int(given.counts.sum())
    found, repeats = np.zeros((most, 2), dtype=np.uint64), np.empty(most, dtype=np.uint16)
    ends = np.empty(len(given), dtype=np.int64)
    num = _distinct(given.codes, given.counts, found, repeats, ends)
    return found[:num], repeats[:num], ends


def known_counts(grammar: Grammar, prefix: np.ndarray, grams: PQGrams, codes: np.ndarray) -> csr_array:
    """Counts of given pq-grams (F,) in every program, uint16 CSR (P, F + 1); the last column is for all others.

    A program's other pq-grams have an entry each there, since each counts for itself in a length.
    """
    found, repeats, ends = _distinct_codes(profiles(grammar, prefix, grams))
    columns = HashIndex(_as_keys(codes)).find(found)
    columns[columns < 0] = len(codes)
    return csr_array((repeats, columns.astype(np.int32), np.append(0, ends)), shape=(len(prefix), len(codes) + 1))


def _as_keys(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes.astype(np.uint64), np.zeros(len(codes), dtype=np.uint64)], axis=1)


# ---------------------------------------------------------------- weights and places


def column_weights(counts: csr_array, weighting: str) -> np.ndarray:
    """Weight of every pq-gram and, last, of one that no program has: (F + 1,).

    For ``tfidf`` the smooth inverse document frequency ln((1 + P) / (1 + programs with it)) + 1, as in
    scikit-learn's `TfidfTransformer`; otherwise 1.
    """
    num_programs, num_features = counts.shape
    if weighting != "tfidf":
        return np.ones(num_features + 1)
    num_with = np.bincount(counts.indices, minlength=num_features + 1)
    return np.log((1 + num_programs) / (1 + num_with)) + 1


def row_scales(counts: csr_array, weights: np.ndarray, weighting: str) -> np.ndarray:
    """What the weighted counts of every program are multiplied with (P,): one over their length, or 1 for ``raw``."""
    lengths = np.ones(counts.shape[0])
    if weighting != "raw":
        _lengths(counts.indptr, counts.indices, counts.data, weights, lengths)
    return 1.0 / lengths


def bag_coordinates(counts: csr_array, weights: np.ndarray, scales: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Places of bags (P, A), float32.

    Parameters
    ----------
    counts
        Counts of the F pq-grams of the axes and, in any further column, of others.
    weights, scales
        From `column_weights` (F + 1,) and `row_scales` (P,).
    axes
        Loadings (F, A).
    """
    weighted = np.zeros((len(weights), axes.shape[1]), dtype=np.float32)  # what is not among the features adds nothing
    weighted[: len(axes)] = weights[: len(axes), None] * axes
    places = np.zeros((counts.shape[0], axes.shape[1]), dtype=np.float32)
    scales = scales.astype(np.float32)

    def place(start: int, stop: int) -> None:
        rows = slice(start, stop)
        _place(counts.indptr[start : stop + 1], counts.indices, counts.data, scales[rows], weighted, places[rows])

    in_halves(place, len(places))
    return places


def fit_syntactic(
    corpus: Corpus,
    *,
    p: int = 2,
    q: int = 3,
    num_axes: int = 32,
    weighting: str = "l2",
    labels: str = "tokens",
    window: int = 0,
) -> Space:
    """Fit the syntactic space on every program of the corpus.

    The singular vectors are exact, see `space.sparse_axes`; no dense program by pq-gram matrix is ever stored.

    Parameters
    ----------
    corpus
        The universe.
    p, q, labels, window
        Which pq-grams, see `pqgrams.PQGrams`.
    num_axes
        Axes to keep; fewer if the matrix has a smaller rank.
    weighting
        ``raw`` counts, whose first axis is size; ``l2``, counts of length one; ``tfidf``, counts times
        inverse document frequency, of length one.

    Raises
    ------
    ConfigurationError
        For lengths below one, an unknown weighting or labels, or a window with q other than 2.
    """
    grams = PQGrams(p=p, q=q, window=window, labels=labels)
    if weighting not in WEIGHTINGS:
        raise ConfigurationError(f"unknown weighting {weighting!r}: choose from {', '.join(WEIGHTINGS)}")
    check_num_axes(num_axes)
    bags = pq_gram_bags(corpus.grammar, corpus.prefix, grams)
    weights = column_weights(bags.counts, weighting)
    scales = row_scales(bags.counts, weights, weighting)
    explained, axes = sparse_axes(bags.counts, num_axes, row_scales=scales, column_weights=weights[:-1])
    return Space(
        SYNTACTIC,
        corpus.key,
        syntactic_settings(p, q, num_axes, weighting, labels, window),
        bag_coordinates(bags.counts, weights, scales, axes),
        explained,
        axes,
        tuple(code_texts(corpus.grammar, grams, bags.codes, corpus.prefix[bags.first])),
        {"codes": bags.codes, "weights": weights, "grammar": np.frombuffer(corpus.grammar.digest.encode(), np.uint8)},
    )


def syntactic_settings(
    p: int = 2, q: int = 3, num_axes: int = 32, weighting: str = "l2", labels: str = "tokens", window: int = 0
) -> dict[str, Any]:
    """Settings that decide the space, for its key."""
    settings: dict[str, Any] = {"p": p, "q": q, "num_axes": num_axes, "weight": weighting}
    if labels != "tokens":
        settings["labels"] = labels
    return settings | ({"window": window} if window else {})


def settings_grams(settings: dict[str, Any]) -> PQGrams:
    """The pq-grams that a syntactic space of such settings is made of."""
    names = {name: settings[name] for name in ("labels", "window") if name in settings}
    return PQGrams(p=settings["p"], q=settings["q"], **names)
