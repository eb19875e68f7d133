"""Speed of synthlab against plain Python, SymPy, numexpr and Operon; prints a table and saves build/bench.json.

Ratios compare medians of one run on one machine; seconds of different machines say little. No speed makes
it fail, only results that disagree.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for `benchmarks`

from benchmarks import enumeration, evaluation, maps, mcd, measure, report, shift, spaces, texts

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Sizes:
    """How large every measurement is."""

    plain_leaves: int = 6
    alone_leaves: tuple[int, ...] = (7, 8)
    text_leaves: int = 5
    numbering_leaves: tuple[int, ...] = (5, 9, 11)
    numbered: int = 500_000
    sampled_leaves: int = 40
    sampled: int = 100_000
    evaluations: tuple[tuple[int, int, int], ...] = ((5, 200_000, 64), (7, 200_000, 64), (7, 3_000, 4_096))
    """Leaves, programs and points."""
    subset: int = 300
    maps: tuple[tuple[int | None, int, int | None], ...] = (
        (3_000, 20_000, 0), (100_000, 100_000, 0), (None, 20_000, 0), (None, 20_000, None),
    )  # fmt: skip
    """Points shown (None: all), points fitted, and seed."""
    shift: tuple[int, int, int] = (5, 10_000, 200)
    """Leaves, items on either side, and permutations."""
    mcd: tuple[int, int, int, int] = (5, 100_000, 4, 20_000)
    """Leaves and programs of the search, and of its comparison with the published greedy algorithm."""
    table_bytes: int = 1 << 29
    copied_bytes: int = 1 << 28


QUICK = Sizes(
    plain_leaves=4, alone_leaves=(5,), text_leaves=3, numbering_leaves=(5,), numbered=1_000, sampled_leaves=40,
    sampled=100, evaluations=((5, 500, 64), (7, 20, 256)), subset=20, table_bytes=1 << 22, copied_bytes=1 << 20,
    maps=((300, 100, 0),), shift=(3, 20, 9), mcd=(4, 2_000, 3, 1_500),
)  # fmt: skip


def steps(sizes: Sizes, repeats: int) -> dict[str, Callable[[], Any]]:
    """Every measurement, by its name in the results."""
    return {
        "memory": lambda: measure.bench_memory(repeats, sizes.table_bytes, sizes.copied_bytes),
        "functions": lambda: enumeration.bench_against_plain(repeats, sizes.plain_leaves),
        "functions_alone": lambda: enumeration.bench_alone(repeats, list(sizes.alone_leaves)),
        "texts": lambda: texts.bench_listing(repeats, sizes.text_leaves),
        "streaming": lambda: texts.bench_streaming(repeats, sizes.text_leaves),
        "numbering": lambda: texts.bench_numbering(repeats, list(sizes.numbering_leaves), sizes.numbered),
        "sampling": lambda: texts.bench_sampling(repeats, sizes.sampled_leaves, sizes.sampled),
        "evaluation": lambda: [
            evaluation.bench_evaluation(repeats, *chosen, sizes.subset) for chosen in sizes.evaluations
        ],
        "spaces": lambda: spaces.bench_spaces(repeats, sizes.text_leaves),
        "maps": lambda: maps.bench_maps(sizes.text_leaves, sizes.maps),
        "shift": lambda: shift.bench_shift(repeats, *sizes.shift),
        "mcd": lambda: mcd.bench_mcd(repeats, *sizes.mcd),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {"machine": measure.machine(), "repeats": options.repeats}
    results["load"] = {"start": measure.load()}
    for name, work in steps(QUICK if options.quick else Sizes(), options.repeats).items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        results[name] = work()
    results["load"]["end"] = measure.load()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(report.table(results))


if __name__ == "__main__":
    main()
