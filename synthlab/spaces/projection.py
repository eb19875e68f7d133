"""Two-dimensional pictures of a space by UMAP; for eyes only, never for splits.

UMAP's coordinates are not reproducible across machines, so nothing is computed from them.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from synthlab.errors import ConfigurationError
from synthlab.spaces.neighbors import (
    METRICS,
    MIN_POINTS,
    NUM_ANCHORS,
    Neighbors,
    find_neighbors,
    metric_vectors,
    neighbor_settings,
    strata_digest,
    vector_codes,
)
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.store import Carrier, Store, content_key
from synthlab.universe.corpus import Corpus

_ROWS_AT_ONCE = 1 << 16
_NOUNS = {SYNTACTIC: "programs", SEMANTIC: "classes"}


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """How a map is drawn.

    Attributes
    ----------
    num_points
        Show that many distinct vectors, or as many as there are; None shows every row.
    num_fit
        UMAP is fitted on at most that many of them; the others are placed among these.
    neighbors
        Neighbours that UMAP keeps together, the point itself counted; fewer where fewer vectors differ.
    min_dist
        How close UMAP may pack points.
    metric
        ``euclidean`` or ``cosine``.
    epochs
        Passes of the layout; None is UMAP's rule, 500 up to 10,000 fitted points and 200 above.
    seed
        Of the layout; the same seed gives the same bytes on one machine, on one core. None uses all cores at
        once, and every map differs. On two idle cores a seed costs 3 s at 20,000 fitted points (8 against 4 to 5)
        and up to 20 s at 100,000 (45 against 23 to 38), where others use the machine nothing at all; no seed costs
        5 s more to compile in every process.
    sample_seed
        Of the choice of points, so that another layout shows the same ones.
    """

    num_points: int | None = 3000
    num_fit: int = 20_000
    neighbors: int = 15
    min_dist: float = 0.1
    metric: str = "euclidean"
    epochs: int | None = None
    seed: int | None = 0
    sample_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_points", "num_fit"):
            value = getattr(self, name)
            if value is not None and value < MIN_POINTS:
                raise ConfigurationError(f"{name}={value}: a map takes at least {MIN_POINTS} points")
        if self.metric not in METRICS:
            raise ConfigurationError(f"unknown metric {self.metric!r}: use one of {', '.join(METRICS)}")
        if self.neighbors < 2:
            raise ConfigurationError(f"neighbors={self.neighbors}: a point counts itself, so use at least 2")
        if not 0 <= self.min_dist <= 1:
            raise ConfigurationError(f"min_dist={self.min_dist}: use 0 to 1, the scale of the map")
        if self.epochs is not None and self.epochs < 1:
            raise ConfigurationError(f"epochs={self.epochs}: use at least 1, or None")
        for name in ("seed", "sample_seed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1 << 32:
                raise ConfigurationError(f"{name}={value}: use 0 to 2^32 - 1")


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
    fitted
        Rows that UMAP was fitted on, (n,) bool; the others were placed among them. All by default.
    kind, num_rows
        Kind of the space, and how many of its rows have a place in it.
    """

    stage: ClassVar[str] = "projection"
    schema: ClassVar[int] = 2

    space_key: str
    settings: dict[str, Any]
    rows: np.ndarray
    xy: np.ndarray
    fitted: np.ndarray = None  # type: ignore[assignment]  # replaced below
    kind: str = ""
    num_rows: int = 0

    def __post_init__(self) -> None:
        if self.fitted is None:
            object.__setattr__(self, "fitted", np.ones(len(self.rows), dtype=bool))

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

    def payload(self) -> dict[str, np.ndarray | bytes]:
        about = json.dumps({"kind": self.kind, "num_rows": self.num_rows}).encode()
        return {"rows": self.rows, "xy": self.xy, "fitted": self.fitted, "about": about}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        about = json.loads(payload.pop("about"))
        return cls(identity["space"], identity["settings"], **payload, **about)

    @property
    def subtitle(self) -> str:
        """What was done, in words for a chart."""
        num_fitted, seed = int(self.fitted.sum()), self.settings.get("seed")
        text = f"UMAP of {num_fitted:,} of {max(self.num_rows, len(self.rows)):,} {_NOUNS.get(self.kind, 'rows')}; "
        if num_placed := len(self.rows) - num_fitted:
            text += "the rest" if len(self.rows) == self.num_rows else f"{num_placed:,} more"
            everything_fitted = num_fitted < self.settings.get("num_fit", 0)
            how = (
                "on their equal vectors"
                if everything_fitted
                else "at the weighted mean of their 5 nearest that stand together"
            )
            text += f" placed {how}; "
        return text + ("unseeded" if seed is None else f"seed {seed}")

    def frame(self) -> pd.DataFrame:
        """Rows of the space, their places, and whether UMAP was fitted on them."""
        return pd.DataFrame({"row": self.rows, "map_x": self.xy[:, 0], "map_y": self.xy[:, 1], "fitted": self.fitted})


def umap_settings(
    num_points: int | None = 3000, *, strata: np.ndarray | None = None, **settings: Any
) -> dict[str, Any]:
    """Settings that decide a map, for its key: those of `MapSettings`, and a fingerprint of the strata."""
    return {**asdict(MapSettings(num_points=num_points, **settings)), "strata": strata_digest(strata)}


def project(
    space: Space,
    *,
    strata: np.ndarray | None = None,
    store: Store | None = None,
    progress: bool = False,
    **settings: Any,
) -> Projection:
    """Draw a map of a space with UMAP (McInnes, Healy and Melville, 2018; arXiv:1802.03426).

    A stratified sample of distinct vectors is laid out. Every other row that is shown stands where its vector
    does, or at a mean of the places of its 5 nearest fitted vectors (`place`).

    Parameters
    ----------
    space
        Rows without a place in it (NaN) are not shown.
    strata
        Label of every row (rows,), integers, such as `program_strata`; small strata are shown in full.
    store
        Keeps the neighbours, so that another layout of the same points starts at once.
    progress
        Show progress bars.
    settings
        Fields of `MapSettings`.

    Raises
    ------
    ConfigurationError
        If a setting is out of range, or the space has too few distinct vectors to draw.
    """
    chosen = MapSettings(**settings)
    neighbors = _neighbors(space, chosen, strata, store, progress)
    vectors = metric_vectors(space.coordinates[neighbors.fitted_rows], chosen.metric)
    places = _layout(vectors, neighbors, chosen, progress)
    places = np.concatenate([places, place(places, neighbors.anchors, neighbors.anchor_distances)])
    return Projection(
        space.key, umap_settings(strata=strata, **asdict(chosen)), neighbors.rows, places[neighbors.vector],
        neighbors.fitted, space.kind, int((~np.isnan(space.coordinates[:, 0])).sum()),
    )  # fmt: skip


def _neighbors(
    space: Space, chosen: MapSettings, strata: np.ndarray | None, store: Store | None, progress: bool
) -> Neighbors:
    parts = {name: getattr(chosen, name) for name in ("num_points", "num_fit", "neighbors", "metric", "sample_seed")}

    def search() -> Neighbors:
        return find_neighbors(space, **parts, strata=strata, progress=progress)

    if store is None:
        return search()
    settings = neighbor_settings(**parts, strata=strata_digest(strata))
    key = content_key(Neighbors.stage, Neighbors.schema, Neighbors.describe(space.key, settings))
    return store.cached(Neighbors, key, search)


def _layout(vectors: np.ndarray, neighbors: Neighbors, chosen: MapSettings, progress: bool) -> np.ndarray:
    """Places of the fitted vectors by UMAP, started from their principal components."""
    umap = _import_umap()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that rows cannot be added later
        model = umap.UMAP(
            n_neighbors=neighbors.indices.shape[1], min_dist=chosen.min_dist, n_epochs=chosen.epochs, init="pca",
            random_state=chosen.seed, n_jobs=-1 if chosen.seed is None else 1,
            precomputed_knn=(neighbors.indices, neighbors.distances, None),
            tqdm_kwds={"desc": "layout", "disable": not progress},
        )  # fmt: skip
        return np.asarray(model.fit_transform(vectors), dtype=np.float32)


def _import_umap() -> Any:
    """UMAP, with its compiled functions kept on disk as those of this package are."""
    import umap  # seconds: only here
    from umap import layouts, umap_

    # numba tells kept functions apart by their source alone, and the layout for one core has the same source as
    # the one for many: only one of the two may be kept
    one_core: Any = getattr(layouts, "_nb_optimize_layout_euclidean_single_epoch", None)
    for function in (umap_.smooth_knn_dist, umap_.compute_membership_strengths, one_core):
        if hasattr(function, "enable_caching"):
            function.enable_caching()
    return umap


def place(places: np.ndarray, anchors: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Places of vectors among those of their nearest fitted ones, block by block.

    UMAP tears some neighbours apart, and the mean of places in two clusters is in neither. So only anchors that
    stand together count: those within the grain of the map, twice the median distance to the fifth nearest
    place, of the anchor round which the weights sum to most. Weights are inverse distances.

    Parameters
    ----------
    places
        (F, 2).
    anchors, distances
        Positions in `places` (U, k), and how far they are in the space (U, k); nothing is nearer than 1e-9.

    Returns
    -------
    numpy.ndarray
        (U, 2), the type of the places.
    """
    grain = 2 * np.median(cKDTree(places).query(places, k=NUM_ANCHORS + 1)[0][:, -1])
    result = np.empty((len(anchors), 2), dtype=places.dtype)
    for start in range(0, len(anchors), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        among, weights = places[anchors[block]], 1 / np.maximum(distances[block].astype(np.float64), 1e-9)
        together = np.square(among[:, :, None] - among[:, None]).sum(axis=-1) <= grain**2
        centre = np.argmax(np.einsum("uij,uj->ui", together, weights), axis=1)
        weights *= together[np.arange(len(centre)), centre]
        result[block] = np.einsum("uk,ukd->ud", weights, among) / weights.sum(axis=1, keepdims=True)
    return result


def distinct_rows(coordinates: np.ndarray, num_rows: int, seed: int) -> np.ndarray:
    """Sorted sample of rows without NaN whose vectors differ (to four decimals)."""
    generator = np.random.default_rng(seed)
    usable = np.flatnonzero(~np.isnan(coordinates[:, 0]))
    sample = generator.permutation(usable)[: 40 * num_rows]
    _, first = np.unique(vector_codes(coordinates[sample]), return_index=True)
    return np.sort(generator.permutation(sample[np.sort(first)])[:num_rows])


def program_strata(corpus: Corpus, space: Space) -> np.ndarray:
    """Label of every row of a space: leaves and root of the program, or of the minimal text of the class."""
    labels = corpus.leaves.astype(np.int64) * 256 + corpus.root
    return labels if space.kind == SYNTACTIC else labels[corpus.class_id]


def map_frame(corpus: Corpus, space: Space, projection: Projection) -> pd.DataFrame:
    """A map with what the eye wants to know about each point: text, size, root operator, class size."""
    ids = projection.rows if space.kind == SYNTACTIC else corpus.class_id[projection.rows]
    table = corpus.frame(ids)
    table["map_x"], table["map_y"] = projection.xy[:, 0], projection.xy[:, 1]
    for axis in range(min(4, space.num_axes)):
        table[f"axis_{axis}"] = space.coordinates[projection.rows, axis]
    return table
