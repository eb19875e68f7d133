"""A space whose axes and clusters are kept in the form that regions ask for, so that a second region costs little."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from synthlab.compiling import numba
from synthlab.spaces.space import Space
from synthlab.splits.boundaries import Boundary, cluster_boundary, fit_boundary, fit_centres, half_space, places_to_fit
from synthlab.splits.regions import Region

_AXES_KEPT, _CLUSTERS_KEPT, _SEEDS_KEPT = 8, 8, 2


@dataclass(frozen=True, eq=False)
class Clusters:
    """K-means clusters of one seed, and the rows of a space in them.

    Attributes
    ----------
    centres
        Their middles (clusters, axes).
    labels
        Cluster of every row, int32; -1 without a place.
    tied, equal
        Rows (t,) that lie equally near to several clusters, and which these are, bool (t, clusters).
    """

    centres: np.ndarray
    labels: np.ndarray
    tied: np.ndarray
    equal: np.ndarray

    def rows_in(self, boundary: Boundary) -> np.ndarray:
        """Mask of the rows inside a boundary around some of the clusters."""
        held = np.zeros(len(self.centres) + 1, dtype=bool)  # label -1 reads the last entry
        held[boundary.numbers["held"]] = True
        inside = held[self.labels]
        inside[self.tied] = ~(self.equal & ~held[:-1]).any(axis=1)  # the surface itself does not belong to it
        return inside


class IndexedSpace:
    """Asks regions of every row of a space, and gives what `fit_boundary` gives, in a fraction of its time.

    Sorted axes answer quantiles, contiguous axes half-spaces and boxes, and labels any choice of clusters. All
    are computed when they are first asked for; the latest are kept.

    Parameters
    ----------
    space
        Where the rows lie.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._column = lru_cache(_AXES_KEPT)(lambda axis: np.ascontiguousarray(space.axis(axis)))
        self._ordered = lru_cache(_AXES_KEPT)(self._sorted_axis)
        self._places = lru_cache(_SEEDS_KEPT)(lambda seed: places_to_fit(space, seed))
        self._clusters = lru_cache(_CLUSTERS_KEPT)(self._fit_clusters)

    @staticmethod
    def answers(region: Region) -> bool:
        """Whether a region is of a kind that is answered fast."""
        return region.rule in ("box", "cluster") or (region.rule == "quantile" and not region.direction)

    def rows_in(self, region: Region) -> tuple[np.ndarray, Boundary]:
        """Mask of the rows inside a region that `answers` allows, and its boundary.

        Raises
        ------
        ConfigurationError
            If the space has no such axis, or fewer places than clusters.
        """
        if region.rule == "cluster":
            clusters = self.clusters(region.num_clusters, region.seed)
            boundary = cluster_boundary(region, clusters.centres)
            return clusters.rows_in(boundary), boundary
        inside = np.ones(len(self.space.coordinates), dtype=bool)
        if region.rule == "box":
            boundary = fit_boundary(region, self.space)
            for axis, low, high in zip(*(boundary.numbers[n].tolist() for n in ("axes", "low", "high")), strict=True):
                _keep_between(self._column(axis), low, high, inside)
            return inside, boundary
        threshold = self.quantile(region.axis, region.quantile)
        ends = (threshold, np.inf) if region.above else (-np.inf, threshold)
        _keep_between(self._column(region.axis), *ends, inside)
        return inside, half_space(region, threshold)

    def quantile(self, axis: int, share: float) -> float:
        """Coordinate below which a share of the rows with a place lie; that of `numpy.quantile`."""
        values = self._ordered(axis)
        place = (len(values) - 1) * share
        low = int(place)
        # between two neighbours, so that the interpolation is NumPy's to the last bit
        return float(np.quantile(values[low : low + 2].astype(np.float64), place - low))

    def clusters(self, num_clusters: int, seed: int) -> Clusters:
        """Clusters of a seed, as regions of rule ``cluster`` number them.

        Raises
        ------
        ConfigurationError
            If there are fewer places.
        """
        return self._clusters(num_clusters, seed)

    def num_places(self, seed: int) -> int:
        """How many clusters of a seed there can be; see `boundaries.num_places`."""
        return len(self._places(seed))

    def _sorted_axis(self, axis: int) -> np.ndarray:
        values = self._column(axis)
        return np.sort(values[~np.isnan(values)])

    def _fit_clusters(self, num_clusters: int, seed: int) -> Clusters:
        centres = fit_centres(self._places(seed), num_clusters, seed)
        boundary = Boundary("cluster", {"centres": centres, "held": np.arange(num_clusters)[:1]})
        return Clusters(centres, *boundary.nearest_centres(self.space.coordinates))


@numba.njit(cache=True, nogil=True)
def _keep_between(values, low, high, inside):
    """Clear the marks of values that do not lie strictly between two bounds; NaN lies nowhere."""
    for row in range(len(values)):
        inside[row] &= low < np.float64(values[row]) < high  # bounds lie between two values of less precision
