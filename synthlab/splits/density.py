"""Density shifts: one support, different probability mass. How training programs are drawn from a pool.

Every regime is one rule: give every program a cell and draw equal numbers from every cell. The cells are
one for all (random), k-means cells of a space (syntactic, semantic), occupied pairs of both (dual), or the
semantic classes (class).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans

from synthlab.errors import ConfigurationError
from synthlab.spaces.projection import distinct_rows
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.splits.split import Split, check_pool, check_sizes, choose_targets, reserve_classes, training_pool
from synthlab.universe.corpus import Corpus

REGIMES = ("random", "syntactic", "semantic", "dual", "class")
RESERVED_SHARE = 0.20
_FIT_ROWS = 20_000


def kmeans_cells(corpus: Corpus, space: Space, program_ids: np.ndarray, *, num_cells: int, seed: int) -> np.ndarray:
    """Cell of every given program, (n,), by k-means fitted on the distinct vectors among them.

    Parameters
    ----------
    corpus, space
        The universe and one of its spaces; for the semantic space each class counts once in the fit.
    program_ids
        Programs to place; their classes must be defined on the grid.
    num_cells
        Number of clusters; fewer if there are fewer distinct vectors.
    seed
        Decides the fit.
    """
    rows = program_ids if space.kind == SYNTACTIC else corpus.class_index[program_ids]
    unique, inverse = np.unique(rows, return_inverse=True)
    vectors = space.coordinates[unique]
    fitted = vectors[distinct_rows(vectors, _FIT_ROWS, seed)]
    model = MiniBatchKMeans(min(num_cells, len(fitted)), random_state=seed, n_init=1, batch_size=4096)
    model.fit(fitted)
    return model.predict(vectors)[inverse]


def draw_evenly(cells: np.ndarray, num: int, generator: np.random.Generator) -> np.ndarray:
    """Positions of `num` items with equal numbers from every cell; small cells give all they have.

    Cells are visited round-robin in random order, items of a cell in random order.
    """
    shuffled = generator.permutation(len(cells))
    _, labels = np.unique(cells[shuffled], return_inverse=True)
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))])
    turn = np.empty(len(cells), dtype=np.int64)
    turn[order] = np.arange(len(cells)) - starts[labels[order]]
    cell_order = generator.permutation(len(starts) - 1)
    first = np.lexsort((cell_order[labels], turn))[:num]
    return shuffled[first]


def regime_cells(
    corpus: Corpus, spaces: Mapping[str, Space], program_ids: np.ndarray, regime: str, *, num_cells: int, seed: int
) -> np.ndarray:
    """Cell of every program under a regime, (n,).

    Raises
    ------
    ConfigurationError
        For an unknown regime.
    """

    def cells(kind: str) -> np.ndarray:
        return kmeans_cells(corpus, spaces[kind], program_ids, num_cells=num_cells, seed=seed)

    if regime == "random":
        return np.zeros(len(program_ids), dtype=np.int64)
    if regime in (SYNTACTIC, SEMANTIC):
        return cells(regime)
    if regime == "dual":
        return cells(SYNTACTIC).astype(np.int64) * num_cells + cells(SEMANTIC)
    if regime == "class":
        return corpus.class_index[program_ids].astype(np.int64)
    raise ConfigurationError(f"unknown regime {regime!r}: choose from {', '.join(REGIMES)}")


def draw_by_regime(
    corpus: Corpus, spaces: Mapping[str, Space], pool: np.ndarray, regime: str, num: int, *, num_cells: int, seed: int
) -> np.ndarray:
    """Ids of `num` programs of a pool drawn by a regime."""
    cells = regime_cells(corpus, spaces, pool, regime, num_cells=num_cells, seed=seed)
    return pool[draw_evenly(cells, num, np.random.default_rng([seed, 2]))]


def density_settings(
    *,
    regime: str,
    num_train: int,
    num_test: int = 500,
    num_cells: int = 100,
    reserved: float = RESERVED_SHARE,
    policy: str = "as sampled",
    seed: int = 0,
) -> dict[str, Any]:
    """Settings of a density split, for its key."""
    return dict(
        regime=regime,
        num_train=num_train,
        num_test=num_test,
        num_cells=num_cells,
        reserved=reserved,
        policy=policy,
        seed=seed,
    )


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
    seed, num_cells = settings["seed"], settings["num_cells"]
    reserved = reserve_classes(corpus, settings["reserved"], seed)
    nothing = np.zeros(corpus.num_programs, dtype=bool)
    pool = training_pool(corpus, reserved, nothing)
    check_pool(pool, settings["num_train"], f"{int(reserved.sum()):,} of {corpus.num_classes:,} classes are reserved")
    train = draw_by_regime(
        corpus, spaces, pool, settings["regime"], settings["num_train"], num_cells=num_cells, seed=seed
    )
    test_pool = training_pool(corpus, ~reserved, nothing)
    tests = {}
    for regime in REGIMES:
        num = min(settings["num_test"], len(test_pool))
        ids = draw_by_regime(
            corpus, spaces, test_pool, regime, num, num_cells=max(2, num_cells * 7 // 10), seed=seed + 1
        )
        tests[regime] = corpus.class_id[corpus.class_index[ids]]
    targets = choose_targets(corpus, train, pool, settings["policy"])
    return Split(
        "density",
        corpus.identity,
        settings,
        train,
        targets,
        tests,
        corpus.class_id[reserved],
        np.empty(0, dtype=np.uint8),
    )


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
        cells = kmeans_cells(corpus, space, everything, num_cells=num_cells, seed=99)
        trained = cells[np.searchsorted(everything, split.train)]
        spread[f"{kind}_spread"] = effective_number(trained) / len(np.unique(cells))
    row = {
        "regime": split.settings["regime"], "programs": len(split.train), "classes": len(np.unique(classes)),
        "effective_classes": effective_number(classes), **spread,
        "text_bits": float(np.log2(effective_number(split.targets) / effective_number(classes))),
        "mean_leaves": float(corpus.leaves[split.targets].mean()),
    }  # fmt: skip
    return pd.DataFrame([row])


def effective_number(labels: np.ndarray) -> float:
    """Number of equally frequent labels with the same entropy, exp(H)."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(np.exp(-(shares * np.log(shares)).sum()))
