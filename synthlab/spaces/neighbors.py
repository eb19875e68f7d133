"""Which vectors of a space a map is fitted on, and the nearest neighbours of all that it shows.

Neighbours are exact: a brute-force search in blocks (scikit-learn's, which keeps the k best of every block of
the distance matrix). What makes millions of programs feasible is that few of their vectors differ: of the
3,630,455 programs of up to five leaves 609,161 do, and their nearest of 20,000 vectors are found in half a
minute on two cores. An approximate index was not worth its code.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from synthlab.errors import ConfigurationError
from synthlab.spaces.space import Space
from synthlab.store import Carrier

METRICS = ("euclidean", "cosine")
MIN_POINTS = 10
NUM_ANCHORS = 5
_ROWS_AT_ONCE = 1 << 14
_EQUAL_SHARE = 4


@dataclass(frozen=True, eq=False)
class Neighbors(Carrier):
    """Neighbours among the fitted vectors of a map, and of the other vectors it shows.

    Vectors are numbered: the F fitted ones first, then the U others.

    Attributes
    ----------
    space_key, settings
        What they belong to, and how rows were chosen.
    rows
        Rows of the space that are shown, ascending (n,).
    vector
        Number of the vector of every shown row, (n,) int32.
    vector_rows
        The row that stands for every vector, the least that has it (F + U,).
    indices, distances
        Nearest fitted vectors of the fitted ones, themselves first (F, k), int32 and float32.
    anchors, anchor_distances
        Nearest fitted vectors of the others (U, 5), int32 and float32.
    """

    stage: ClassVar[str] = "neighbors"

    space_key: str
    settings: dict[str, Any]
    rows: np.ndarray
    vector: np.ndarray
    vector_rows: np.ndarray
    indices: np.ndarray
    distances: np.ndarray
    anchors: np.ndarray
    anchor_distances: np.ndarray

    @staticmethod
    def describe(space_key: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Identity before anything is searched."""
        return {"space": space_key, "settings": settings}

    @property
    def identity(self) -> dict[str, Any]:
        return self.describe(self.space_key, self.settings)

    def payload(self) -> dict[str, np.ndarray]:
        names = ("rows", "vector", "vector_rows", "indices", "distances", "anchors", "anchor_distances")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        return cls(identity["space"], identity["settings"], **payload)

    @property
    def num_fitted(self) -> int:
        """Number F of fitted vectors."""
        return len(self.indices)

    @property
    def fitted_rows(self) -> np.ndarray:
        """The row that stands for every fitted vector (F,)."""
        return self.vector_rows[: self.num_fitted]

    @property
    def fitted(self) -> np.ndarray:
        """Which shown rows stand for a fitted vector, (n,) bool."""
        return (self.vector < self.num_fitted) & (self.rows == self.vector_rows[self.vector])

    def frame(self) -> pd.DataFrame:
        """One row per neighbour of a fitted vector: row of the space, its neighbour's, rank and distance."""
        num, k = self.indices.shape
        return pd.DataFrame({
            "row": np.repeat(self.fitted_rows, k), "neighbor": self.fitted_rows[self.indices].ravel(),
            "rank": np.tile(np.arange(k), num), "distance": self.distances.ravel(),
        })  # fmt: skip


def neighbor_settings(
    num_points: int | None, num_fit: int, neighbors: int, metric: str, sample_seed: int, strata: str | None
) -> dict[str, Any]:
    """Settings that decide which rows are shown and their neighbours, for the key."""
    return {
        "num_points": num_points, "num_fit": num_fit, "neighbors": neighbors, "metric": metric,
        "sample_seed": sample_seed, "strata": strata, "anchors": NUM_ANCHORS,
    }  # fmt: skip


def find_neighbors(
    space: Space,
    *,
    num_points: int | None,
    num_fit: int,
    neighbors: int,
    metric: str = "euclidean",
    sample_seed: int = 0,
    strata: np.ndarray | None = None,
    progress: bool = False,
) -> Neighbors:
    """Choose rows and fitted vectors of a space, and find the neighbours of all of them.

    Parameters
    ----------
    space
        Rows without a place (NaN; under cosine also the zero vector) are left out.
    num_points
        Show that many distinct vectors, or as many as there are; None shows every row.
    num_fit
        Fit at most that many of the distinct vectors.
    neighbors
        Neighbours of a fitted vector, itself counted; fewer where fewer vectors differ.
    metric
        ``euclidean`` or ``cosine``.
    strata
        Label of every row (rows,), integers; both samples are stratified by it (`stratified_sample`).
    progress
        Show a progress bar.

    Raises
    ------
    ConfigurationError
        If fewer than 10 vectors differ, or the labels are not those of the rows.
    """
    if strata is not None and np.shape(strata) != (len(space.coordinates),):
        raise ConfigurationError(f"strata of shape {np.shape(strata)}: the space has {len(space.coordinates):,} rows")
    vectors = metric_vectors(space.coordinates, metric)
    first, vector_of = distinct_vectors(vectors)
    if len(first) < MIN_POINTS:
        raise ConfigurationError(
            f"{len(first)} distinct points of {int((vector_of >= 0).sum()):,} are too few for a map: "
            f"it takes {MIN_POINTS}, enumerate more leaves"
        )
    number_of, vector_rows, num_fitted = _number_vectors(first, num_points, num_fit, sample_seed, strata)
    if num_points is None:
        rows = np.flatnonzero(vector_of >= 0)
        vector = number_of[vector_of[rows]]
    else:
        vector = np.argsort(vector_rows).astype(np.int32)
        rows = vector_rows[vector]
    fitted, others = vectors[vector_rows[:num_fitted]], vectors[vector_rows[num_fitted:]]
    graph = _own_first(*nearest(fitted, fitted, min(neighbors, num_fitted - 1), progress=progress))
    anchors = nearest(others, fitted, NUM_ANCHORS, progress=progress)
    settings = neighbor_settings(num_points, num_fit, neighbors, metric, sample_seed, strata_digest(strata))
    graph_distances, anchor_distances = (_in_metric(d, metric) for d in (graph[1], anchors[1]))
    return Neighbors(
        space.key, settings, rows, vector, vector_rows, graph[0], graph_distances, anchors[0], anchor_distances
    )


def strata_digest(strata: np.ndarray | None) -> str | None:
    """Fingerprint of the labels, for keys."""
    if strata is None:
        return None
    return hashlib.sha256(np.asarray(strata, dtype=np.int64).tobytes()).hexdigest()[:16]


def _number_vectors(
    first: np.ndarray, num_points: int | None, num_fit: int, seed: int, strata: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """New number of every distinct vector (-1 if not shown), the row of every number, and how many are fitted."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(len(first), dtype=np.int64) if strata is None else np.asarray(strata)[first]
    shown = stratified_sample(labels, num_points or len(first), generator)
    is_fitted = np.zeros(len(shown), dtype=bool)
    is_fitted[stratified_sample(labels[shown], num_fit, generator)] = True
    order = np.concatenate([shown[is_fitted], shown[~is_fitted]])
    number_of = np.full(len(first), -1, dtype=np.int32)
    number_of[order] = np.arange(len(order))
    return number_of, first[order], int(is_fitted.sum())


# ------------------------------------------------------------ vectors


def metric_vectors(coordinates: np.ndarray, metric: str) -> np.ndarray:
    """Vectors whose Euclidean neighbours are the neighbours in a metric; NaN where it says nothing.

    Raises
    ------
    ConfigurationError
        If the metric is unknown.
    """
    if metric not in METRICS:
        raise ConfigurationError(f"unknown metric {metric!r}: use one of {', '.join(METRICS)}")
    if metric == "euclidean":
        return coordinates
    lengths = np.sqrt(np.einsum("ij,ij->i", coordinates, coordinates))
    lengths[lengths == 0] = np.nan
    return coordinates / lengths[:, None]


def _in_metric(distances: np.ndarray, metric: str) -> np.ndarray:
    return distances if metric == "euclidean" else distances**2 / 2  # of unit vectors


def vector_codes(vectors: np.ndarray) -> np.ndarray:
    """Number of every vector (rows,), int64, the same where vectors agree to four decimals.

    One wrapping product per row tells vectors apart (but for a chance of 2^-64 a pair) without sorting them.
    """
    factors = np.random.default_rng(7).integers(1, 1 << 62, size=vectors.shape[1]) | 1
    return np.round(vectors * 1e4).astype(np.int64) @ factors


def distinct_vectors(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least row of every distinct vector (V,), and the vector of every row, -1 for rows with NaN (rows,)."""
    usable = np.empty(len(vectors), dtype=bool)
    codes = np.zeros(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        block = vectors[start : start + _ROWS_AT_ONCE]
        known = ~np.isnan(block).any(axis=1)
        usable[start : start + len(block)] = known
        codes[start : start + len(block)][known] = vector_codes(block[known])
    rows = np.flatnonzero(usable)
    _, first, inverse = np.unique(codes[rows], return_index=True, return_inverse=True)
    vector_of = np.full(len(vectors), -1, dtype=np.int32)
    vector_of[rows] = inverse
    return rows[first], vector_of


# ------------------------------------------------------------ samples


def stratified_sample(strata: np.ndarray, num: int, generator: np.random.Generator) -> np.ndarray:
    """Sorted positions of a sample in proportion to the strata, in which small strata are complete.

    Parameters
    ----------
    strata
        Label of every position (n,).
    num
        Size of the sample; everything if there is no more.
    """
    if num >= len(strata):
        return np.arange(len(strata))
    _, labels, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    shuffled = generator.permutation(len(strata))
    by_stratum = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rank = np.arange(len(strata)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(by_stratum[rank < np.repeat(sample_sizes(sizes, num), sizes)])


def sample_sizes(sizes: np.ndarray, num: int) -> np.ndarray:
    """How many of every stratum are drawn (strata,), `num` in total.

    A quarter is shared out equally: a stratum gets its share of that, or all it has; the rest is proportional
    to the sizes, rounded by largest remainders.
    """
    floor = num // (_EQUAL_SHARE * len(sizes))
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        fits = np.minimum(sizes, np.maximum(floor, rate * sizes)).sum() <= num
        low, high = (rate, high) if fits else (low, rate)
    exact = np.minimum(sizes, np.maximum(floor, low * sizes))
    whole = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: num - whole.sum()]] += 1
    return whole


# ------------------------------------------------------------ search


def nearest(
    queries: np.ndarray, points: np.ndarray, num: int, *, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Exact Euclidean nearest points of every query, block by block.

    Returns
    -------
    tuple
        Indices (queries, num), int32, and distances, float32, nearest first.
    """
    from tqdm.auto import tqdm

    index = NearestNeighbors(n_neighbors=num, algorithm="brute").fit(points)
    indices = np.empty((len(queries), num), dtype=np.int32)
    distances = np.empty((len(queries), num), dtype=np.float32)
    with tqdm(total=len(queries), desc="neighbors", unit_scale=True, disable=not progress) as bar:
        for start in range(0, len(queries), _ROWS_AT_ONCE):
            block = slice(start, min(start + _ROWS_AT_ONCE, len(queries)))
            distances[block], indices[block] = index.kneighbors(queries[block])
            bar.update(block.stop - block.start)
    return indices, distances


def _own_first(indices: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every point as its own nearest neighbour, at no distance.

    The search leaves a rounding error of 1e-7 there, which UMAP would take for the nearest other point.
    """
    own = np.arange(len(indices), dtype=np.int32)
    order = np.argsort(indices != own[:, None], axis=1, kind="stable")
    indices, distances = (np.take_along_axis(part, order, axis=1) for part in (indices, distances))
    indices[:, 0], distances[:, 0] = own, 0
    return indices, distances
