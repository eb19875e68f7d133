"""Seconds and peak memory of UMAP maps of the syntactic space, each drawn in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import in_process, memory_of, timed

from synthlab.language.grammar import POLYNOMIAL
from synthlab.spaces.projection import Projection, program_strata, project
from synthlab.spaces.space import Space
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.store import Store
from synthlab.universe.corpus import Corpus, build_corpus


def bench_maps(leaves: int, maps: Sequence[tuple[int | None, int, int | None]]) -> list[dict[str, Any]]:
    """Maps of every program of the universe: points shown (None: all), points fitted, and seed (None: unseeded)."""
    with tempfile.TemporaryDirectory() as folder:
        store, corpus = Store(folder), build_corpus(POLYNOMIAL, leaves)
        keys = {"corpus": corpus.save(store), "space": fit_syntactic(corpus).save(store)}
        del corpus
        names = ("num_points", "num_fit", "seed")
        return [
            in_process("maps.drawn", folder=folder, **keys, settings=dict(zip(names, m, strict=True))) for m in maps
        ]


def drawn(folder: str, corpus: str, space: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Draw a map once, from a stored space; then another layout of it, whose neighbours are stored."""
    universe, fitted = Corpus.load(Store(Path(folder)), corpus), Space.load(Store(Path(folder)), space)
    strata = program_strata(universe, fitted)
    startup = timed(lambda: project(fitted, num_points=50, seed=settings["seed"]), 1)  # imports and compiles
    with tempfile.TemporaryDirectory() as empty:
        store, maps = Store(empty), list[Projection]()

        def draw(min_dist: float) -> None:
            maps.append(project(fitted, strata=strata, store=store, min_dist=min_dist, **settings))

        first, memory = memory_of(lambda: timed(lambda: draw(0.1), 1))
        again = timed(lambda: draw(0.5), 1)
    return {
        "programs": universe.num_programs, "points": len(maps[0].rows), "fitted": int(maps[0].fitted.sum()),
        "seed": settings["seed"], **first, **memory, "startup": startup, "another_layout": again,
    }  # fmt: skip
