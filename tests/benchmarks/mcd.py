"""Seconds, memory and divergences of splits of maximum compound divergence, against the published greedy selection."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import scipy.sparse as sp
from benchmarks.measure import in_process, memory_of, timed

from synthlab.language.grammar import POLYNOMIAL
from synthlab.spaces.compounds import chernoff_divergence
from synthlab.splits.mcd import ClassBags, class_bags, drawn_programs, mcd_settings, mcd_split
from synthlab.universe.corpus import Corpus, build_corpus

Side = tuple[np.ndarray, np.ndarray]


def bench_mcd(repeats: int, leaves: int, programs: int, greedy_leaves: int, greedy_programs: int) -> dict[str, Any]:
    """The search at full size, and beside the greedy selection at a size where that ends."""
    full = dict(leaves=leaves, programs=programs, repeats=repeats, with_greedy=False)
    beside = dict(leaves=greedy_leaves, programs=greedy_programs, repeats=1, with_greedy=True)
    return {name: in_process("mcd.drawn", **sizes) for name, sizes in (("full", full), ("beside_greedy", beside))}


def drawn(leaves: int, programs: int, repeats: int, with_greedy: bool) -> dict[str, Any]:
    """Draw an MCD split and its control; the peak of this process is then the peak of the draw."""
    corpus, settings = build_corpus(POLYNOMIAL, leaves), mcd_settings(num_programs=programs)
    mcd_split(build_corpus(POLYNOMIAL, 3), mcd_settings(num_programs=None, num_starts=1, max_atom_divergence=0.5))
    split, memory = memory_of(lambda: mcd_split(corpus, settings))
    bags = class_bags(corpus, drawn_programs(corpus, settings))
    sides = {"search": split, "random": mcd_split(corpus, settings | {"control": True})}
    divergence = {name: _divergence(bags, _tested(corpus, bags, side)) for name, side in sides.items()}
    row = {"programs": programs, "classes": len(bags.rows), "compounds": bags.bags.shape[1]}
    if with_greedy:
        start = time.perf_counter()
        divergence["greedy"] = _divergence(bags, published_greedy(bags.bags, bags.atoms, bags.sizes, 0.2, seed=0))
        row["greedy_s"] = time.perf_counter() - start
    return {**row, **timed(lambda: mcd_split(corpus, settings), repeats), **memory, "divergence": divergence}


def _tested(corpus: Corpus, bags: ClassBags, split: Any) -> np.ndarray:
    held_out = np.unique(corpus.class_index[split.held_out(corpus.num_programs)])
    return np.isin(bags.rows, held_out)


def _divergence(bags: ClassBags, is_test: np.ndarray) -> dict[str, float]:
    sums = [[np.asarray(m[side].sum(axis=0)).ravel() for side in (~is_test, is_test)] for m in (bags.atoms, bags.bags)]
    return {"atom": chernoff_divergence(*sums[0], 0.5), "compound": chernoff_divergence(*sums[1], 0.1)}


def published_greedy(
    bags: sp.csr_matrix, atoms: np.ndarray, sizes: np.ndarray, share: float, *, seed: int, num_candidates: int = 0
) -> np.ndarray:
    """Test items, bool (C,), chosen one by one as by Keysers et al. (ICLR 2020), appendix C.

    Train and test start from an item each and grow in turns that keep the share of the test; every turn takes
    the item that minimises the distance from an atom divergence of 0 and a compound divergence of 1.

    Parameters
    ----------
    bags, atoms, sizes
        Compounds (C, K), atoms (C, V) and programs (C,) of every item.
    share, seed
        Share of the programs to test; decides the first two items and, with `num_candidates`, who is looked at.
    num_candidates
        Items looked at in every turn; 0 for all that are left.
    """
    generator, bags, atoms = np.random.default_rng(seed), bags.astype(float), sp.csr_matrix(atoms.astype(float))
    order = generator.permutation(len(sizes))
    sums = [[m[[c]].toarray().ravel() for c in order[:2]] for m in (atoms, bags)]
    side, filled = np.full(len(sizes), -1), sizes[order[:2]].astype(float)
    side[order[0]], side[order[1]] = 0, 1
    while (side < 0).any():
        turn = int(filled[1] < share * filled.sum())
        left = np.flatnonzero(side < 0)
        if num_candidates:
            left = generator.permutation(left)[:num_candidates]
        coefficients = [_joined(m[left], s, turn, a) for m, s, a in zip((atoms, bags), sums, (0.5, 0.1))]
        chosen = left[np.argmin(np.abs(1 - coefficients[0]) + np.abs(coefficients[1]))]
        side[chosen], filled[turn] = turn, filled[turn] + sizes[chosen]
        for matrix, pair in zip((atoms, bags), sums):
            pair[turn] = pair[turn] + matrix[[chosen]].toarray().ravel()
    return side == 1


def _joined(rows: sp.csr_matrix, sums: list[np.ndarray], turn: int, alpha: float) -> np.ndarray:
    """Chernoff coefficient of the two sides if each of some rows joined one of them."""
    exponents = (alpha, 1 - alpha)
    other, own = sums[1 - turn] ** exponents[1 - turn], sums[turn]
    gained = (own[rows.indices] + rows.data) ** exponents[turn] - own[rows.indices] ** exponents[turn]
    change = sp.csr_matrix((gained * other[rows.indices], rows.indices, rows.indptr), shape=rows.shape).sum(axis=1)
    shared = other @ own ** exponents[turn] + np.asarray(change).ravel()
    mass = own.sum() + np.asarray(rows.sum(axis=1)).ravel()
    return shared / (mass ** exponents[turn] * sums[1 - turn].sum() ** exponents[1 - turn])
