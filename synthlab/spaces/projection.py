"""Two-dimensional pictures of a space by UMAP; for eyes only, never for splits.

UMAP's coordinates are not reproducible across machines, so nothing is computed from them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from synthlab.errors import ConfigurationError
from synthlab.spaces.space import SYNTACTIC, Space
from synthlab.store import Carrier
from synthlab.universe.corpus import Corpus

MIN_POINTS = 10


@dataclass(frozen=True, eq=False)
class Projection(Carrier):
    """A map: UMAP coordinates of some rows of a space.

    Attributes
    ----------
    space_key, settings
        What is shown, and how it was made.
    rows
        Rows of the space (programs or classes) that are drawn, (n,).
    xy
        Their places (n, 2), float32.
    """

    stage: ClassVar[str] = "projection"

    space_key: str
    settings: dict[str, Any]
    rows: np.ndarray
    xy: np.ndarray

    @staticmethod
    def describe(space_key: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Identity of a map before it is drawn."""
        return {"space": space_key, "settings": settings}

    @property
    def identity(self) -> dict[str, Any]:
        return self.describe(self.space_key, self.settings)

    @property
    def label(self) -> str:
        return "umap"

    def payload(self) -> dict[str, np.ndarray]:
        return {"rows": self.rows, "xy": self.xy}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        return cls(identity["space"], identity["settings"], **payload)

    def frame(self) -> pd.DataFrame:
        """Rows of the space and their places."""
        return pd.DataFrame({"row": self.rows, "map_x": self.xy[:, 0], "map_y": self.xy[:, 1]})


def umap_settings(num_points: int = 3000, neighbors: int = 15, seed: int = 0) -> dict[str, Any]:
    """Settings that decide a map, for its key."""
    return {"num_points": num_points, "neighbors": neighbors, "seed": seed}


def project(space: Space, *, num_points: int = 3000, neighbors: int = 15, seed: int = 0) -> Projection:
    """Draw a sample of distinct vectors of a space with UMAP.

    Exact neighbours are computed by scikit-learn and handed to UMAP, which avoids its slow start above
    4,096 points and makes a seeded map repeatable on one machine.

    Raises
    ------
    ConfigurationError
        If the space has too few distinct vectors to draw.
    """
    rows = distinct_rows(space.coordinates, num_points, seed)
    if len(rows) < MIN_POINTS:
        raise ConfigurationError(f"{len(rows)} distinct points are too few for a map: enumerate more leaves")
    neighbors = min(neighbors, len(rows) - 1)
    vectors = space.coordinates[rows]
    distances, indices = NearestNeighbors(n_neighbors=neighbors, algorithm="brute").fit(vectors).kneighbors(vectors)
    return Projection(
        space.key, umap_settings(num_points, neighbors, seed), rows, _umap(vectors, indices, distances, neighbors, seed)
    )


def _umap(vectors: np.ndarray, indices: np.ndarray, distances: np.ndarray, neighbors: int, seed: int) -> np.ndarray:
    import umap  # several seconds: only here

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = umap.UMAP(
            n_neighbors=neighbors, random_state=seed, n_jobs=1, init="pca", precomputed_knn=(indices, distances, None)
        )
        return np.asarray(model.fit_transform(vectors), dtype=np.float32)


def distinct_rows(coordinates: np.ndarray, num_rows: int, seed: int) -> np.ndarray:
    """Sorted sample of rows without NaN whose vectors differ (to four decimals)."""
    generator = np.random.default_rng(seed)
    usable = np.flatnonzero(~np.isnan(coordinates[:, 0]))
    sample = generator.permutation(usable)[: 40 * num_rows]
    rounded = np.round(coordinates[sample] * 1e4).astype(np.int64)
    # one wrapping product per row tells vectors apart (but for a chance of 2^-64 a pair) without sorting them
    factors = np.random.default_rng(7).integers(1, 1 << 62, size=rounded.shape[1]) | 1
    _, first = np.unique(rounded @ factors, return_index=True)
    return np.sort(generator.permutation(sample[np.sort(first)])[:num_rows])


def map_frame(corpus: Corpus, space: Space, projection: Projection) -> pd.DataFrame:
    """A map with what the eye wants to know about each point: text, size, root operator, class size."""
    ids = projection.rows if space.kind == SYNTACTIC else corpus.class_id[projection.rows]
    table = corpus.frame(ids)
    table["map_x"], table["map_y"] = projection.xy[:, 0], projection.xy[:, 1]
    for axis in range(min(4, space.num_axes)):
        table[f"axis_{axis}"] = space.coordinates[projection.rows, axis]
    return table
