"""Can a space be trusted? Its distances against exact ones, and its map against the space."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness

from synthlab.spaces.projection import Projection
from synthlab.spaces.space import SYNTACTIC, Space
from synthlab.spaces.syntactic import pq_distances
from synthlab.universe.corpus import Corpus


def distance_pairs(corpus: Corpus, space: Space, *, num_pairs: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Distances of random pairs: in the space, and exactly.

    The exact distance is the pq-gram metric of the texts (syntactic), or the share of grid points at which
    the outputs differ (semantic).

    Returns
    -------
    pandas.DataFrame
        Columns in_space and exact, one row a pair.
    """
    rows = np.flatnonzero(~np.isnan(space.coordinates[:, 0]))
    pairs = np.random.default_rng(seed).choice(rows, size=(num_pairs, 2))
    first, second = space.coordinates[pairs[:, 0]], space.coordinates[pairs[:, 1]]
    if space.kind == SYNTACTIC:
        exact = [pq_distances(corpus.program(a), corpus.program(b))["metric"] for a, b in pairs]
    else:
        exact = (corpus.outputs[pairs[:, 0]] != corpus.outputs[pairs[:, 1]]).mean(axis=1).tolist()
    return pd.DataFrame({"in_space": np.linalg.norm(first - second, axis=1), "exact": exact})


def rank_agreement(pairs: pd.DataFrame) -> float:
    """Spearman correlation of the two distances of `distance_pairs`."""
    return float(spearmanr(pairs["in_space"], pairs["exact"]).statistic)


def map_trust(space: Space, projection: Projection, neighbors: int = 15) -> pd.DataFrame:
    """Trustworthiness and continuity of a map (Venna and Kaski, 2001), 1 is best.

    Trustworthiness falls when points that are near on the map are far in the space, continuity when near
    points of the space are torn apart.
    """
    vectors = space.coordinates[projection.rows]
    neighbors = min(neighbors, (len(vectors) - 1) // 2)
    return pd.DataFrame([{
        "space": space.kind, "points": len(vectors), "neighbors": neighbors,
        "trustworthiness": float(trustworthiness(vectors, projection.xy, n_neighbors=neighbors)),
        "continuity": float(trustworthiness(projection.xy, vectors, n_neighbors=neighbors)),
    }])  # fmt: skip


def trust_report(
    corpus: Corpus, spaces: dict[str, Space], projections: dict[str, Projection], *, num_pairs: int = 1000
) -> pd.DataFrame:
    """One row per space: rank agreement of distances, trustworthiness and continuity of the map."""
    tables = []
    for kind, space in spaces.items():
        agreement = rank_agreement(distance_pairs(corpus, space, num_pairs=num_pairs))
        tables.append(map_trust(space, projections[kind]).assign(rank_agreement=agreement))
    return pd.concat(tables, ignore_index=True)
