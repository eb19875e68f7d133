"""Seconds and peak memory of a report on the shift of a split, what each measure takes of it, and a live reading."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import in_process, memory_of, timed

from synthlab.language.grammar import POLYNOMIAL
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.shift import fast_shift, shift_report
from synthlab.splits.support import Region, support_settings, support_split
from synthlab.store import Store
from synthlab.universe.corpus import Corpus, build_corpus

MEASURES = (
    "energy", "mmd", "sliced_wasserstein", "classifier_auc", "knn_ratio_5", "coverage", "compound_divergence",
)  # fmt: skip
"""One of each family: those that come with it cost nothing more."""
RESERVED = 0.9  # so many classes that the control has as many tests as are asked


def bench_shift(repeats: int, leaves: int, items: int, permutations: int) -> dict[str, Any]:
    """One part against training in both spaces, `items` of either."""
    with tempfile.TemporaryDirectory() as folder:
        key = build_corpus(POLYNOMIAL, leaves).save(Store(folder))
        return in_process(
            "shift.measured", folder=folder, key=key, items=items, permutations=permutations, repeats=repeats
        )


def measured(folder: str, key: str, items: int, permutations: int, repeats: int) -> dict[str, Any]:
    """Report on the control of a support split of a stored corpus, and a live reading of all its parts."""
    corpus = Corpus.load(Store(Path(folder)), key)
    spaces = {"syntactic": fit_syntactic(corpus), "semantic": fit_semantic(corpus)}
    settings = support_settings(Region(rule="root", root="*"), reserved=RESERVED, num_test=items)
    split = support_split(corpus, spaces, settings)
    control = replace(split, tests={"id": split.tests["id"]})
    options = {"sample": items, "permutations": permutations, "progress": False}
    shift_report(control, corpus, spaces, sample=10, permutations=1, progress=False)  # compiles
    table, memory = memory_of(lambda: shift_report(control, corpus, spaces, **options))
    parts = {name: timed(lambda n=name: shift_report(control, corpus, spaces, measures=[n], **options), repeats)
             for name in MEASURES}  # fmt: skip
    seconds = sum(part["median_s"] for part in parts.values())
    return {
        "leaves": corpus.max_size, "num_train": int(table["num_train"].max()),
        "num_test": int(table["num_test"].max()), "permutations": permutations,
        **timed(lambda: shift_report(control, corpus, spaces, **options), repeats), **memory,
        "measures": {name: {**part, "share": part["median_s"] / seconds} for name, part in parts.items()},
        "live": {"programs": len(split.train), **timed(lambda: fast_shift(split, corpus, spaces), repeats)},
    }  # fmt: skip
