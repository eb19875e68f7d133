"""Density shifts: one support, different probability mass. How training programs are drawn from a pool.

Every regime is one rule: give every program a cell and draw equal numbers from every cell. The cells are
one for all (random), cells of a space (syntactic, semantic), occupied pairs of both (dual), or the
semantic classes (class). A dial leads from equal cells to the cells' own sizes and beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError
from synthlab.language.measure import sizes_of
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.splits.cells import check_cells, draw_from_cells, grid_steps, quotas, space_cells
from synthlab.splits.split import (
    RANDOM_TEXT,
    Split,
    check_pool,
    check_sizes,
    choose_targets,
    learned_texts,
    reserve_classes,
    training_pool,
    with_spaces,
)
from synthlab.universe.corpus import Corpus

REGIMES = ("random", "syntactic", "semantic", "dual", "class")
RESERVED_SHARE = 0.20


def draw_settings(cells: str, concentration: float, match_size: bool) -> dict[str, Any]:
    """The settings that decide how programs are drawn from cells, checked.

    Raises
    ------
    ConfigurationError
        For unknown cells or a negative concentration.
    """
    check_cells(cells, concentration)
    return {"cells": cells, "concentration": concentration, "match_size": match_size}


def regime_spaces(regime: str) -> tuple[str, ...]:
    """Names of the spaces whose cells a regime reads.

    Raises
    ------
    ConfigurationError
        For an unknown regime.
    """
    if regime not in REGIMES:
        raise ConfigurationError(f"unknown regime {regime!r}: choose from {', '.join(REGIMES)}")
    return {SYNTACTIC: (SYNTACTIC,), SEMANTIC: (SEMANTIC,), "dual": (SYNTACTIC, SEMANTIC)}.get(regime, ())


def regime_cells(
    corpus: Corpus, spaces: Mapping[str, Space], program_ids: np.ndarray, regime: str, *, num_cells: int, seed: int,
    kind: str = "kmeans",
) -> np.ndarray:  # fmt: skip
    """Cell of every program under a regime, (n,).

    Raises
    ------
    ConfigurationError
        For an unknown regime, or a space that is not there.
    """
    kinds = regime_spaces(regime)
    for name in kinds:
        if name not in spaces:
            raise ConfigurationError(f"the regime {regime!r} needs the {name} space: add it to the spaces")
    parts = [
        space_cells(corpus, spaces[name], program_ids, num_cells=num_cells, seed=seed, kind=kind).astype(np.int64)
        for name in kinds
    ]
    if regime == "class":
        return corpus.class_index[program_ids].astype(np.int64)
    if not parts:
        return np.zeros(len(program_ids), dtype=np.int64)
    return parts[0] if len(parts) == 1 else parts[0] * (int(parts[1].max()) + 1) + parts[1]


def draw_by_regime(
    corpus: Corpus, spaces: Mapping[str, Space], pool: np.ndarray, regime: str, num: int, settings: Mapping[str, Any],
    *, strata: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Ids of `num` programs of a pool drawn by a regime.

    Parameters
    ----------
    corpus, spaces, pool
        Where from.
    regime, num
        How, and how many.
    settings
        num_cells, seed, cells, concentration, match_size and policy, as in `density_settings`.
    strata
        Size of every program of the pool, where sizes are matched; by default that of the text learned for it.
    """
    seed, concentration = settings["seed"], settings["concentration"]
    cells = regime_cells(
        corpus, spaces, pool, regime, num_cells=settings["num_cells"], seed=seed, kind=settings["cells"]
    )
    generator = np.random.default_rng([seed, 2])
    if not settings["match_size"]:
        return pool[draw_from_cells(cells, num, generator, concentration=concentration)]
    if strata is None:
        taught = corpus.prefix[choose_targets(corpus, pool, pool, settings["policy"])]
        strata = sizes_of(corpus.grammar, taught, corpus.measure)
    chosen = []
    sizes, counts = np.unique(strata, return_counts=True)
    for size, quota in zip(sizes, quotas(counts, num), strict=True):
        rows = np.flatnonzero(strata == size)
        chosen.append(rows[draw_from_cells(cells[rows], int(quota), generator, concentration=concentration)])
    return pool[generator.permutation(np.concatenate(chosen))]


def density_settings(
    *,
    regime: str,
    num_train: int,
    num_test: int = 500,
    num_cells: int = 100,
    reserved: float = RESERVED_SHARE,
    policy: str = "as sampled",
    seed: int = 0,
    cells: str = "kmeans",
    concentration: float = 0.0,
    match_size: bool = False,
) -> dict[str, Any]:
    """Settings of a density split, for its key.

    Parameters
    ----------
    regime, num_train
        How training programs are drawn, and how many.
    num_test
        Draws of every test set.
    num_cells, cells
        How many cells a space is cut into, and how: ``kmeans``, ``grid`` or ``farthest`` (see `space_cells`).
    concentration
        Numbers per cell follow the cells' sizes to this power: 0 draws equally from all cells, 1 keeps their
        shares, more favours dense cells. It is the inverse of a temperature on cell counts.
    match_size
        Give every regime, in training and tests, the pool's histogram of sizes, so that size explains no difference.
    reserved, policy, seed
        Share of classes kept for tests; which text of a class is learned; decides every draw.
    """
    regime_spaces(regime)
    if num_train is None:
        raise ConfigurationError("a density split needs a number of training programs: say num_train")
    given = dict(
        num_train=num_train, num_test=num_test, num_cells=num_cells, reserved=reserved, policy=policy, seed=seed
    )
    check_sizes(given | {"concentration": concentration, "match_size": match_size})
    return {"regime": regime, **given, **draw_settings(cells, concentration, match_size)}


def density_split(corpus: Corpus, spaces: Mapping[str, Space], settings: dict[str, Any]) -> Split:
    """Draw a density split: one training regime, a test set from reserved classes by every regime.

    Test cells are fitted on the test programs alone, with another number of clusters than training uses.

    Parameters
    ----------
    corpus, spaces
        The universe and its spaces by kind.
    settings
        From `density_settings`.

    Raises
    ------
    SplitError
        If the pool is smaller than the training set.
    """
    check_sizes(settings)
    settings = with_spaces(settings, corpus, spaces, density_spaces(settings))
    reserved = reserve_classes(corpus, settings["reserved"], settings["seed"])
    nothing = np.zeros(corpus.num_programs, dtype=bool)
    pool = training_pool(corpus, reserved, nothing)
    detail = f"{int(reserved.sum()):,} of {corpus.num_classes:,} classes are reserved"
    check_pool(len(pool), settings["num_train"], detail)
    train = draw_by_regime(corpus, spaces, pool, settings["regime"], settings["num_train"], settings)
    return Split(
        "density",
        corpus.identity,
        settings,
        train,
        choose_targets(corpus, train, pool, settings["policy"]),
        _tests(corpus, spaces, training_pool(corpus, ~reserved, nothing), settings),
        corpus.class_id[reserved],
        np.empty(0, dtype=np.uint8),
    )


def density_spaces(_settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the spaces that a density split reads: its tests are drawn by every regime."""
    return SYNTACTIC, SEMANTIC


def _tests(
    corpus: Corpus, spaces: Mapping[str, Space], pool: np.ndarray, settings: dict[str, Any]
) -> dict[str, np.ndarray]:
    num_cells = settings["num_cells"] * 7 // 10
    if num_cells < 2 or grid_steps(num_cells) == grid_steps(settings["num_cells"]):
        num_cells = (grid_steps(settings["num_cells"]) + 1) ** 2  # few cells: more of them, since fewer are the same
    changed = settings | {"num_cells": num_cells, "seed": settings["seed"] + 1}
    num, sizes = min(settings["num_test"], len(pool)), corpus.minimal_size[corpus.class_index[pool]]
    drawn = {r: draw_by_regime(corpus, spaces, pool, r, num, changed, strata=sizes) for r in REGIMES}
    return {regime: corpus.class_id[corpus.class_index[ids]] for regime, ids in drawn.items()}


def training_diversity(
    corpus: Corpus, spaces: Mapping[str, Space], split: Split, *, num_cells: int = 100
) -> pd.DataFrame:
    """Manipulation check of a training set: did the regime spread what it says, and what else moved?

    Returns
    -------
    pandas.DataFrame
        One row: programs, distinct classes, their effective number exp(H), spread over either space
        (effective share of the universe's cells, 1 if all are filled alike), bits of target text left once
        the function is known, mean leaves.
    """
    classes = corpus.class_index[split.train]
    everything = training_pool(
        corpus, np.zeros(corpus.num_classes, dtype=bool), np.zeros(corpus.num_programs, dtype=bool)
    )
    spread = {}
    for kind, space in spaces.items():
        cells = space_cells(corpus, space, everything, num_cells=num_cells, seed=99)
        trained = cells[np.searchsorted(everything, split.train)]
        spread[f"{kind}_spread"] = effective_number(trained) / len(np.unique(cells))
    row = {
        "regime": split.settings["regime"], "programs": len(split.train), "classes": len(np.unique(classes)),
        "effective_classes": effective_number(classes), **spread,
        **_taught(corpus, split, classes),
    }  # fmt: skip
    return pd.DataFrame([row])


def _taught(corpus: Corpus, split: Split, classes: np.ndarray) -> dict[str, float]:
    """Bits of target text left once the function is known, and mean leaves, over all texts that are taught."""
    if split.settings["policy"] != RANDOM_TEXT:
        bits = np.log2(effective_number(split.targets) / effective_number(classes))
        return {"text_bits": float(bits), "mean_leaves": float(corpus.leaves[split.targets].mean())}
    texts = learned_texts(corpus, split)
    owner = corpus.class_index[texts]
    num = np.bincount(owner, minlength=corpus.num_classes)[classes]
    leaves = np.bincount(owner, weights=corpus.leaves[texts], minlength=corpus.num_classes)[classes] / num
    return {"text_bits": float(np.log2(num).mean()), "mean_leaves": float(leaves.mean())}


def effective_number(labels: np.ndarray) -> float:
    """Number of equally frequent labels with the same entropy, exp(H)."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(np.exp(-(shares * np.log(shares)).sum()))
