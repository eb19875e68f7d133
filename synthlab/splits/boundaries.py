"""The surface around a held-out region of a space: fitted once, then asked of any vector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from sklearn.cluster import MiniBatchKMeans

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.spaces.projection import distinct_rows
from synthlab.spaces.space import Space

if TYPE_CHECKING:
    from synthlab.splits.regions import Region

_FIT_ROWS = 20_000
_VALUES_AT_ONCE = 1 << 23


@dataclass(frozen=True, eq=False)
class Boundary:
    """Where a region begins.

    Attributes
    ----------
    rule
        Kind of surface, as in `Region.rule`.
    numbers
        What fixes it: thresholds, directions, centres, facets.
    """

    rule: str
    numbers: dict[str, np.ndarray]

    def margin(self, vectors: np.ndarray) -> np.ndarray:
        """How far inside the region each vector lies, float64 (n,): positive inside, NaN for NaN.

        Lengths are those of the space; for clusters they are differences of squared distances.
        """
        return np.concatenate([np.empty(0), *map(self._margin, self._blocks(vectors))])

    def contains(self, vectors: np.ndarray) -> np.ndarray:
        """Mask (n,) of the vectors inside; those with NaN are not."""
        return self.margin(vectors) > 0

    def nearest_centre(self, vectors: np.ndarray) -> np.ndarray:
        """Number of the cluster (n,) that each vector belongs to; for boundaries of rule ``cluster``."""
        centres = self.numbers["centres"]
        block = max(1, _VALUES_AT_ONCE // len(centres))
        parts = [_squares(vectors[k : k + block].astype(np.float64), centres).argmin(axis=1)
                 for k in range(0, len(vectors), block)]  # fmt: skip
        return np.concatenate(parts)

    def nearest_centres(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What decides `contains` whichever clusters are held; for boundaries of rule ``cluster``.

        Returns
        -------
        tuple
            Number of the nearest cluster (n,), -1 for NaN; the vectors (t,) that lie equally near to others; and
            which clusters these are, bool (t, clusters).
        """
        nearest, is_tied = np.full(len(vectors), -1, dtype=np.int32), np.zeros(len(vectors), dtype=bool)
        equal, start = [], 0
        for block in self._blocks(vectors):  # those of `margin`: how a product is cut decides its last bits
            lengths, products, offsets = _square_terms(block, self.numbers["centres"])
            rows = slice(start, start + len(block))
            _find_nearest(lengths, products, offsets, nearest[rows], is_tied[rows])
            squares = _squares_of(lengths[is_tied[rows]], products[is_tied[rows]], offsets)
            equal.append(squares == squares.min(axis=1)[:, None])
            start += len(block)
        return nearest, np.flatnonzero(is_tied), np.concatenate(equal)

    def _blocks(self, vectors: np.ndarray) -> Iterator[np.ndarray]:
        block = max(1, _VALUES_AT_ONCE // max(1, self._width))
        return (vectors[k : k + block].astype(np.float64) for k in range(0, len(vectors), block))

    @property
    def _width(self) -> int:
        return max(np.atleast_2d(value).shape[0] + np.atleast_2d(value).shape[-1] for value in self.numbers.values())

    def _margin(self, vectors: np.ndarray) -> np.ndarray:
        n = self.numbers
        if self.rule == "quantile":
            return vectors[:, n["axes"]] @ n["weights"] - n["bound"]
        if self.rule == "box":
            inside = [np.minimum(vectors[:, a] - low, high - vectors[:, a]) for a, low, high in _bounds(n)]
            return np.min(inside, axis=0)
        if self.rule == "cluster":
            squares = _squares(vectors, n["centres"])
            held = np.isin(np.arange(len(n["centres"])), n["held"])
            return squares[:, ~held].min(axis=1) - squares[:, held].min(axis=1)
        if self.rule == "hull":
            facets = n["facets"]
            return np.max(vectors[:, : facets.shape[1] - 1] @ facets[:, :-1].T + facets[:, -1], axis=1)
        distance = np.sqrt(_squares(vectors, n["centre"][None])[:, 0])
        return np.minimum(distance - n["low"], n["high"] - distance)


def _bounds(numbers: dict[str, np.ndarray]) -> list[tuple[int, float, float]]:
    return list(zip(numbers["axes"].tolist(), numbers["low"].tolist(), numbers["high"].tolist(), strict=True))


def _squares(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances (n, centres)."""
    return _squares_of(*_square_terms(vectors, centres))


def _square_terms(vectors: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared lengths (n,), inner products (n, centres), and squared lengths of the centres."""
    centres = centres.astype(np.float64)
    return (vectors**2).sum(axis=1), vectors @ centres.T, (centres**2).sum(axis=1)


def _squares_of(lengths: np.ndarray, products: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return np.maximum(lengths[:, None] - 2 * products + offsets, 0.0)


@numba.njit(cache=True, nogil=True)
def _find_nearest(lengths, products, offsets, nearest, is_tied):
    """Centre of least squared distance, to the bits of `_squares_of`, and whether others are as near."""
    for row in range(len(lengths)):
        least = np.inf
        for centre in range(len(offsets)):
            square = lengths[row] - 2 * products[row, centre] + offsets[centre]
            if square < 0:
                square = 0.0
            if square < least:
                least, nearest[row], is_tied[row] = square, centre, False
            elif square == least:
                is_tied[row] = True


def fit_boundary(region: Region, space: Space, centre: np.ndarray | None = None) -> Boundary:
    """The surface that a rule on coordinates means in a space.

    Quantiles are taken over the rows of the space: programs (syntactic) or classes (semantic). Rows without
    a place take no part.

    Parameters
    ----------
    region, space
        The rule, and the space it is asked of.
    centre
        Middle of a ball (axes,).

    Raises
    ------
    ConfigurationError
        If the space has no such axis, or no hull in so many.
    """
    if region.rule == "box":
        return _box(region, space)
    if region.rule == "cluster":
        places = places_to_fit(space, region.seed)
        return cluster_boundary(region, fit_centres(places, region.num_clusters, region.seed))
    placed = _placed(space)
    if region.rule == "quantile":
        return half_space(region, _threshold(region, space, placed))
    if region.rule == "hull":
        return Boundary("hull", {"facets": _hull(region, space, placed)})
    return Boundary(region.rule, _shell(region, placed, centre))


def _placed(space: Space) -> np.ndarray:
    has_place = ~np.isnan(space.coordinates[:, 0])
    return space.coordinates if has_place.all() else space.coordinates[has_place]  # a copy of millions is felt


def _threshold(region: Region, space: Space, placed: np.ndarray) -> float:
    axes, weights = _direction(region)
    for axis in axes.tolist():
        space.axis(axis)
    return float(np.quantile(placed[:, axes].astype(np.float64) @ weights, region.quantile))


def _direction(region: Region) -> tuple[np.ndarray, np.ndarray]:
    axes, weights = zip(*(region.direction or ((region.axis, 1.0),)), strict=True)
    return np.array(axes), np.array(weights)


def half_space(region: Region, threshold: float) -> Boundary:
    """The half-space of a region of rule ``quantile``, beyond a threshold of its axis or direction."""
    axes, weights = _direction(region)
    side = 1.0 if region.above else -1.0
    return Boundary("quantile", {"axes": axes, "weights": side * weights, "bound": np.asarray(side * threshold)})


def _box(region: Region, space: Space) -> Boundary:
    for axis, _, _ in region.box:
        space.axis(axis)
    axes, low, high = (np.array(part) for part in zip(*region.box, strict=True))
    low, high = (
        np.nextafter(low.astype(float), -np.inf),
        np.nextafter(high.astype(float), np.inf),
    )  # the bounds belong to it
    return Boundary("box", {"axes": axes, "low": low, "high": high})


def places_to_fit(space: Space, seed: int) -> np.ndarray:
    """Distinct places (n, axes) that clusters of a seed are fitted to."""
    placed = _placed(space)
    return placed[distinct_rows(placed, _FIT_ROWS, seed)]


def num_places(space: Space, seed: int) -> int:
    """How many places clusters of a seed are fitted to: there can be no more clusters than these."""
    return len(places_to_fit(space, seed))


def fit_centres(places: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Centres (clusters, axes) of k-means among places that differ.

    Raises
    ------
    ConfigurationError
        For more clusters than places.
    """
    if num_clusters > len(places):
        raise ConfigurationError(f"{num_clusters:,} clusters of {len(places):,} distinct places: ask for fewer")
    model = MiniBatchKMeans(num_clusters, random_state=seed, n_init=1, batch_size=4096).fit(places)
    return np.asarray(model.cluster_centers_)


def cluster_boundary(region: Region, centres: np.ndarray) -> Boundary:
    """The cells around centres (clusters, axes) that a region of rule ``cluster`` holds, by number or by lot."""
    held = np.array(region.held, dtype=np.int64)
    if not len(held):
        held = np.random.default_rng([region.seed, 3]).permutation(region.num_clusters)[: region.num_held]
    return Boundary("cluster", {"centres": centres, "held": held})


def _hull(region: Region, space: Space, placed: np.ndarray) -> np.ndarray:
    """Facets (F, axes + 1) of the hull of the central share, by distance in units of each axis's deviation."""
    space.axis(region.num_axes - 1)
    vectors = placed[:, : region.num_axes].astype(np.float64)
    distance = (((vectors - vectors.mean(axis=0)) / np.maximum(vectors.std(axis=0), 1e-12)) ** 2).sum(axis=1)
    core = np.unique(vectors[distance <= np.quantile(distance, 1 - region.share)], axis=0)
    if len(core) <= region.num_axes:
        raise ConfigurationError(f"{len(core)} central places span no hull in {region.num_axes} axes: lower the share")
    # a point of the hull itself is not outside: facets are moved outwards by less than coordinates resolve
    try:
        facets = ConvexHull(core).equations.copy()
    except QhullError:
        raise ConfigurationError(
            f"the {len(core):,} central places lie flat and span no hull in {region.num_axes} axes: use fewer axes"
        ) from None
    facets[:, -1] -= 1e-9
    return facets


def _shell(region: Region, placed: np.ndarray, centre: np.ndarray | None) -> dict[str, np.ndarray]:
    """Distances from the middle (the mean, if none is given) between which a region lies."""
    low, high = (region.inner, region.outer) if centre is None else (0.0, region.share)
    middle = placed.mean(axis=0, dtype=np.float64) if centre is None else centre.astype(np.float64)
    distances = np.sqrt(_blockwise_squares(placed, middle))
    return {
        "centre": middle,
        # the ends of the whole range belong to the region
        "low": np.array(-1.0 if low == 0 else np.quantile(distances, low)),
        "high": np.array(np.inf if high == 1 else np.nextafter(np.quantile(distances, high), np.inf)),
    }


def _blockwise_squares(vectors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    block = max(1, _VALUES_AT_ONCE // vectors.shape[1])
    starts = range(0, len(vectors), block)
    return np.concatenate([_squares(vectors[k : k + block].astype(np.float64), centre[None])[:, 0] for k in starts])
