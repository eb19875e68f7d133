"""Seconds and peak memory of both spaces, each fitted in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import in_process, memory_of, timed

from synthlab.language.grammar import POLYNOMIAL
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.store import Store
from synthlab.universe.corpus import Corpus, build_corpus

FITS = {"syntactic": fit_syntactic, "semantic": fit_semantic}


def bench_spaces(repeats: int, leaves: int) -> dict[str, Any]:
    """Fits on every program of the universe."""
    with tempfile.TemporaryDirectory() as folder:
        key = build_corpus(POLYNOMIAL, leaves).save(Store(folder))
        return {kind: in_process("spaces.fitted", kind=kind, folder=folder, key=key, repeats=repeats) for kind in FITS}


def fitted(kind: str, folder: str, key: str, repeats: int) -> dict[str, Any]:
    """Fit a space of a stored corpus; the peak of this process is then the peak of the fit."""
    corpus = Corpus.load(Store(Path(folder)), key)
    FITS[kind](build_corpus(POLYNOMIAL, 2))  # compiles
    _, memory = memory_of(lambda: FITS[kind](corpus))
    return {"programs": corpus.num_programs, **timed(lambda: FITS[kind](corpus), repeats), **memory}
