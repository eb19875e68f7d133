"""Functions of the polynomial universe: against plain Python, alone, and against their prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks import plain
from benchmarks.measure import MEBIBYTE, check, in_process, memory_of, rate, timed

from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.identity import identity_algebra
from synthlab.universe import enumeration
from synthlab.universe.candidates import operand_blocks
from synthlab.universe.enumeration import enumerate_functions, grow, operand_order
from synthlab.universe.functions import merged_order
from synthlab.universe.planning import plan_functions, plan_texts
from synthlab.universe.pruning import redundancy_rules

BLOCK = 1 << 14


def bench_against_plain(repeats: int, leaves: int) -> dict[str, Any]:
    """One thread of synthlab against dictionaries, at a size that plain Python does in seconds."""
    algebra = identity_algebra(POLYNOMIAL)
    table = enumerate_functions(POLYNOMIAL, algebra, leaves)  # compiles
    ours = timed(lambda: enumerate_functions(POLYNOMIAL, algebra, leaves), repeats)
    result = {
        "leaves": leaves, "functions": len(table), "candidates": table.executed, "synthlab": _rates(table, ours)
    }  # fmt: skip
    for arithmetic in plain.ARITHMETICS:
        counts, candidates = plain.enumerate_functions(POLYNOMIAL, leaves, arithmetic)
        check(counts == table.counts(), f"functions by size, {arithmetic}: {counts} and {table.counts()}")
        check(candidates == table.executed, f"candidates, {arithmetic}: {candidates} and {table.executed}")
        theirs = timed(lambda a=arithmetic: plain.enumerate_functions(POLYNOMIAL, leaves, a), repeats)
        result[arithmetic] = {**_rates(table, theirs), "ratio": theirs["median_s"] / ours["median_s"]}
    return result


def _rates(table: Any, timing: dict[str, float]) -> dict[str, float]:
    return {
        **timing, "functions_per_s": rate(len(table), timing), "candidates_per_s": rate(table.executed, timing)
    }  # fmt: skip


# ---------------------------------------------------------------- alone


def bench_alone(repeats: int, sizes: list[int]) -> list[dict[str, Any]]:
    """Synthlab at larger sizes, each in a process of its own."""
    return [in_process("enumeration.measured", leaves=leaves, repeats=repeats) for leaves in sizes]


def planned(what: str, leaves: int) -> dict[str, float]:
    """The prediction of one enumeration."""
    plan = {"functions": plan_functions, "texts": plan_texts}[what](POLYNOMIAL, leaves)
    known = {"functions": plan.functions} if what == "functions" else {}
    return {"median_s": plan.seconds, "work_mib": plan.memory_bytes / MEBIBYTE, **known}


def with_prediction(plan: dict[str, float], measured: dict[str, Any]) -> dict[str, Any]:
    """A measurement beside what was predicted of seconds, memory and functions."""
    names = {"seconds": "median_s", "memory_mib": "work_mib", "functions": "functions"}
    pairs = {
        name: {"predicted": plan[key], "actual": measured[key], "ratio": plan[key] / measured[key]}
        for name, key in names.items() if key in plan
    }  # fmt: skip
    return {**measured, "prediction": pairs}


def measured(leaves: int, repeats: int) -> dict[str, Any]:
    """Prediction, seconds, rates and memory of this process, and what the redundancy rules are worth."""
    algebra = identity_algebra(POLYNOMIAL)
    enumerate_functions(POLYNOMIAL, algebra, 3)  # compiles
    plan = planned("functions", leaves)
    table, memory = memory_of(lambda: enumerate_functions(POLYNOMIAL, algebra, leaves))
    functions, executed, counts = len(table), table.executed, table.counts()
    del table
    timing = timed(lambda: enumerate_functions(POLYNOMIAL, algebra, leaves), repeats)
    without = _without_rules(leaves, repeats, counts)
    return with_prediction(plan, {
        "leaves": leaves, "functions": functions, "candidates": executed, **timing,
        "functions_per_s": rate(functions, timing), "candidates_per_s": rate(executed, timing), **memory,
        "evaluated": _evaluated(leaves), "without_rules": without,
        "without_rules_ratio": without["median_s"] / timing["median_s"],
    })  # fmt: skip


def _evaluated(leaves: int) -> int:
    """Candidates whose fingerprints are computed: all but those that a rule passes over."""
    rules, num, order = redundancy_rules(POLYNOMIAL), 0, None
    for size, table in enumerate(grow(POLYNOMIAL, identity_algebra(POLYNOMIAL), leaves - 1), 2):
        order = np.argsort(table.tokens, kind="stable") if order is None else merged_order(table, order)
        if size == 2:
            num = len(table)
        blocks = operand_blocks(table, operand_order(table, order, size), size, BLOCK, rules)
        num += sum(len(rows) for _, rows, _ in blocks)
    return num


def _without_rules(leaves: int, repeats: int, counts: list[int]) -> dict[str, float]:
    """Seconds with the redundancy rules switched off, which must not change a count."""
    algebra = identity_algebra(POLYNOMIAL)
    kept, enumeration.redundancy_rules = enumeration.redundancy_rules, lambda grammar: None
    try:
        found = enumerate_functions(POLYNOMIAL, algebra, leaves).counts()
        check(found == counts, f"functions without redundancy rules: {found} and {counts}")
        return timed(lambda: enumerate_functions(POLYNOMIAL, algebra, leaves), repeats)
    finally:
        enumeration.redundancy_rules = kept
