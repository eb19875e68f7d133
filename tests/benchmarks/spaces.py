"""Both spaces: seconds and peak memory of a fit, and the steps of the syntactic one against plain Python and ARPACK."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.measure import check, in_process, memory_of, rate, timed
from scipy.sparse import csr_array
from sklearn.decomposition import TruncatedSVD

from synthlab.language.grammar import PAD, POLYNOMIAL, Grammar
from synthlab.spaces.pqgrams import NULL, pair_distances, profiles
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.space import sparse_axes
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.store import Store
from synthlab.universe.corpus import Corpus, build_corpus

FITS = {"syntactic": fit_syntactic, "semantic": fit_semantic}
Bag = Counter[tuple[str, ...]]

_MOST_PROFILES, _MOST_PLAIN = 1_000_000, 5_000
_MOST_ROWS, _MOST_FEATURES, _LEAST_FEATURES = 1_000_000, 3_000, 60
_ENTRIES, _AXES = 21, 32
_ALIKE = 1e-4


def bench_spaces(repeats: int, leaves: int) -> dict[str, Any]:
    """Fits on every program of the universe; under ``syntactic`` also its steps."""
    with tempfile.TemporaryDirectory() as folder:
        key = build_corpus(POLYNOMIAL, leaves).save(Store(folder))
        fits = {kind: in_process("spaces.fitted", kind=kind, folder=folder, key=key, repeats=repeats) for kind in FITS}
    fits["syntactic"] |= bench_profiles(repeats, leaves) | {"svd": bench_svd(repeats, fits["syntactic"]["programs"])}
    return fits


def fitted(kind: str, folder: str, key: str, repeats: int) -> dict[str, Any]:
    """Fit a space of a stored corpus; the peak of this process is then the peak of the fit."""
    corpus = Corpus.load(Store(Path(folder)), key)
    FITS[kind](build_corpus(POLYNOMIAL, 2))  # compiles
    _, memory = memory_of(lambda: FITS[kind](corpus))
    return {"programs": corpus.num_programs, **timed(lambda: FITS[kind](corpus), repeats), **memory}


# ---------------------------------------------------------------- pq-grams


def plain_profile(grammar: Grammar, row: list[int], p: int = 2, q: int = 3) -> Bag:
    """Bag of pq-grams of one padded row, with tuples and a `Counter`."""
    bag: Bag = Counter()
    tokens = iter([grammar.tokens[t] for t in row if t != PAD])

    def visit(stem: tuple[str, ...]) -> str:
        anchor = next(tokens)
        stem = (*stem[1:], anchor)
        children = [visit(stem) for _ in range(grammar.arities[grammar.index[anchor]])]
        filler = [NULL] * (q - 1)
        base = [*filler, *children, *filler] if children else [NULL] * q
        bag.update((*stem, *base[k : k + q]) for k in range(len(base) - q + 1))
        return anchor

    visit((NULL,) * p)
    return bag


def plain_distance(first: Bag, second: Bag) -> float:
    """The pq-gram metric of two bags."""
    shared, total = (first & second).total(), first.total() + second.total()
    return (total - 2 * shared) / (total - shared)


def bench_profiles(repeats: int, leaves: int) -> dict[str, Any]:
    """Profiles of random programs of the universe and distances of random pairs, one thread."""
    programs = build_corpus(POLYNOMIAL, leaves).prefix
    order = np.random.default_rng(0).permutation(len(programs))
    rows = programs[order[: min(_MOST_PROFILES, len(order) // 2 * 2)]]
    num = min(_MOST_PLAIN, len(rows) // 4) * 2
    few = rows[:num].tolist()
    found, plain = profiles(POLYNOMIAL, rows), [plain_profile(POLYNOMIAL, row) for row in few]
    first, second = found[: len(rows) // 2], found[len(rows) // 2 :]
    halves = list(zip(plain[: num // 2], plain[num // 2 :], strict=True))
    expected = [plain_distance(*pair) for pair in halves]
    few_found = profiles(POLYNOMIAL, rows[:num])
    found_distances = pair_distances(few_found[: num // 2], few_found[num // 2 :])
    check(np.allclose(found_distances, expected), "pq-gram distances")
    works = {
        "profiles": (lambda: profiles(POLYNOMIAL, rows), len(rows),
                     lambda: [plain_profile(POLYNOMIAL, row) for row in few], num),
        "distances": (lambda: pair_distances(first, second), len(first),
                      lambda: [plain_distance(*pair) for pair in halves], len(halves)),
    }  # fmt: skip
    return {name: _against_plain(repeats, *work) for name, work in works.items()}


def _against_plain(repeats: int, work: Any, num: int, plain: Any, num_plain: int) -> dict[str, Any]:
    ours, theirs = timed(work, repeats), timed(plain, repeats)
    per_s, plain_per_s = rate(num, ours), rate(num_plain, theirs)
    return {
        "number": num, **ours, "per_s": per_s, "plain": {"number": num_plain, **theirs, "per_s": plain_per_s},
        "ratio": per_s / plain_per_s,
    }  # fmt: skip


# ---------------------------------------------------------------- singular vectors


def bench_svd(repeats: int, num_programs: int) -> dict[str, Any]:
    """Leading axes of a random sparse matrix against scikit-learn's ARPACK, which runs once."""
    num_rows = min(_MOST_ROWS, num_programs)
    matrix = random_bags(num_rows, max(_LEAST_FEATURES, min(_MOST_FEATURES, num_rows // 300)))
    counts, floats = csr_array(matrix, dtype=np.uint16), matrix.astype(np.float64)
    explained, _ = sparse_axes(counts, _AXES)
    reference = TruncatedSVD(_AXES, algorithm="arpack", random_state=0)
    theirs = timed(lambda: reference.fit(floats), 1)
    singular = np.sqrt(explained * (floats.data**2).sum())
    check(np.allclose(singular, reference.singular_values_, rtol=_ALIKE), "singular values")
    ours = timed(lambda: sparse_axes(counts, _AXES), repeats)
    return {
        "rows": num_rows, "features": matrix.shape[1], "entries": matrix.nnz, "axes": _AXES, **ours,
        "arpack": theirs, "ratio": theirs["median_s"] / ours["median_s"],
    }  # fmt: skip


def random_bags(num_rows: int, num_features: int, seed: int = 0) -> csr_array:
    """Counts of about 21 random features a row (P, F), whose popularity falls as one over the rank."""
    generator = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, num_features + 1)
    columns = generator.choice(num_features, size=num_rows * _ENTRIES, p=popularity / popularity.sum())
    starts = np.arange(num_rows + 1) * _ENTRIES
    matrix = csr_array((np.ones(len(columns)), columns, starts), shape=(num_rows, num_features))
    matrix.sum_duplicates()
    return matrix
