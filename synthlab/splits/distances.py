"""How far apart the laws of two samples of one space are: energy distance, MMD, transport.

Every measure takes the vectors of a first (n, d) and a second (m, d) sample. Too few items are a `SplitError`,
vectors that are no places a `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from joblib import cpu_count
from numpy.typing import DTypeLike
from scipy.spatial.distance import pdist
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from synthlab.errors import ConfigurationError, SplitError

BLOCK = 1024
"""Items whose distances are held at a time."""
_BANDWIDTH_ITEMS = 1000
_DIRECTIONS_AT_ONCE = 16
_SMALL = 2048
_MOST_THREADS = 8
_SAME, _TIE = 1e-6, 1e-9

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
class Samples:
    """Both samples together, in units in which no measure loses digits.

    Attributes
    ----------
    points
        All items (n + m, d) float64, centred and divided by `scale`.
    num_first
        n: the first items are the first sample.
    scale
        Root mean square distance from the centre, in units of the space.
    """

    points: np.ndarray
    num_first: int
    scale: float

    @property
    def first(self) -> np.ndarray:
        """Items of the first sample (n, d)."""
        return self.points[: self.num_first]

    @property
    def second(self) -> np.ndarray:
        """Items of the second sample (m, d)."""
        return self.points[self.num_first :]


def pooled(first: np.ndarray, second: np.ndarray, what: str, least: tuple[int, int]) -> Samples:
    """Both samples together, if `check_samples` finds nothing wrong with them."""
    check_samples(first, second, what, least)
    points = np.concatenate([first, second]).astype(np.float64)
    points -= points.mean(axis=0)
    scale = float(np.sqrt((points**2).sum(axis=1).mean())) or 1.0
    return Samples(points=points / scale, num_first=len(first), scale=scale)


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


def squared_distances(first: np.ndarray, second: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Squared distances (n, m), of products in float64 in any case: places that agree must come out close to 0."""
    lengths = [(rows**2).sum(axis=1)[:, None] for rows in (first, second)]
    ones = [np.ones_like(column) for column in lengths]
    squares = np.hstack([first, lengths[0], ones[0]]) @ np.hstack([-2 * second, ones[1], lengths[1]]).T
    return np.maximum(squares, 0, out=np.empty(squares.shape, dtype=dtype), casting="same_kind")


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
    samples = pooled(first, second, "the energy distance", (2, 2))
    between, *within = _pair_means(samples, np.sqrt, permutations, seed)
    values = 2 * between - within[0] - within[1]
    return _two_sample(values, between, within, samples.scale)


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
    samples = pooled(first, second, "MMD", (2, 2))
    if bandwidth is not None and not 0 < bandwidth < np.inf:
        raise ConfigurationError(f"bandwidth {bandwidth}: use a positive length, or None for the median heuristic")
    width = _median_distance(samples.points, seed) if bandwidth is None else bandwidth / samples.scale
    factor = -0.5 / width**2
    between, *within = _pair_means(samples, lambda squares: np.exp(squares * factor), permutations, seed)
    values = within[0] + within[1] - 2 * between
    return _two_sample(values, between, within, 1.0, width * samples.scale)


def _median_distance(points: np.ndarray, seed: int) -> float:
    if len(points) > _BANDWIDTH_ITEMS:
        points = np.random.default_rng([seed, 2]).permutation(points)[:_BANDWIDTH_ITEMS]
    distances = pdist(points)
    differing = distances[distances > _SAME]
    return float(np.median(differing)) if len(differing) else 1.0


def _two_sample(
    values: np.ndarray, between: np.ndarray, within: list[np.ndarray], unit: float, bandwidth: float = np.nan
) -> TwoSample:
    """The first entries are those of the samples as given, the others those of permutations."""
    p_value = np.nan
    if len(values) > 1:
        # relabellings that tie in exact arithmetic must tie here, and small samples do
        slack = _TIE * max(between[0], *(mean[0] for mean in within))
        p_value = (1 + int((values[1:] >= values[0] - slack).sum())) / len(values)
    one, other = (float(unit * mean[0]) for mean in within)
    return TwoSample(
        value=float(unit * values[0]), p_value=p_value, between=float(unit * between[0]), within=(one, other),
        bandwidth=bandwidth,
    )  # fmt: skip


def _pair_means(samples: Samples, kernel: Kernel, permutations: int, seed: int) -> tuple[np.ndarray, ...]:
    """Mean kernel across samples, within the first and within the second: as given, then for every permutation."""
    if permutations < 0:
        raise ConfigurationError(f"{permutations} permutations: use 0 (no p-value) or more")
    num, num_first = len(samples.points), samples.num_first
    num_second = num - num_first
    dtype = np.float64 if num <= _SMALL else np.float32
    labels = np.zeros((permutations, num), dtype=dtype)
    labels[:, :num_first] = 1
    np.random.default_rng([seed, 1]).permuted(labels, axis=1, out=labels)
    forms, sums = _kernel_sums(samples, np.ascontiguousarray(labels.T), kernel)
    reach = labels @ sums.sum(axis=1)  # all pairs with one item in the first sample
    parts = sums[:num_first].sum(axis=0), sums[num_first:].sum(axis=0)
    inside = np.append(parts[0][0], forms)
    across = np.append(parts[0][1], reach - forms)
    outside = np.append(parts[1][1], sums.sum() - 2 * reach + forms)
    pairs = num_first * num_second, num_first * (num_first - 1), num_second * (num_second - 1)
    return across / pairs[0], inside / pairs[1], outside / pairs[2]


def _kernel_sums(samples: Samples, labels: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Form a'Ka for every column a of the labels (N, P), and row sums of K over either sample (N, 2).

    The diagonal of K counts as 0. K is never held as a whole: one pass over the blocks of its upper triangle
    serves all columns.
    """
    starts = range(0, len(samples.points), BLOCK)
    work = partial(_block_sums, samples, labels, kernel)
    if len(starts) == 1:
        return work(0)
    # the threads of a BLAS wait for each other at every block, which a busy machine makes slow; these do not
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(min(_MOST_THREADS, cpu_count())) as pool:
        found = list(pool.map(work, starts))
    forms, sums = (np.sum(parts, axis=0) for parts in zip(*found, strict=True))
    return forms, sums


def _block_sums(samples: Samples, labels: np.ndarray, kernel: Kernel, start: int) -> tuple[np.ndarray, np.ndarray]:
    """What the blocks of some rows, from the diagonal on, add to either result."""
    points, num_first = samples.points, samples.num_first
    forms, sums = np.zeros(labels.shape[1]), np.zeros((len(points), 2))
    rows = slice(start, start + BLOCK)
    for columns in (slice(k, k + BLOCK) for k in range(start, len(points), BLOCK)):
        block = kernel(squared_distances(points[rows], points[columns], labels.dtype))
        if rows == columns:
            np.fill_diagonal(block, 0)
        else:
            sums[columns] += _side_sums(block.T, num_first - start)
        sums[rows] += _side_sums(block, num_first - columns.start)
        part = (labels[rows] * (block @ labels[columns])).sum(axis=0, dtype=np.float64)
        forms += part if rows == columns else 2 * part
    return forms, sums


def _side_sums(block: np.ndarray, num_first: int) -> np.ndarray:
    """Sums of every row (B, 2) over the columns of the first sample, and over the others."""
    sides = np.split(block, [max(0, num_first)], axis=1)
    return np.stack([side.sum(axis=1, dtype=np.float64) for side in sides], axis=1)


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
    samples = pooled(first, second, "the sliced Wasserstein distance", (1, 1))
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
