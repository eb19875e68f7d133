"""How long forced stays forced: with more leaves, a function finds texts outside the region."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from synthlab.errors import BudgetExceeded, SplitError
from synthlab.language.identity import fingerprints
from synthlab.spaces.embedding import embed
from synthlab.spaces.space import SEMANTIC, Space
from synthlab.splits.regions import PLACEBO, Region, texts_in
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus
from synthlab.universe.counting import size_offsets, unrank
from synthlab.universe.hashing import HashIndex

_ROWS_AT_ONCE = 1 << 18


def forced_growth(
    corpus: Corpus, spaces: Mapping[str, Space], split: Split, *, extra: int = 1, max_texts: int = 400_000_000,
    progress: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """How many forced functions have a text outside the region once programs may be larger than N.

    Every text of the further sizes is asked whether it computes a forced function and lies outside, so the
    counts are exact. In the spaces, new texts are placed by the fitted projection, and the region keeps its bounds.

    Parameters
    ----------
    corpus, spaces, split
        A support split, its universe, and the spaces of its region.
    extra, max_texts
        Further sizes beyond N; refuse to read more texts than this.

    Returns
    -------
    pandas.DataFrame
        One row per bound: size, new texts, forced (functions still without a text outside), share.

    Raises
    ------
    BudgetExceeded
        If there are more texts than `max_texts`.
    SplitError
        If the split holds out no region, or no function is forced.
    """
    if split.kind != "support" or not len(split.tests["forced"]):
        raise SplitError("no function is forced in this split: choose a support split with a larger region")
    from tqdm.auto import tqdm

    grammar, measure = corpus.grammar, corpus.measure
    ends = size_offsets(grammar, corpus.max_size + extra, measure)[-1 - extra :].tolist()  # of N, N + 1, ...
    num_texts = ends[-1] - ends[0]
    if num_texts > max_texts:
        raise BudgetExceeded(
            f"{num_texts:,} texts of {corpus.max_size + 1} to {corpus.max_size + extra} {measure} are over "
            f"max_texts={max_texts:,}: lower extra, or use a smaller universe"
        )
    outside = outside_test(corpus, spaces, split)
    closed = np.ones(len(split.tests["forced"]), dtype=bool)
    index = HashIndex(corpus.fingerprints[corpus.class_rows(split.tests["forced"])])
    rows = [{measure: corpus.max_size, "texts": corpus.num_programs, "forced": len(closed), "share": 1.0}]
    with tqdm(total=num_texts, desc="larger texts", unit="text", unit_scale=True, disable=not progress) as bar:
        for size, (start, stop) in enumerate(itertools.pairwise(ends), start=corpus.max_size + 1):
            for first in range(start, stop, _ROWS_AT_ONCE):
                ids = np.arange(first, min(stop, first + _ROWS_AT_ONCE))
                prefix = unrank(grammar, ids, corpus.max_size + extra, measure)
                found = index.find(fingerprints(grammar, prefix, corpus.seed))
                hit = np.flatnonzero(found >= 0)
                hit = hit[closed[found[hit]]]  # those already open are settled
                closed[found[hit[outside(prefix[hit])]]] = False
                bar.update(len(ids))
            still = int(closed.sum())
            rows.append({measure: size, "texts": stop - start, "forced": still, "share": still / len(closed)})
    return pd.DataFrame(rows)


def outside_test(corpus: Corpus, spaces: Mapping[str, Space], split: Split) -> Callable[[np.ndarray], np.ndarray]:
    """Function from texts (P, L) of any size to a mask (P,) of those outside a split's region.

    Raises
    ------
    SplitError
        If the region is decided by whole classes, so that no text of a forced function can lie outside.
    """
    region = Region(**split.settings["region"])
    if region.is_textual:
        return lambda prefix: ~texts_in(region, corpus.grammar, prefix, corpus.measure)
    if region.rule == PLACEBO or all(spaces[kind].kind == SEMANTIC for kind in region.kinds):
        raise SplitError(f"{region.describe()} holds out whole functions: larger texts of theirs are inside as well")

    def outside(prefix: np.ndarray) -> np.ndarray:
        inside = np.zeros(len(prefix), dtype=bool)
        for kind, boundary in split.boundaries.items():
            inside |= boundary.contains(embed(spaces[kind], corpus.grammar, prefix))
        return ~inside

    return outside
