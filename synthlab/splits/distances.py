"""How far apart two samples of one space are: laws, neighbours, and what a classifier can tell.

Every measure takes the vectors of a first (n, d) and a second (m, d) sample. Too few items are a `SplitError`,
vectors that are no places a `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.neighbors import NearestNeighbors

from synthlab.errors import ConfigurationError, SplitError

_BLOCK = 1024
_BANDWIDTH_ITEMS = 1000
_DIRECTIONS_AT_ONCE = 16
_ROUNDING, _TIE = 1e-6, 2e-6
_PLACES_PER_RADIUS = 1 << 16

Kernel = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class TwoSample:
    """A distance between two laws, made of means over pairs of items (a U-statistic).

    Attributes
    ----------
    value
        The estimate; unbiased, so 0 on average for equal laws whatever the numbers of items, and at times below.
    p_value
        (1 + permutations at least as far apart) / (1 + permutations); NaN without permutations.
    between, within
        Mean distance (energy) or kernel (MMD) over pairs across the samples, and over pairs within each.
    bandwidth
        Scale of the kernel, in units of the space; NaN for the energy distance.
    """

    value: float
    p_value: float
    between: float
    within: tuple[float, float]
    bandwidth: float = np.nan


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """Both samples, pooled, centred and divided by their root mean square distance from the centre."""

    points: np.ndarray
    num_first: int
    scale: float

    @property
    def first(self) -> np.ndarray:
        return self.points[: self.num_first]

    @property
    def second(self) -> np.ndarray:
        return self.points[self.num_first :]


def _samples(first: np.ndarray, second: np.ndarray, what: str, least: tuple[int, int]) -> _Samples:
    check_samples(first, second, what, least)
    points = np.concatenate([first, second]).astype(np.float64)
    points -= points.mean(axis=0)
    scale = float(np.sqrt((points**2).sum(axis=1).mean())) or 1.0
    return _Samples(points=points / scale, num_first=len(first), scale=scale)


def check_samples(first: np.ndarray, second: np.ndarray, what: str, least: tuple[int, int]) -> None:
    """Refuse vectors that a measure cannot use.

    Parameters
    ----------
    first, second
        The samples.
    what
        Name of the measure.
    least
        Items that it needs of each.

    Raises
    ------
    ConfigurationError
        For samples of different spaces, or rows with NaN or infinity, with their numbers.
    SplitError
        For too few items.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or not first.shape[1]:
        raise ConfigurationError(f"samples of shapes {first.shape} and {second.shape}: give (n, d) and (m, d), d >= 1")
    if len(first) < least[0] or len(second) < least[1]:
        raise SplitError(
            f"{what} needs {least[0]} and {least[1]} items, there are {len(first):,} and {len(second):,}: draw more"
        )
    missing = [int((~np.isfinite(rows).all(axis=1)).sum()) for rows in (first, second)]
    if any(missing):
        raise ConfigurationError(
            f"{missing[0]:,} of {len(first):,} and {missing[1]:,} of {len(second):,} rows have NaN or infinity: "
            "leave out items without a place"
        )


# ---------------------------------------------------------------- means over pairs, with permutations


def energy_distance(first: np.ndarray, second: np.ndarray, *, permutations: int = 200, seed: int = 0) -> TwoSample:
    """Energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'|, in units of the space.

    Zero only for equal laws (Székely and Rizzo, J. Stat. Plan. Inference 143, 2013).

    Parameters
    ----------
    first, second
        Vectors (n, d) and (m, d), at least two each.
    permutations
        Random relabellings for the p-value, which takes items as independent.
    seed
        Decides them.
    """
    samples = _samples(first, second, "the energy distance", (2, 2))
    between, *within = _pair_means(samples, np.sqrt, permutations, seed)
    values = 2 * between - within[0] - within[1]
    return _two_sample(values, between, within, samples, samples.scale)


def mmd(
    first: np.ndarray, second: np.ndarray, *, bandwidth: float | None = None, permutations: int = 200, seed: int = 0
) -> TwoSample:
    """Squared maximum mean discrepancy with the kernel exp(-|x - y|^2 / (2 h^2)) (Gretton et al., JMLR 13, 2012).

    Parameters
    ----------
    first, second
        Vectors (n, d) and (m, d), at least two each.
    bandwidth
        h; by default the median distance of pairs that differ among the pooled items, at most 1,000 of them.
    permutations, seed
        As for `energy_distance`.
    """
    samples = _samples(first, second, "MMD", (2, 2))
    if bandwidth is not None and not 0 < bandwidth < np.inf:
        raise ConfigurationError(f"bandwidth {bandwidth}: use a positive length, or None for the median heuristic")
    width = _median_distance(samples.points, seed) if bandwidth is None else bandwidth / samples.scale
    factor = np.float32(-0.5 / width**2)
    between, *within = _pair_means(samples, lambda squares: np.exp(squares * factor), permutations, seed)
    values = within[0] + within[1] - 2 * between
    return _two_sample(values, between, within, samples, 1.0, width * samples.scale)


def _median_distance(points: np.ndarray, seed: int) -> float:
    if len(points) > _BANDWIDTH_ITEMS:
        points = np.random.default_rng([seed, 2]).permutation(points)[:_BANDWIDTH_ITEMS]
    distances = pdist(points)
    differing = distances[distances > _ROUNDING]
    return float(np.median(differing)) if len(differing) else 1.0


def _two_sample(
    values: np.ndarray, between: np.ndarray, within: list[np.ndarray], samples: _Samples, unit: float,
    bandwidth: float = np.nan,
) -> TwoSample:  # fmt: skip
    """The first entries are those of the samples as given, the others those of permutations."""
    p_value = np.nan
    if len(values) > 1:
        # relabellings that tie in exact arithmetic must tie here; errors of float32 average out over the items
        slack = _TIE * between[0] / np.sqrt(len(samples.points))
        p_value = (1 + int((values[1:] >= values[0] - slack).sum())) / len(values)
    one, other = (float(unit * mean[0]) for mean in within)
    return TwoSample(
        value=float(unit * values[0]), p_value=p_value, between=float(unit * between[0]), within=(one, other),
        bandwidth=bandwidth,
    )  # fmt: skip


def _pair_means(samples: _Samples, kernel: Kernel, permutations: int, seed: int) -> tuple[np.ndarray, ...]:
    """Mean kernel across samples, within the first and within the second: as given, then for every permutation."""
    if permutations < 0:
        raise ConfigurationError(f"{permutations} permutations: use 0 (no p-value) or more")
    num, num_first = len(samples.points), samples.num_first
    num_second = num - num_first
    labels = np.zeros((1 + permutations, num), dtype=np.float32)
    labels[:, :num_first] = 1
    np.random.default_rng([seed, 1]).permuted(labels[1:], axis=1, out=labels[1:])
    inside, sums = _quadratic_forms(samples.points, np.ascontiguousarray(labels.T), kernel)
    reach = labels @ sums  # all pairs with one item in the first sample
    between = (reach - inside) / (num_first * num_second)
    outside = sums.sum() - 2 * reach + inside
    return between, inside / (num_first * (num_first - 1)), outside / (num_second * (num_second - 1))


def _quadratic_forms(points: np.ndarray, labels: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Form a'Ka for every column a of the labels (N, P), and row sums of K (N,), K with an empty diagonal.

    K is never held as a whole: one pass over the blocks of its upper triangle serves all columns.
    """
    forms, sums = np.zeros(labels.shape[1]), np.zeros(len(points))
    left, right = _factors(points)
    starts = range(0, len(points), _BLOCK)
    for rows in (slice(k, k + _BLOCK) for k in starts):
        for columns in (slice(k, k + _BLOCK) for k in starts if k >= rows.start):
            block = kernel(_squares(left[rows], right[columns]))
            if rows == columns:
                np.fill_diagonal(block, 0)
            else:
                sums[columns] += block.sum(axis=0, dtype=np.float64)
            sums[rows] += block.sum(axis=1, dtype=np.float64)
            part = (labels[rows] * (block @ labels[columns])).sum(axis=0, dtype=np.float64)
            forms += part if rows == columns else 2 * part
    return forms, sums


def _factors(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two matrices (N, d + 2) whose products are squared distances."""
    norms, ones = (points**2).sum(axis=1), np.ones(len(points))
    return np.column_stack([points, norms, ones]), np.column_stack([-2 * points, ones, norms])


def _squares(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared distances as float32, of products in float64: places that agree must come out close to 0."""
    squares = left @ right.T
    return np.maximum(squares, 0, out=np.empty(squares.shape, dtype=np.float32), casting="same_kind")


# ---------------------------------------------------------------- transport


def sliced_wasserstein(first: np.ndarray, second: np.ndarray, *, num_directions: int = 128, seed: int = 0) -> float:
    """Mean 1-Wasserstein distance of the projections on random directions, in units of the space.

    Each one-dimensional distance is exact, for any numbers of items: the area between the quantile functions
    (Rabin et al., SSVM 2011, with exponent 1).

    Parameters
    ----------
    first, second
        Vectors (n, d) and (m, d), at least one each.
    num_directions, seed
        Directions, uniform on the sphere, and their draw.
    """
    samples = _samples(first, second, "the sliced Wasserstein distance", (1, 1))
    if num_directions < 1:
        raise ConfigurationError(f"{num_directions} directions: use at least 1")
    directions = np.random.default_rng([seed, 3]).standard_normal((num_directions, first.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    n, m = len(first), len(second)
    # quantile functions step at multiples of 1/n and 1/m: in units of 1/(nm) these are whole numbers
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    widths = np.diff(ends, prepend=0) / (n * m)
    of_first, of_second = (ends - 1) // m, (ends - 1) // n
    total = 0.0
    for start in range(0, num_directions, _DIRECTIONS_AT_ONCE):
        some = directions[start : start + _DIRECTIONS_AT_ONCE]
        one, other = (np.sort((some @ rows.T).astype(np.float32), axis=1) for rows in (samples.first, samples.second))
        total += float((np.abs(one[:, of_first] - other[:, of_second]) @ widths).sum())
    return samples.scale * total / num_directions


# ---------------------------------------------------------------- neighbours


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
    samples = _samples(first, second, "the neighbour ratio", (most + 1, 1))
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
    samples = _samples(first, second, "coverage", (k + 1, 1))
    one, other = _distinct(samples.first), _distinct(samples.second)
    if equal_numbers:
        generator, num = np.random.default_rng([seed, 4]), min(len(one), len(other))
        one, other = (places[generator.permutation(len(places))[:num]] for places in (one, other))
    check_samples(one, other, "coverage among distinct places", (k + 1, 1))
    radii = _own_distances(one, k)[:, -1]
    bounds = (radii**2 * (1 + _ROUNDING)).astype(np.float32)  # the k-th neighbour itself lies in the closed ball
    left, right = _factors(one)[0], _factors(other)[1]
    held = np.zeros(len(one), dtype=np.int64)
    for start in range(0, len(other), _BLOCK):
        held += (_squares(left, right[start : start + _BLOCK]) <= bounds[:, None]).sum(axis=1)
    ahead = np.arange(1, k + 1)
    return Coverage(
        density=float(held.sum() / (k * len(other))),
        coverage=float((held > 0).mean()),
        expected_coverage=float(1 - np.prod((len(one) - ahead) / (len(one) + len(other) - ahead))),
        num_first=len(one),
        num_second=len(other),
    )
