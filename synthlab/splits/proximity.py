"""How near the tests are to training: nearest programs, texts in the support, and a proof of distance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from synthlab.errors import SplitError
from synthlab.language.identity import grid_codes
from synthlab.language.program import infix_texts
from synthlab.spaces.space import SEMANTIC, Space
from synthlab.splits.split import Split, learned_texts
from synthlab.universe.corpus import Corpus

_QUERIES_AT_ONCE = 4096


def nearest_training(corpus: Corpus, spaces: Mapping[str, Space], split: Split, part: str) -> pd.DataFrame:
    """Per test class, the nearest training program in each space, and the nearest equivalent in the support.

    A test class stands where its minimal text does. An equivalent is another text of the same function that lies
    outside the held-out region, whether trained on or not; the nearest by syntactic distance is named.

    Returns
    -------
    pandas.DataFrame
        class_id, program; per space ``<space>_nearest`` (text), ``<space>_nearest_id`` and ``<space>_distance``;
        where a region is held out also equivalent, equivalent_id (-1 where there is none) and equivalent_distance.

    Raises
    ------
    SplitError
        If the split has no such part.
    """
    classes = _tested(split, part)
    rows = corpus.class_rows(classes)
    trained = learned_texts(corpus, split)
    table = pd.DataFrame({"class_id": classes, "program": infix_texts(corpus.grammar, corpus.prefix[classes])})
    for name, space in spaces.items():
        places, owners = trained_places(corpus, space, trained)
        queries = space.coordinates[rows if space.kind == SEMANTIC else classes]
        distances, nearest = nearest_places(places, queries)
        table[f"{name}_nearest"] = infix_texts(corpus.grammar, corpus.prefix[owners[nearest]])
        table[f"{name}_nearest_id"], table[f"{name}_distance"] = owners[nearest], distances
    if len(split.region):
        table = pd.concat([table, _equivalents(corpus, spaces, split, classes, rows)], axis=1)
    return table


def _tested(split: Split, part: str) -> np.ndarray:
    if part not in split.tests or not len(split.tests[part]):
        known = ", ".join(name for name, ids in split.tests.items() if len(ids))
        raise SplitError(f"the split has no test classes {part!r}: choose from {known}")
    return np.unique(split.tests[part])


def trained_places(corpus: Corpus, space: Space, trained: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct places of training texts in a space (n, axes), and a text that stands at each (n,)."""
    if space.kind == SEMANTIC:
        rows, first = np.unique(corpus.class_index[trained], return_index=True)
        return space.coordinates[rows], trained[first]
    return space.coordinates[trained], trained


def nearest_places(places: np.ndarray, queries: np.ndarray, num: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest of some places (or the num-th nearest), and its position, for every query; exact."""
    model = NearestNeighbors(n_neighbors=min(num, len(places)), algorithm="brute").fit(places)
    found = [model.kneighbors(queries[k : k + _QUERIES_AT_ONCE]) for k in range(0, len(queries), _QUERIES_AT_ONCE)]
    distances, rows = (np.concatenate([pair[side][:, -1] for pair in found]) for side in (0, 1))
    return distances, rows.astype(np.int64)


def _equivalents(
    corpus: Corpus, spaces: Mapping[str, Space], split: Split, classes: np.ndarray, rows: np.ndarray
) -> pd.DataFrame:
    """Nearest text of the same function outside the region, by syntactic distance (least text without that space)."""
    outside = ~split.held_out(corpus.num_programs)
    wanted = np.zeros(corpus.num_classes + 1, dtype=bool)
    wanted[rows] = True
    texts = np.flatnonzero(wanted[corpus.class_index] & outside)  # class -1 reads the last entry
    texts = texts[~np.isin(texts, classes)]
    owner = np.searchsorted(rows, corpus.class_index[texts])
    distance = np.zeros(len(texts))
    space = spaces.get("syntactic")
    if space is not None:
        distance = np.linalg.norm(space.coordinates[texts] - space.coordinates[classes[owner]], axis=1)
    order = np.lexsort((texts, distance, owner))
    found, first = np.unique(owner[order], return_index=True)
    ids, distances = np.full(len(classes), -1, dtype=np.int64), np.full(len(classes), np.nan)
    ids[found], distances[found] = texts[order[first]], distance[order[first]]
    names = np.full(len(classes), "", dtype=object)
    names[found] = infix_texts(corpus.grammar, corpus.prefix[ids[found]])
    return pd.DataFrame({"equivalent": names, "equivalent_id": ids, "equivalent_distance": distances})


def support_proof(corpus: Corpus, spaces: Mapping[str, Space], split: Split, *, radius: float = 0.0) -> pd.DataFrame:
    """How far every test set stays from the training set: no test class lies within `nearest` of it.

    Parameters
    ----------
    corpus, spaces, split
        What is measured.
    radius
        Distance that the caller wants to be free of training programs, in units of the space.

    Returns
    -------
    pandas.DataFrame
        Per part and space: tasks, nearest (the smallest distance of any test class to training), median, spacing
        (median distance from a training place to the next), and within (share of classes within the radius).
    """
    trained = learned_texts(corpus, split)
    rows = []
    for name, space in spaces.items():
        places, _ = trained_places(corpus, space, trained)
        some = places[np.random.default_rng(0).permutation(len(places))[:_QUERIES_AT_ONCE]]
        spacing = float(np.median(nearest_places(places, some, num=2)[0])) if len(places) > 1 else np.nan
        for part in (part for part, ids in split.tests.items() if len(ids)):
            classes = _tested(split, part)
            at = corpus.class_rows(classes) if space.kind == SEMANTIC else classes
            distances, _ = nearest_places(places, space.coordinates[at])
            rows.append({
                "part": part, "space": name, "tasks": len(classes), "nearest": float(distances.min()),
                "median": float(np.median(distances)), "spacing": spacing,
                "within": float((distances <= radius).mean()),
            })  # fmt: skip
    return pd.DataFrame(rows).sort_values(["space", "part"], kind="stable", ignore_index=True)


def nearest_neighbor_baseline(
    corpus: Corpus, spaces: Mapping[str, Space], split: Split, space: str = SEMANTIC
) -> pd.DataFrame:
    """What answering every task with the nearest training program would score.

    Returns
    -------
    pandas.DataFrame
        Per part: tasks, solved (share whose nearest program is the same function: 0 unless the split leaks),
        same_outputs (mean share of grid points on which it agrees), distance (median).
    """
    rows = []
    for part in (part for part, ids in split.tests.items() if len(ids)):
        table = nearest_training(corpus, {space: spaces[space]}, split, part)
        answers = table[f"{space}_nearest_id"].to_numpy()
        codes = [grid_codes(corpus.grammar, corpus.prefix[ids]) for ids in (table["class_id"].to_numpy(), answers)]
        same = corpus.class_index[answers] == corpus.class_rows(table["class_id"].to_numpy())
        rows.append({
            "part": part, "tasks": len(table), "solved": float(same.mean()),
            "same_outputs": float((codes[0] == codes[1]).mean()),
            "distance": float(table[f"{space}_distance"].median()),
        })  # fmt: skip
    return pd.DataFrame(rows)
