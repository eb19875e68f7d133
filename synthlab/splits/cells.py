"""Cells of a space: k-means clusters, a grid over the leading axes, or the nearest of farthest points."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin

from synthlab.errors import ConfigurationError
from synthlab.spaces.projection import distinct_rows
from synthlab.spaces.space import SYNTACTIC, Space
from synthlab.universe.corpus import Corpus

CELLS = ("kmeans", "grid", "farthest")
FIT_ROWS = 20_000
_GRID_AXES = 2


def check_cells(kind: str = CELLS[0], concentration: float = 0.0) -> None:
    """Refuse cells that nobody can draw from.

    Raises
    ------
    ConfigurationError
        For an unknown kind, or a concentration that is negative or infinite.
    """
    if kind not in CELLS:
        raise ConfigurationError(f"unknown cells {kind!r}: choose from {', '.join(CELLS)}")
    if not 0 <= concentration < np.inf:
        raise ConfigurationError(f"concentration {concentration}: use 0 (equal cells), 1 (as in the pool) or more")


def space_cells(
    corpus: Corpus, space: Space, program_ids: np.ndarray, *, num_cells: int, seed: int, kind: str = "kmeans"
) -> np.ndarray:
    """Cell of every given program, (n,) integers.

    Cells are fitted on the distinct vectors among the programs, so that a dense place does not eat them all;
    in the semantic space each class counts once.

    Parameters
    ----------
    corpus, space
        The universe and one of its spaces.
    program_ids
        Programs to place; their classes must be defined on the grid.
    num_cells
        Number of cells; fewer if there are fewer distinct vectors. A grid has the next square number, and
        its cells may be empty.
    seed
        Decides the fit.
    kind
        ``kmeans``; ``grid``: equal intervals of the two leading axes, between their 1 % and 99 % quantiles;
        ``farthest``: greedy k-centre (Gonzalez, 1985), whose cells have nearly equal radius.

    Raises
    ------
    ConfigurationError
        For an unknown kind.
    """
    check_cells(kind)
    rows = program_ids if space.kind == SYNTACTIC else corpus.class_index[program_ids]
    unique, inverse = np.unique(rows, return_inverse=True)
    vectors = space.coordinates[unique]
    fitted = vectors[distinct_rows(vectors, FIT_ROWS, seed)]
    if kind == "grid":
        return _grid_cells(fitted, vectors, num_cells)[inverse]
    if kind == "farthest":
        centres = fitted[farthest_points(fitted, min(num_cells, len(fitted)), seed)]
        return pairwise_distances_argmin(vectors, centres)[inverse]
    model = MiniBatchKMeans(min(num_cells, len(fitted)), random_state=seed, n_init=1, batch_size=4096)
    model.fit(fitted)
    return model.predict(vectors)[inverse]


def _grid_cells(fitted: np.ndarray, vectors: np.ndarray, num_cells: int) -> np.ndarray:
    num_axes = min(_GRID_AXES, vectors.shape[1])
    steps = grid_steps(num_cells) if num_axes == _GRID_AXES else num_cells
    cells = np.zeros(len(vectors), dtype=np.int64)
    for axis in range(num_axes):
        low, high = np.quantile(fitted[:, axis], [0.01, 0.99])
        share = (vectors[:, axis] - low) / max(high - low, 1e-12)
        cells = cells * steps + np.clip((share * steps).astype(np.int64), 0, steps - 1)
    return cells


def grid_steps(num_cells: int) -> int:
    """Intervals per axis of a grid with at least so many cells."""
    return int(np.ceil(round(num_cells ** (1 / _GRID_AXES), 9)))


def farthest_points(vectors: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Positions of `num` points, each the farthest from those before it; the first is random.

    The radius of the cells around them is at most twice the smallest possible (Gonzalez, 1985).
    """
    chosen = np.empty(num, dtype=np.int64)
    chosen[0] = np.random.default_rng(seed).integers(len(vectors))
    nearest = np.full(len(vectors), np.inf, dtype=np.float64)
    for k in range(num):
        squares = ((vectors - vectors[chosen[k]]) ** 2).sum(axis=1)
        np.minimum(nearest, squares, out=nearest)
        if k + 1 < num:
            chosen[k + 1] = int(np.argmax(nearest))
    return chosen


def draw_from_cells(
    cells: np.ndarray, num: int, generator: np.random.Generator, *, concentration: float = 0.0
) -> np.ndarray:
    """Positions of `num` items, with numbers per cell that follow the cells' sizes to a power.

    Places are given by divisors (Sainte-Lague): the k-th item of cell c comes at (k + 1/2) / n_c^concentration.
    So for 0 every cell gives equal numbers, round-robin, small ones all they have; for 1 cells keep their
    shares; above 1 dense cells are favoured. `concentration` is the inverse of a temperature on cell counts.

    Parameters
    ----------
    cells
        Cell of every item (n,).
    num
        Items to draw, without replacement.
    generator
        Decides the order of cells, and of items within them.
    concentration
        Exponent, at least 0.
    """
    check_cells(concentration=concentration)
    shuffled = generator.permutation(len(cells))
    _, labels = np.unique(cells[shuffled], return_inverse=True)
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    turn = np.empty(len(cells), dtype=np.float64)
    turn[order] = np.arange(len(cells)) - starts[labels[order]]
    cell_order = generator.permutation(len(sizes))
    places = np.log(turn + 0.5) - concentration * np.log(sizes[labels])
    first = np.lexsort((cell_order[labels], places))[:num]
    return shuffled[first]


def quotas(counts: np.ndarray, num: int) -> np.ndarray:
    """Whole numbers proportional to counts, at most the counts, with sum `num` (largest remainders)."""
    exact = counts * (num / max(1, counts.sum()))
    shares = np.floor(exact).astype(np.int64)
    rest = int(num - shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:rest]] += 1
    return shares
