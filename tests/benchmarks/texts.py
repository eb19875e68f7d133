"""Texts of the polynomial universe: listed with their functions, numbered, sampled, and streamed to disk."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import plain
from benchmarks.enumeration import planned, with_prediction
from benchmarks.measure import check, in_process, memory_of, rate, timed

from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.measure import sizes_of
from synthlab.store import Store
from synthlab.universe.corpus import build_corpus
from synthlab.universe.counting import program_counts, rank, unrank
from synthlab.universe.sampling import sample_programs
from synthlab.universe.shards import enumerate_texts


def bench_listing(repeats: int, leaves: int) -> dict[str, Any]:
    """Every text with its function, against lists and a dictionary, and against the prediction."""
    ours = in_process("texts.measured", leaves=leaves, repeats=repeats)
    counts = list(plain.list_texts(POLYNOMIAL, leaves))
    check(counts == [ours["programs"], ours["functions"]], f"texts and functions: {ours} and {counts}")
    theirs = timed(lambda: plain.list_texts(POLYNOMIAL, leaves), repeats)
    return {
        "leaves": leaves, "programs": ours["programs"], "functions": ours["functions"], "synthlab": ours,
        "plain": {**theirs, "texts_per_s": rate(ours["programs"], theirs)},
        "ratio": theirs["median_s"] / ours["median_s"],
    }  # fmt: skip


def measured(leaves: int, repeats: int) -> dict[str, Any]:
    """Prediction, seconds and memory of a corpus in this process."""
    build_corpus(POLYNOMIAL, 2)  # compiles
    plan = planned("texts", leaves)
    corpus, memory = memory_of(lambda: build_corpus(POLYNOMIAL, leaves))
    programs, functions = corpus.num_programs, corpus.num_classes
    del corpus
    timing = timed(lambda: build_corpus(POLYNOMIAL, leaves), repeats)
    return with_prediction(plan, {
        "programs": programs, "functions": functions, **timing, "texts_per_s": rate(programs, timing),
        **memory,
    })  # fmt: skip


def bench_numbering(repeats: int, sizes: list[int], num: int) -> list[dict[str, Any]]:
    """Programs written from their ids."""
    results = []
    for leaves in sizes:
        ids = np.random.default_rng(0).integers(0, sum(program_counts(POLYNOMIAL, leaves)), size=num)
        back = rank(POLYNOMIAL, unrank(POLYNOMIAL, ids, leaves), leaves)
        check(np.array_equal(back, ids), f"ids of {leaves} leaves there and back")
        timing = timed(lambda n=leaves, i=ids: unrank(POLYNOMIAL, i, n), repeats)
        results.append({"leaves": leaves, "programs": num, **timing, "programs_per_s": rate(num, timing)})
    return results


def bench_sampling(repeats: int, leaves: int, num: int) -> dict[str, Any]:
    """Uniform programs of a size whose ids no machine word holds."""
    prefix = sample_programs(POLYNOMIAL, leaves, num)  # compiles, and computes the thresholds
    check((sizes_of(POLYNOMIAL, prefix, "leaves") == leaves).all(), "sizes of sampled programs")
    timing = timed(lambda: sample_programs(POLYNOMIAL, leaves, num), repeats)
    return {"leaves": leaves, "programs": num, **timing, "programs_per_s": rate(num, timing)}


def bench_streaming(repeats: int, leaves: int) -> dict[str, Any]:
    """Every text with its function, written to a store that is empty before every repeat."""
    with tempfile.TemporaryDirectory() as folder:
        stores = (Store(Path(folder) / str(k)) for k in itertools.count())
        universe = enumerate_texts(POLYNOMIAL, leaves, store=next(stores))  # compiles
        num, size = len(universe), sum(p.stat().st_size for p in universe.folder.rglob("*") if p.is_file())
        check(num == sum(program_counts(POLYNOMIAL, leaves)), f"texts on disk: {num}")
        timing = timed(lambda: enumerate_texts(POLYNOMIAL, leaves, store=next(stores)), repeats)
    return {
        "leaves": leaves, "programs": num, "megabytes": size / 1e6, **timing, "texts_per_s": rate(num, timing),
        "megabytes_per_s": rate(size / 1e6, timing),
    }  # fmt: skip
