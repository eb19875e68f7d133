"""How far test items lie from their nearest training items, and how well one sample fills the other's places.

Both measures take the vectors of a first (n, d) and a second (m, d) sample. Too few items are a `SplitError`,
vectors that are no places a `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from synthlab.errors import ConfigurationError
from synthlab.splits.distances import BLOCK, check_samples, pooled, squared_distances

_ROUNDING = 1e-6
_PLACES_PER_RADIUS = 1 << 16


@dataclass(frozen=True, kw_only=True, eq=False)
class NeighborRatios:
    """How much farther test items lie from training items than these from each other.

    Attributes
    ----------
    neighbors
        The k of every column, (K,).
    ratios
        Distance to the k-th nearest training place over `scale`, float64 (m, K).
    scale
        Median distance of a training place to its k-th nearest other one (K,), in units of the space.
    num_places
        Distinct training places.
    """

    neighbors: tuple[int, ...]
    ratios: np.ndarray
    scale: np.ndarray
    num_places: int

    @property
    def median(self) -> np.ndarray:
        """Median ratio for every k, (K,); about 1 for equal laws."""
        return np.median(self.ratios, axis=0)


def knn_ratios(first: np.ndarray, second: np.ndarray, *, neighbors: Sequence[int] = (1, 5)) -> NeighborRatios:
    """Distance of every second (test) item to the first (training) ones, relative to distances among these.

    Copies of a training place count once: neighbours are other places, or else a set with many texts per
    function would have no scale.

    Parameters
    ----------
    first, second
        Vectors (n, d) and (m, d); the first have more distinct places than the largest k.
    neighbors
        Which neighbours k, from 1 on.
    """
    if not neighbors or min(neighbors) < 1:
        raise ConfigurationError(f"neighbours {tuple(neighbors)}: name at least one k from 1 on")
    most = max(neighbors)
    samples = pooled(first, second, "the neighbour ratio", (most + 1, 1))
    places = _distinct(samples.first)
    check_samples(places, samples.second, "the neighbour ratio among distinct places", (most + 1, 1))
    chosen = np.array(neighbors) - 1
    scale = np.median(_own_distances(places, most)[:, chosen], axis=0)
    search = NearestNeighbors(n_neighbors=most, algorithm="brute").fit(places)
    distances = search.kneighbors(samples.second)[0][:, chosen]
    return NeighborRatios(
        neighbors=tuple(neighbors), ratios=distances / scale, scale=samples.scale * scale, num_places=len(places)
    )


def _own_distances(places: np.ndarray, most: int) -> np.ndarray:
    """Distances (n, most) of distinct places to their nearest others."""
    search = NearestNeighbors(n_neighbors=most + 1, algorithm="brute").fit(places)
    return np.asarray(search.kneighbors(places)[0][:, 1:])


def _distinct(points: np.ndarray) -> np.ndarray:
    """The places among scaled points; those that agree to 2^-16 are one."""
    rounded = np.round(points * _PLACES_PER_RADIUS).astype(np.int64)
    return points[np.sort(np.unique(rounded, axis=0, return_index=True)[1])]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How well one sample fills the places of another (Naeem et al., ICML 2020).

    Attributes
    ----------
    density
        Mean number of balls around first places that hold a second place, over k; 1 on average for equal laws.
    coverage
        Share of these balls that hold any second place.
    expected_coverage
        Its expectation for equal laws without ties; 0.97 for k = 5 and large equal numbers.
    num_first, num_second
        Distinct places.
    """

    density: float
    coverage: float
    expected_coverage: float
    num_first: int
    num_second: int


def density_coverage(
    first: np.ndarray, second: np.ndarray, *, k: int = 5, equal_numbers: bool = False, seed: int = 0
) -> Coverage:
    """Density and coverage of the second sample in balls around the first that reach its k-th other place.

    Copies of a place count once in either sample.

    Parameters
    ----------
    first, second
        Vectors (n, d), with more than k distinct places, and (m, d).
    k
        Neighbours within a ball, from 1 on.
    equal_numbers, seed
        Coverage grows with m / n. If true, the sample with more places is thinned to as many as the other has,
        by seed; if not, hold coverage against `expected_coverage`.
    """
    if k < 1:
        raise ConfigurationError(f"balls of {k} neighbours: use at least 1")
    samples = pooled(first, second, "coverage", (k + 1, 1))
    one, other = _distinct(samples.first), _distinct(samples.second)
    if equal_numbers:
        generator, num = np.random.default_rng([seed, 4]), min(len(one), len(other))
        one, other = (places[generator.permutation(len(places))[:num]] for places in (one, other))
    check_samples(one, other, "coverage among distinct places", (k + 1, 1))
    radii = _own_distances(one, k)[:, -1]
    bounds = (radii**2 * (1 + _ROUNDING)).astype(np.float32)  # the k-th neighbour itself lies in the closed ball
    held = np.zeros(len(one), dtype=np.int64)
    for start in range(0, len(other), BLOCK):
        held += (squared_distances(one, other[start : start + BLOCK]) <= bounds[:, None]).sum(axis=1)
    ahead = np.arange(1, k + 1)
    return Coverage(
        density=float(held.sum() / (k * len(other))),
        coverage=float((held > 0).mean()),
        expected_coverage=float(1 - np.prod((len(one) - ahead) / (len(one) + len(other) - ahead))),
        num_first=len(one),
        num_second=len(other),
    )
