"""Timings against plain Python and SymPy in one run; prints a table and saves build/bench.json.

Ratios compare medians of the same run on the same machine; seconds of different machines say little.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import sympy

from synthlab.language.grammar import POLYNOMIAL, Grammar
from synthlab.language.identity import PRIME
from synthlab.language.interpreter import grid_outputs
from synthlab.language.program import Program
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.store import Store
from synthlab.universe.corpus import Corpus, build_corpus, function_counts
from synthlab.universe.counting import program_counts, unrank

ROOT = Path(__file__).resolve().parents[2]
FITS = {"syntactic": fit_syntactic, "semantic": fit_semantic}
MEBIBYTE = 1 << 20


def median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median wall-clock time of a few calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE


# ---------------------------------------------------------------- enumeration


def plain_enumeration(grammar: Grammar, max_leaves: int) -> int:
    """Number of functions by the textbook algorithm: a dictionary from values to the first program found.

    It is the same algorithm as synthlab's, with Python integers: two random points modulo the prime,
    minimal operands only, one order of commutative operands.
    """
    generator = np.random.default_rng(0)
    points = [[int(v) for v in generator.integers(2, PRIME, size=len(grammar.variables))] for _ in range(2)]
    leaves = zip(*([*point, *grammar.constants] for point in points), strict=True)
    by_size = [[], [(values, (token,)) for token, values in enumerate(leaves)]]
    seen = dict(by_size[1])
    for size in range(2, max_leaves + 1):
        by_size.append(_plain_size(grammar, by_size, seen, size))
    return len(seen)


def _plain_size(grammar: Grammar, by_size: list[list], seen: dict, size: int) -> list[tuple]:
    found = []
    for (number, operator), first in itertools.product(enumerate(grammar.operators), range(1, size)):
        if operator.commutative and first > size - first:
            continue
        for (a, left), (b, right) in itertools.product(by_size[first], by_size[size - first]):
            values = operator.meaning(a[0], b[0]) % PRIME, operator.meaning(a[1], b[1]) % PRIME
            if values not in seen:
                seen[values] = (grammar.num_terminals + number, left, right)
                found.append((values, seen[values]))
    return found


def bench_enumeration(repeats: int, max_leaves: int) -> dict[str, Any]:
    """Functions of the polynomial universe: compiled hash table against a dictionary."""
    table = function_counts(POLYNOMIAL, max_leaves)  # compiles
    functions = plain_enumeration(POLYNOMIAL, max_leaves)
    if functions != len(table):
        raise SystemExit(f"the enumerators disagree: {len(table)} and {functions} functions")
    ours = median_seconds(lambda: function_counts(POLYNOMIAL, max_leaves), repeats)
    plain = median_seconds(lambda: plain_enumeration(POLYNOMIAL, max_leaves), repeats)
    size = {"max_leaves": max_leaves, "functions": functions}
    return {**size, "synthlab_s": ours, "plain_python_s": plain, "ratio": plain / ours}


def plain_universe(grammar: Grammar, max_leaves: int) -> tuple[int, int]:
    """Numbers of texts and functions when every text is listed with the number of its function."""
    points = [[int(v) for v in np.random.default_rng(k).integers(2, PRIME, len(grammar.variables))] for k in (0, 1)]
    classes: dict[tuple[int, int], int] = {}
    values = list(zip(*([*point, *grammar.constants] for point in points), strict=True))
    by_size = [[], [(grammar.tokens[k], classes.setdefault(v, k)) for k, v in enumerate(values)]]
    for size in range(2, max_leaves + 1):
        texts = []
        for operator, first in itertools.product(grammar.operators, range(1, size)):
            for (left, one), (right, two) in itertools.product(by_size[first], by_size[size - first]):
                value = tuple(operator.meaning(a, b) % PRIME for a, b in zip(values[one], values[two]))
                number = classes.setdefault(value, len(values))
                if number == len(values):
                    values.append(value)
                texts.append((f"{operator.symbol} {left} {right}", number))
        by_size.append(texts)
    return sum(map(len, by_size)), len(classes)


def bench_universe(repeats: int, max_leaves: int) -> dict[str, Any]:
    """Every text of the universe with its function: the corpus against lists and a dictionary."""
    corpus = build_corpus(POLYNOMIAL, max_leaves)
    if plain_universe(POLYNOMIAL, max_leaves) != (corpus.num_programs, corpus.num_classes):
        raise SystemExit("the enumerators disagree about texts or functions")
    ours = median_seconds(lambda: build_corpus(POLYNOMIAL, max_leaves), repeats)
    plain = median_seconds(lambda: plain_universe(POLYNOMIAL, max_leaves), repeats)
    size = {"max_leaves": max_leaves, "programs": corpus.num_programs}
    return {**size, "synthlab_s": ours, "plain_python_s": plain, "ratio": plain / ours}


# ---------------------------------------------------------------- evaluation


def sympy_outputs(programs: list[Program], points: np.ndarray) -> np.ndarray:
    """Outputs of programs by one `sympy.lambdify` each, (P, G)."""
    grammar = programs[0].grammar
    symbols = sympy.symbols(grammar.variables)
    terminals = [*symbols, *map(sympy.Integer, grammar.constants)]
    rows = []
    for program in programs:
        expression = program.fold(terminals.__getitem__, lambda operator, operands: operator.meaning(*operands))
        values = sympy.lambdify(symbols, expression, "numpy")(*points.T)
        rows.append(np.broadcast_to(values, len(points)))
    return np.array(rows)


def bench_evaluation(repeats: int, max_leaves: int, num_programs: int) -> dict[str, Any]:
    """Outputs of the same random programs on the grid."""
    total = sum(program_counts(POLYNOMIAL, max_leaves))
    ids = np.random.default_rng(0).integers(0, total, size=num_programs)
    prefix = unrank(POLYNOMIAL, ids, max_leaves)
    programs = [Program.from_row(POLYNOMIAL, row) for row in prefix]
    points = np.array(POLYNOMIAL.grid.points, dtype=np.int64)
    if not np.array_equal(grid_outputs(POLYNOMIAL, prefix), sympy_outputs(programs, points)):
        raise SystemExit("the evaluators disagree")
    ours = median_seconds(lambda: grid_outputs(POLYNOMIAL, prefix), repeats)
    theirs = median_seconds(lambda: sympy_outputs(programs, points), repeats)
    size = {"programs": num_programs, "points": len(points)}
    return {**size, "synthlab_s": ours, "lambdify_s": theirs, "ratio": theirs / ours}


# ---------------------------------------------------------------- spaces


def fit_in_this_process(kind: str, repeats: int, root: Path, key: str) -> dict[str, Any]:
    """Fit a space of a stored corpus; the peak of a fresh process is then the peak of the fit."""
    corpus = Corpus.load(Store(root), key)
    loaded = peak_megabytes()
    FITS[kind](build_corpus(POLYNOMIAL, 2))  # compiles
    seconds = median_seconds(lambda: FITS[kind](corpus), repeats)
    return {"programs": corpus.num_programs, "fit_s": seconds, "peak_mib": peak_megabytes(), "loaded_mib": loaded}


def bench_spaces(repeats: int, max_leaves: int) -> dict[str, Any]:
    """Seconds and peak memory of both fits on every program of the universe, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        key = build_corpus(POLYNOMIAL, max_leaves).save(Store(folder))
        results: dict[str, Any] = {}
        for kind in FITS:
            arguments = [__file__, "--repeats", str(repeats), "--fit", kind, folder, key]
            answer = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True)
            results[kind] = json.loads(answer.stdout)
    return results


# ---------------------------------------------------------------- report


def table(results: dict[str, Any]) -> str:
    """The results as text."""
    rows = [
        ("enumerate {functions:,} functions", results["enumeration"], "plain_python_s"),
        ("list and classify {programs:,} texts", results["universe"], "plain_python_s"),
        ("evaluate {programs:,} programs", results["evaluation"], "lambdify_s"),
    ]
    lines = [f"{'':40}{'synthlab':>12}{'reference':>14}{'ratio':>9}"]
    for title, row, reference in rows:
        seconds = f"{row['synthlab_s']:>10.4f} s{row[reference]:>12.3f} s"
        lines.append(f"{title.format(**row):40}{seconds}{row['ratio']:>9.1f}")
    lines += ["", f"{'':40}{'fit':>12}{'peak memory':>14}"]
    for kind in FITS:
        fit = results["spaces"][kind]
        title = f"{kind} space, {fit['programs']:,} programs"
        lines.append(f"{title:40}{fit['fit_s']:>10.2f} s{fit['peak_mib']:>10.0f} MiB")
    return "\n".join([*lines, "", "reference: plain-Python dictionary, sympy.lambdify; medians of one run"])


def main() -> None:
    """Run all benchmarks, or one fit for the parent process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-leaves", type=int, default=5)
    parser.add_argument("--programs", type=int, default=1000, help="programs to evaluate")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json")
    parser.add_argument("--fit", nargs=3, metavar=("KIND", "STORE", "KEY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        kind, folder, key = options.fit
        print(json.dumps(fit_in_this_process(kind, options.repeats, Path(folder), key)))
        return
    results = {
        "enumeration": bench_enumeration(options.repeats, options.max_leaves),
        "universe": bench_universe(options.repeats, options.max_leaves),
        "evaluation": bench_evaluation(options.repeats, options.max_leaves, options.programs),
        "spaces": bench_spaces(options.repeats, options.max_leaves),
        "repeats": options.repeats,
        "versions": {"python": platform.python_version(), **{n: version(n) for n in ("numpy", "numba", "sympy")}},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
