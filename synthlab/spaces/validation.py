"""Can a space be trusted? Its distances against exact ones, its map against the space, one space against another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from synthlab.errors import ConfigurationError
from synthlab.language.operator import Operator
from synthlab.language.program import Program
from synthlab.spaces.pqgrams import pair_distances, profiles
from synthlab.spaces.projection import Projection
from synthlab.spaces.semantic import output_disagreement
from synthlab.spaces.space import SYNTACTIC, Space
from synthlab.spaces.syntactic import settings_grams
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
    first, second = _random_pairs(space, num_pairs, seed)
    if space.kind == SYNTACTIC:
        exact = _pq_metric(corpus, space, first, second)
    else:
        exact = output_disagreement(corpus, first, second)
    return pd.DataFrame({"in_space": _in_space(space, first, second), "exact": exact})


def _random_pairs(space: Space, num_pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(~np.isnan(space.coordinates[:, 0]))
    pairs = np.random.default_rng(seed).choice(rows, size=(num_pairs, 2))
    return pairs[:, 0], pairs[:, 1]


def _in_space(space: Space, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.linalg.norm(space.coordinates[first] - space.coordinates[second], axis=1)


def _pq_metric(corpus: Corpus, space: Space, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    grams = settings_grams(space.settings)
    both = profiles(corpus.grammar, corpus.prefix[np.concatenate([first, second])], grams)
    return pair_distances(both[: len(first)], both[len(first) :])


def rank_agreement(pairs: pd.DataFrame) -> float:
    """Spearman correlation of the two distances of `distance_pairs`."""
    return float(spearmanr(pairs["in_space"], pairs["exact"]).statistic)


def tree_edit_distance(first: Program, second: Program) -> int:
    """Fewest insertions, deletions and relabellings of nodes that lead from one ordered tree to the other.

    Computed by APTED (Pawlik and Augsten, Information Systems 56, 2016).
    """
    from apted import APTED

    return int(APTED(_tree(first), _tree(second), _UnitCosts()).compute_edit_distance())


class _UnitCosts:
    """Trees are (label, children); every edit costs one."""

    valuecls = int

    def delete(self, node: Any) -> int:
        return 1

    def insert(self, node: Any) -> int:
        return 1

    def rename(self, first: Any, second: Any) -> int:
        return int(first[0] != second[0])

    def children(self, node: Any) -> list[Any]:
        return list(node[1])


def _tree(program: Program) -> Any:
    texts = program.grammar.tokens

    def leaf(token: int) -> Any:
        return texts[token], ()

    def node(operator: Operator, parts: Sequence[Any]) -> Any:
        return operator.symbol, parts

    return program.fold(leaf, node)


def distance_agreement(corpus: Corpus, space: Space, num_pairs: int = 500, seed: int = 0) -> pd.DataFrame:
    """How three distances of texts order random pairs of programs: Spearman correlations.

    The distances are the metric of the space's own pq-grams, the tree edit distance of unit cost, and the
    distance in the space.

    Returns
    -------
    pandas.DataFrame
        A symmetric table with one row and column each for ``pq-gram metric``, ``tree edit distance`` and
        ``SVD distance``.

    Raises
    ------
    ConfigurationError
        If the space is not syntactic, or there are fewer than 3 pairs.
    """
    if space.kind != SYNTACTIC:
        raise ConfigurationError(f"tree edit distances are of texts, not of a {space.kind} space: pass a syntactic one")
    if num_pairs < 3:
        raise ConfigurationError(f"{num_pairs} pairs have no rank correlation: take at least 3")
    first, second = _random_pairs(space, num_pairs, seed)
    edits = [
        tree_edit_distance(corpus.program(a), corpus.program(b))
        for a, b in zip(first.tolist(), second.tolist(), strict=True)
    ]
    distances = {
        "pq-gram metric": _pq_metric(corpus, space, first, second),
        "tree edit distance": edits,
        "SVD distance": _in_space(space, first, second),
    }
    return pd.DataFrame(distances).corr(method="spearman")


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


def stability(
    first: Space | Projection, second: Space | Projection, *, neighbors: int = 15, num_points: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """How far two spaces of the same rows, or two maps of one space, tell the same story.

    Distances and neighbours are those among a sample of the rows that both place.

    Parameters
    ----------
    first, second
        Spaces (of other p, q, weighting, scaling, ...) or maps (of other seeds, ...).
    neighbors
        Nearest neighbours of every point that are compared.
    num_points
        Size of the sample.
    seed
        Seed of the sample.

    Returns
    -------
    pandas.DataFrame
        One row: points, neighbors, neighbors_kept (mean share of a point's nearest neighbours that are among its
        nearest in both), by_chance (that share for unrelated places) and rank_agreement (Spearman
        correlation of the distances of all pairs).

    Raises
    ------
    ConfigurationError
        If the rows of the two are different things, or too few are placed by both.
    """
    rows = _shared_rows(first, second)
    if not 1 <= neighbors <= len(rows) - 2 or num_points < neighbors + 2:
        raise ConfigurationError(
            f"{neighbors} neighbors of {min(num_points, len(rows))} shared points tell nothing: "
            f"take 1 to {min(num_points, len(rows)) - 2}"
        )
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:num_points])
    places = [_places(one, rows) for one in (first, second)]
    near = [NearestNeighbors(n_neighbors=neighbors).fit(p).kneighbors(return_distance=False) for p in places]
    kept = np.mean([len(np.intersect1d(a, b)) for a, b in zip(*near, strict=True)]) / neighbors
    agreement = spearmanr(*(pdist(p) for p in places)).statistic
    return pd.DataFrame([{
        "points": len(rows), "neighbors": neighbors, "neighbors_kept": float(kept),
        "by_chance": neighbors / (len(rows) - 1), "rank_agreement": float(agreement),
    }])  # fmt: skip


def _shared_rows(first: Space | Projection, second: Space | Projection) -> np.ndarray:
    """Rows that both place."""
    if isinstance(first, Projection) and isinstance(second, Projection):
        return np.intersect1d(first.rows, second.rows)
    if isinstance(first, Projection) or isinstance(second, Projection):
        raise ConfigurationError("1 space and 1 map: compare two of a kind, and a map with its space by map_trust")
    if (first.kind, len(first.coordinates)) != (second.kind, len(second.coordinates)):
        counts = " and ".join(f"{len(s.coordinates)} rows of a {s.kind} space" for s in (first, second))
        raise ConfigurationError(f"{counts}: compare spaces of the same rows")
    return np.flatnonzero(~np.isnan(first.coordinates[:, 0]) & ~np.isnan(second.coordinates[:, 0]))


def _places(one: Space | Projection, rows: np.ndarray) -> np.ndarray:
    if isinstance(one, Space):
        return one.coordinates[rows]
    order = np.argsort(one.rows)
    return one.xy[order[np.searchsorted(one.rows, rows, sorter=order)]]
