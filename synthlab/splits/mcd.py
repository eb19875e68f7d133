"""Splits of maximum compound divergence: alike in their tokens, as unlike as can be in how these are composed.

Keysers et al. (ICLR 2020) choose train and test so that the atom divergence stays small and the compound
divergence is maximal. Here whole semantic classes move, each with all its drawn texts, so that the test
asks for new functions as well. Their greedy selection is replaced by simulated annealing over single
moves: every move is judged by the exact objective, which costs as many steps as the class has compounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from synthlab.compiling import numba
from synthlab.errors import ArtifactError, SplitError
from synthlab.spaces.compounds import (
    ATOM_ALPHA,
    COMPOUND_ALPHA,
    atom_counts,
    chernoff_divergence,
    compound_bags,
    divergences,
)
from synthlab.splits.split import Split, check_pool, check_sizes, choose_targets, training_pool
from synthlab.splits.support import RESERVED_SHARE, _at_most
from synthlab.universe.corpus import Corpus

NUM_PROGRAMS = 20_000
_SEARCHED_TOLERANCE, _SHARE_TOLERANCE = 0.002, 0.005
_SLACKS, _DRAWS_PER_SEARCH = (0.98, 0.9, 0.7), 20
_UNIT = 1 << 20
_ATOM_PENALTY, _SHARE_PENALTY = 5.0, 2.0
_HOT, _COLD, _MOST_FINAL_SWEEPS = 40.0, 0.1, 50


def mcd_settings(
    *,
    num_programs: int | None = NUM_PROGRAMS,
    num_train: int | None = None,
    num_test: int = 1000,
    test_share: float = 0.2,
    max_atom_divergence: float = 0.02,
    reserved: float = RESERVED_SHARE,
    control: bool = False,
    num_starts: int = 4,
    num_sweeps: int = 400,
    policy: str = "as sampled",
    seed: int = 0,
) -> dict[str, Any]:
    """Settings of an MCD split, for its key.

    Parameters
    ----------
    num_programs
        Programs drawn uniformly before they are divided; None takes all.
    num_train
        Training programs, drawn uniformly from the train side without its reserved classes; None takes all.
    num_test
        Most classes per test set.
    test_share
        Share of the drawn programs whose classes are tested for new compounds.
    max_atom_divergence
        Bound on 1 - C_0.5 of the tokens of train and test.
    reserved
        Share of the train side's classes that are reserved for the ID test, stratified by minimal size.
    control
        Choose the test classes at random instead, within no bound: the same sizes, no divergence.
    num_starts, num_sweeps
        Effort of the search: random starts, and passes over all classes while it cools.
    policy, seed
        As for every split; the targets "minimal inside the support" are the least drawn
        texts of their classes.

    Raises
    ------
    ConfigurationError
        For a share out of range, a number below one, or an unknown policy.
    """
    shares = {"test_share": test_share, "reserved": reserved, "max_atom_divergence": max_atom_divergence}
    counts = {"num_test": num_test, "num_starts": num_starts, "num_sweeps": num_sweeps}
    settings = dict(
        num_programs=num_programs, num_train=num_train, **counts, **shares, control=control, policy=policy, seed=seed
    )
    check_sizes(settings)
    return settings


@dataclass(frozen=True, eq=False)
class ClassBags:
    """Programs (n,), summed over their semantic classes: C of them with K compounds and V tokens."""

    programs: np.ndarray  # (n,) ids, ascending
    group: np.ndarray  # (n,) position of the class of every program
    rows: np.ndarray  # (C,) class row in the corpus
    sizes: np.ndarray  # (C,) programs
    atoms: np.ndarray  # (C, V) tokens
    bags: sp.csr_matrix  # (C, K) weights in whole units, so that sums are exact in any order


def drawn_programs(corpus: Corpus, settings: dict[str, Any]) -> np.ndarray:
    """Ids of the programs that an MCD split divides, ascending; their classes are tasks.

    Raises
    ------
    SplitError
        If there are fewer than asked for.
    """
    pool = training_pool(corpus, np.zeros(corpus.num_classes, dtype=bool), np.zeros(corpus.num_programs, dtype=bool))
    num = len(pool) if settings["num_programs"] is None else settings["num_programs"]
    if not 0 < num <= len(pool):
        raise SplitError(f"{num:,} of {len(pool):,} programs that compute a task: lower num_programs")
    return np.sort(np.random.default_rng([settings["seed"], 7]).choice(pool, num, replace=False))


def class_bags(corpus: Corpus, programs: np.ndarray) -> ClassBags:
    """Atoms and weighted compounds of some programs by class; weights are taken over all of them."""
    prefix = corpus.prefix[programs]
    rows, group = np.unique(corpus.class_index[programs], return_inverse=True)
    members = sp.csr_matrix((np.ones(len(group), dtype=np.int64), (group, np.arange(len(group)))))
    weights = compound_bags(corpus.grammar, prefix).weights
    weights.data = np.rint(weights.data * _UNIT).astype(np.int64)
    bags = (members @ weights).tocsr()
    bags.eliminate_zeros()
    atoms = members @ atom_counts(corpus.grammar, prefix)
    return ClassBags(programs, group, rows, np.bincount(group), atoms, bags)


@numba.njit(cache=True)
def _term(train, test):
    """Share of a compound in the Chernoff coefficient, before both sides are made to sum to one."""
    return 0.0 if train <= 0 or test <= 0 else test * (train / test) ** COMPOUND_ALPHA


@numba.njit(cache=True)
def _value(shared, totals, limits):
    """Compound divergence less what the broken bounds cost; the penalties exceed what breaking them can gain."""
    overlap = atoms = other_atoms = 0.0
    for column in range(2, totals.shape[1]):
        overlap += np.sqrt(float(totals[0, column]) * float(totals[1, column]))
        atoms += totals[0, column]
        other_atoms += totals[1, column]
    train, test = float(totals[0, 1]), float(totals[1, 1])
    if min(train, test, atoms, other_atoms) <= 0:
        return -np.inf
    atom = 1 - overlap / np.sqrt(atoms * other_atoms)
    compound = 1 - shared / (train**COMPOUND_ALPHA * test ** (1 - COMPOUND_ALPHA))
    off = abs(totals[1, 0] / (totals[0, 0] + totals[1, 0]) - limits[1])
    return compound - _ATOM_PENALTY * max(0.0, atom - limits[0]) - _SHARE_PENALTY * max(0.0, off - limits[2])


@numba.njit(cache=True)
def _move(amounts, c, totals, source, target):
    for column in range(amounts.shape[1]):
        totals[source, column] -= amounts[c, column]
        totals[target, column] += amounts[c, column]


@numba.njit(cache=True)
def _sweep(indptr, columns, weights, amounts, side, order, chances, temperature, limits, totals, held, terms):
    """Offer every class the other side once; returns how many moved. Sides: 0 train, 1 test."""
    shared, new, num_moved = terms.sum(), np.empty(len(terms)), 0
    value = _value(shared, totals, limits)
    for turn in range(len(order)):
        c = order[turn]
        source, target = side[c], 1 - side[c]
        change = 0.0
        for j in range(indptr[c], indptr[c + 1]):
            k = columns[j]
            left, gained = held[source, k] - weights[j], held[target, k] + weights[j]
            new[j - indptr[c]] = _term(left, gained) if target == 1 else _term(gained, left)
            change += new[j - indptr[c]] - terms[k]
        _move(amounts, c, totals, source, target)
        offered = _value(shared + change, totals, limits)
        if offered > value or (temperature > 0 and chances[turn] < np.exp((offered - value) / temperature)):
            value, shared, side[c] = offered, shared + change, target
            num_moved += 1
            for j in range(indptr[c], indptr[c + 1]):
                k = columns[j]
                held[source, k] -= weights[j]
                held[target, k] += weights[j]
                terms[k] = new[j - indptr[c]]
        else:
            _move(amounts, c, totals, target, source)
    return num_moved


def _anneal(
    classes: ClassBags, is_test: np.ndarray, limits: np.ndarray, num_sweeps: int, seed: list[int]
) -> np.ndarray:
    """Test classes, bool (C,), after cooling from a start, and then only upwards until nothing moves.

    `limits` are the largest atom divergence, the test share, and how far the share may be off.
    """
    generator, bags, side = np.random.default_rng(seed), classes.bags, is_test.astype(np.int64)
    held = np.stack([np.asarray(bags[side == s].sum(axis=0)).ravel() for s in (0, 1)])
    terms = np.array([_term(*pair) for pair in held.T])
    amounts = np.column_stack([classes.sizes, np.asarray(bags.sum(axis=1)).ravel(), classes.atoms])
    totals = np.stack([amounts[side == s].sum(axis=0) for s in (0, 1)])
    # one program moves the divergence by about 1 / n, and classes hold some ten each
    cooling = np.geomspace(_HOT, _COLD, num_sweeps) / len(classes.programs)
    for temperature in (*cooling, *np.zeros(_MOST_FINAL_SWEEPS)):
        order, chances = generator.permutation(len(side)), generator.random(len(side))
        moved = _sweep(
            bags.indptr, bags.indices, bags.data, amounts, side, order, chances, temperature, limits,
            totals, held, terms,
        )  # fmt: skip
        if not temperature and not moved:
            break
    return side == 1


def _random_side(sizes: np.ndarray, share: float, seed: list[int]) -> np.ndarray:
    """Classes in random order as long as they fit the share of the programs, bool (C,)."""
    room, chosen = share * sizes.sum(), np.zeros(len(sizes), dtype=bool)
    for c in np.random.default_rng(seed).permutation(len(sizes)):
        if sizes[c] <= room:
            chosen[c] = True
            room -= sizes[c]
    return chosen


def _found(classes: ClassBags, is_test: np.ndarray) -> tuple[float, float, float]:
    """Atom divergence, compound divergence and test share of a choice of test classes."""
    if not is_test.any() or is_test.all():
        return 1.0, 0.0, float(is_test.all())
    atoms = [classes.atoms[side].sum(axis=0) for side in (~is_test, is_test)]
    bags = [np.asarray(classes.bags[side].sum(axis=0)).ravel() for side in (~is_test, is_test)]
    return (
        chernoff_divergence(atoms[0], atoms[1], ATOM_ALPHA),
        chernoff_divergence(bags[0], bags[1], COMPOUND_ALPHA),
        float(classes.sizes[is_test].sum() / classes.sizes.sum()),
    )


def _choose_test(classes: ClassBags, settings: dict[str, Any], bound: float) -> np.ndarray:
    """The most divergent of several searches within the bounds of the settings, bool (C,).

    `bound` is the atom divergence that the search aims at, a little below the one that must hold.
    """
    share, seed, most = settings["test_share"], settings["seed"], settings["max_atom_divergence"]
    tolerance = 1 / len(classes.programs) + np.array([_SEARCHED_TOLERANCE, _SHARE_TOLERANCE])
    tried = [_random_side(classes.sizes, share, [seed, 8, start]) for start in range(settings["num_starts"])]
    if settings["control"]:
        return tried[0]
    limits = np.array([bound, share, tolerance[0]])
    tried = [_anneal(classes, s, limits, settings["num_sweeps"], [seed, 9, k]) for k, s in enumerate(tried)]
    found = [_found(classes, is_test) for is_test in tried]
    within = [k for k, (atom, _, s) in enumerate(found) if atom <= most and abs(s - share) <= tolerance[1]]
    if not within:
        atom, _, nearest = min(found)
        raise SplitError(
            f"no test of {share:.1%} of {len(classes.programs):,} programs in {len(classes.rows):,} classes has an "
            f"atom divergence of at most {most:.3g}: the nearest, {nearest:.1%}, has {atom:.3g}; raise "
            "max_atom_divergence or num_programs"
        )
    return tried[max(within, key=lambda k: found[k][1])]


class _Sides(NamedTuple):
    compound: np.ndarray  # class rows of either test
    id: np.ndarray
    pool: np.ndarray  # programs that may be trained on
    train: np.ndarray


def _reserve(corpus: Corpus, rows: np.ndarray, share: float, seed: list[int]) -> np.ndarray:
    """A share of some class rows at random, of every minimal size alike, ascending."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    sizes = corpus.minimal_size[shuffled]
    parts = [shuffled[sizes == size] for size in np.unique(sizes)]
    return np.sort(np.concatenate([part[: round(share * len(part))] for part in parts]))


def _divide(corpus: Corpus, classes: ClassBags, is_test: np.ndarray, settings: dict[str, Any], draw: int) -> _Sides:
    """Reserve the ID classes of the train side and draw the training programs from what is left."""
    seed, compound = [settings["seed"], 10, draw], classes.rows[is_test]
    reserved = _reserve(corpus, classes.rows[~is_test], settings["reserved"], [*seed, 0])
    detail = (
        f"{len(classes.programs):,} programs in {len(classes.rows):,} classes, of which {len(compound):,} are tested "
        f"for compounds and {len(reserved):,} reserved"
    )
    if not len(reserved) or not len(compound):
        raise SplitError(f"too few classes ({detail}): raise num_programs or the shares")
    pool = classes.programs[~np.isin(classes.rows, np.concatenate([compound, reserved]))[classes.group]]
    num_train = len(pool) if settings["num_train"] is None else settings["num_train"]
    check_pool(len(pool), num_train, detail)
    train = np.random.default_rng([*seed, 1]).permutation(pool)[:num_train]
    return _Sides(compound, reserved, pool, train)


def _bounded_sides(corpus: Corpus, classes: ClassBags, settings: dict[str, Any]) -> _Sides:
    """Sides that keep the bound for the programs that are trained on, not only for all that might have been.

    Reserving classes and drawing programs moves the atoms a little: where that breaks the bound they are drawn
    again, and at last the test is searched for within a closer bound.
    """
    most, atom = settings["max_atom_divergence"], 1.0
    for slack in _SLACKS:
        is_test = _choose_test(classes, settings, slack * most)
        for draw in range(_DRAWS_PER_SEARCH):
            sides = _divide(corpus, classes, is_test, settings, draw)
            trained = atom_counts(corpus.grammar, corpus.prefix[sides.train]).sum(axis=0)
            atom = chernoff_divergence(trained, classes.atoms[is_test].sum(axis=0), ATOM_ALPHA)
            if atom <= most or settings["control"]:
                return sides
    raise SplitError(
        f"{len(sides.train):,} training programs of {len(classes.programs):,} have an atom divergence of {atom:.3g} "
        f"from {len(sides.compound):,} tested classes, over {most:.3g}: raise it, num_train or num_programs"
    )


def mcd_split(corpus: Corpus, settings: dict[str, Any]) -> Split:
    """Draw a split of maximum compound divergence at a bounded atom divergence.

    Tests (classes): `compound` the test side, whose programs combine familiar tokens in unfamiliar ways; `id`
    reserved classes of the train side. The region is every text of a compound class.

    Parameters
    ----------
    corpus, settings
        The universe, and what `mcd_settings` made.

    Raises
    ------
    SplitError
        With all counts, if there are too few programs or classes, or the bounds cannot be kept.
    """
    check_sizes(settings)
    classes = class_bags(corpus, drawn_programs(corpus, settings))
    sides = _bounded_sides(corpus, classes, settings)
    tests = _at_most({"id": sides.id, "compound": sides.compound}, settings["num_test"], settings["seed"])
    held_out = np.zeros(corpus.num_classes + 1, dtype=bool)  # class -1 reads the last entry
    held_out[sides.compound] = True
    return Split(
        "mcd",
        corpus.identity,
        settings,
        sides.train,
        choose_targets(corpus, sides.train, sides.pool, settings["policy"]),
        {name: corpus.class_id[rows] for name, rows in tests.items()},
        corpus.class_id[np.sort(np.concatenate([sides.id, sides.compound]))],
        np.packbits(held_out[corpus.class_index]),
    )


def mcd_report(corpus: Corpus, split: Split) -> pd.DataFrame:
    """How far the training programs are from the drawn programs of every test.

    Parameters
    ----------
    corpus, split
        A split from `mcd_split` and its universe.

    Returns
    -------
    pandas.DataFrame
        Per test: ``classes`` and their drawn ``programs``, ``tested`` of them; ``atom_divergence`` and
        ``compound_divergence`` of train against them; ``compounds`` that occur in them, ``unseen_compounds`` of
        those never in training. `id` and `compound` stand for all their classes, also those beyond num_test.

    Raises
    ------
    ArtifactError
        If the split is of another kind or corpus.
    """
    if split.kind != "mcd" or split.corpus != corpus.identity:
        raise ArtifactError(f"a {split.kind} split, or one of another corpus: draw an MCD split on this corpus")
    drawn, train, records = drawn_programs(corpus, split.settings), corpus.prefix[split.train], []
    for name, rows in _tested_rows(corpus, split).items():
        test = corpus.prefix[drawn[np.isin(corpus.class_index[drawn], rows)]]
        found = divergences(corpus.grammar, train, test)
        occurs = compound_bags(corpus.grammar, np.concatenate([train, test])).occurrences
        in_train, in_test = (np.unique(side.indices) for side in (occurs[: len(train)], occurs[len(train) :]))
        records.append({
            "part": name, "classes": len(rows), "programs": len(test), "tested": len(split.tests[name]),
            "atom_divergence": found.atom, "compound_divergence": found.compound,
            "compounds": len(in_test), "unseen_compounds": len(np.setdiff1d(in_test, in_train)),
        })  # fmt: skip
    return pd.DataFrame(records)


def _tested_rows(corpus: Corpus, split: Split) -> dict[str, np.ndarray]:
    """Class rows of every test; those of `id` and `compound` before any were left out."""
    parts = {name: np.unique(corpus.class_rows(ids)) for name, ids in split.tests.items()}
    held_out = np.unique(corpus.class_index[split.held_out(corpus.num_programs)])
    reserved = corpus.class_rows(split.reserved)
    return parts | {"id": np.setdiff1d(reserved, held_out), "compound": held_out}
