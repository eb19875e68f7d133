"""Random programs on many points: synthlab's machine in every arithmetic, and other evaluators.

A node-evaluation is one token of one program at one point, leaves included.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
from benchmarks.measure import check, rate, timed
from benchmarks.peers import Peer, available

from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.identity import ResiduePoints, fingerprints
from synthlab.language.interpreter import Algebra, Floats, Points, WholeNumbers, evaluate_shared
from synthlab.language.machine import run_programs
from synthlab.language.residues import PRIME
from synthlab.language.sharing import share
from synthlab.universe.sampling import sample_programs

SQUARE = range(-4, 4)
"""Inputs are small, so that float32 computes every program of seven leaves exactly and all outputs must be equal."""


def input_points(num: int) -> Points:
    """The 64 points of a square of whole numbers, repeated until there are `num`."""
    square = [(Fraction(a), Fraction(b)) for a, b in itertools.product(SQUARE, SQUARE)]
    return [square[k % len(square)] for k in range(num)]


def bench_evaluation(repeats: int, leaves: int, num: int, num_points: int, subset: int) -> dict[str, Any]:
    """One set of programs of exactly so many leaves, on one thread."""
    prefix, points = sample_programs(POLYNOMIAL, leaves, num), input_points(num_points)
    nodes = float(prefix.shape[1]) * num_points
    whole = WholeNumbers(POLYNOMIAL, points)
    outputs = run(whole, prefix)
    arithmetics = {
        "float32": Floats(POLYNOMIAL, points, np.float32), "float64": Floats(POLYNOMIAL, points), "int64": whole,
        "residues": ResiduePoints(POLYNOMIAL, points),
    }  # fmt: skip
    ours = {}
    for name, algebra in arithmetics.items():
        expected = outputs % PRIME if name == "residues" else outputs
        check(np.array_equal(run(algebra, prefix), expected), f"{name} and int64 at {leaves} leaves")
        timing = timed(lambda a=algebra: run(a, prefix), repeats)
        ours[name] = {**timing, "node_evaluations_per_s": rate(nodes * num, timing)}
    shared = _shared(repeats, prefix, nodes, {n: arithmetics[n] for n in ("float32", "float64")}, outputs)
    peers, missing = available()
    theirs = {
        p.name: _against(p, repeats, prefix if p.whole_set else prefix[:subset], points, outputs) for p in peers
    }  # fmt: skip
    keys = timed(lambda: fingerprints(POLYNOMIAL, prefix), repeats)
    return {
        "leaves": leaves, "programs": num, "points": num_points, "arithmetics": ours, "shared": shared,
        "fingerprints": {**keys, "programs_per_s": rate(num, keys)}, "peers": theirs, "left_out": missing,
    }  # fmt: skip


def run(algebra: Algebra, prefix: np.ndarray) -> np.ndarray:
    """Outputs by the compiled machine (P, W)."""
    assert algebra.table is not None
    values, overflowed = run_programs(
        algebra.grammar, algebra.table, prefix, algebra.terminals, algebra.constants, algebra.limit
    )
    check(overflowed < 0, "a program of a few leaves overflowed")
    return values


def _shared(
    repeats: int, prefix: np.ndarray, nodes: float, algebras: dict[str, Algebra], outputs: np.ndarray
) -> dict[str, Any]:
    """The same programs as a graph of distinct subtrees: every token counts, though it may be computed once."""
    graph = share(POLYNOMIAL, prefix)
    building = timed(lambda: share(POLYNOMIAL, prefix), repeats)
    result: dict[str, Any] = {"tokens": prefix.size, "nodes": len(graph.tokens), "build": building}
    for name, algebra in algebras.items():
        values = evaluate_shared(graph, algebra)[graph.roots]
        check(np.array_equal(values, outputs), f"shared subtrees, {name}")
        del values
        timing = timed(lambda a=algebra: evaluate_shared(graph, a), repeats)
        result[name] = {**timing, "node_evaluations_per_s": rate(nodes * len(prefix), timing)}
    return result


def _against(peer: Peer, repeats: int, prefix: np.ndarray, points: Points, outputs: np.ndarray) -> dict[str, Any]:
    """One peer, with its compilation apart, and synthlab in the same floats on the same programs."""
    dtype = np.dtype(peer.dtype)
    inputs = np.array(points, dtype=dtype)
    prepared = peer.prepare(POLYNOMIAL, prefix)
    check(np.array_equal(peer.evaluate(prepared, inputs), outputs[: len(prefix)]), f"{peer.name} and int64")
    evaluating = timed(lambda: peer.evaluate(prepared, inputs), repeats)
    preparing = timed(lambda: peer.prepare(POLYNOMIAL, prefix), repeats)
    algebra = Floats(POLYNOMIAL, points, dtype)
    ours = timed(lambda: run(algebra, prefix), repeats)
    both = evaluating["median_s"] + preparing["median_s"]
    return {
        "dtype": dtype.name, "programs": len(prefix), **evaluating, "prepare": preparing, "synthlab": ours,
        "node_evaluations_per_s": rate(float(prefix.size) * len(points), evaluating),
        "ratio": evaluating["median_s"] / ours["median_s"], "ratio_with_preparation": both / ours["median_s"],
    }  # fmt: skip
