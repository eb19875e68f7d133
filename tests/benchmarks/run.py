"""Speed of synthlab against plain Python, SymPy, numexpr, Operon and bare PyTorch; prints a table and saves JSON.

Ratios compare medians of one run on one machine; seconds of different machines say little. No speed makes
it fail, only results that disagree.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).resolve().parents[k]) for k in (1, 2)]  # `benchmarks`, and synthlab uninstalled

from benchmarks import enumeration, evaluation, explorer, maps, mcd, measure, report, search, shift, spaces, texts

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Learning:
    """How large the measurements of learning are on one kind of device."""

    leaves: int
    programs: int
    """Of the universe, and learned of it."""
    cases: tuple[tuple[str, int, int, bool], ...]
    """Model, batch, steps a block, and whether it is compiled; the first model also decodes."""
    blocks: int
    """Turns that synthlab's training and the bare loop take."""
    product: int
    """Side of the matrices whose product is the ceiling."""
    tasks: int
    samples: int
    """Decoded tasks, and candidates of each where there are several."""
    function_leaves: int
    streamed_batch: int
    streamed_batches: int


@dataclass(frozen=True)
class Search:
    """How large the measurements of search are."""

    libraries: tuple[tuple[str, int, int], ...] = (
        ("polynomial", 6, 50), ("polynomial", 7, 20), ("rational", 5, 0), ("rational", 6, 0),
    )  # fmt: skip
    """Grammar, leaves, and how many targets of each size are asked for; 0: only built."""
    target_leaves: tuple[int, ...] = (9, 12, 16)
    two_levels: tuple[int, int, int] = (6, 11, 10)
    """Leaves of the library and of the targets, and their number."""
    beside: tuple[int, int] = (6, 6)
    """Leaves of the library that dictionaries are compared with, and targets of each size."""
    grown: tuple[int, int] = (7, 20)
    """Bound of the growth without a library, and functions that are looked for."""


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
    explorer: tuple[int, tuple[int, ...], tuple[int, ...]] = (
        5, (20_000, 100_000, 1_000_000, 4_000_000), (20_000, 100_000, 1_000_000),
    )  # fmt: skip
    """Leaves of the universe, and how many of its programs are shown without a browser and in one."""
    search: Search = Search()
    learning_cpu: Learning = Learning(
        leaves=4, programs=20_000, cases=(("64x2", 128, 50, False), ("64x2", 128, 50, True), ("256x6", 128, 3, False)),
        blocks=10, product=2048, tasks=4_000, samples=8, function_leaves=7, streamed_batch=2048, streamed_batches=10,
    )  # fmt: skip
    learning_cuda: Learning = Learning(
        leaves=5, programs=200_000,
        cases=(("256x6", 8192, 30, True), ("512x8", 16_384, 10, True), ("768x12", 8192, 10, True)),
        blocks=8, product=8192, tasks=100_000, samples=8, function_leaves=7, streamed_batch=2048, streamed_batches=50,
    )  # fmt: skip
    table_bytes: int = 1 << 29
    copied_bytes: int = 1 << 28


_TINY = Learning(
    leaves=3, programs=200, cases=(("8x1", 32, 10, False),), blocks=2, product=64, tasks=300,
    samples=4, function_leaves=4, streamed_batch=64, streamed_batches=3,
)  # fmt: skip
QUICK = Sizes(
    plain_leaves=4, alone_leaves=(5,), text_leaves=3, numbering_leaves=(5,), numbered=1_000, sampled_leaves=40,
    sampled=100, evaluations=((5, 500, 64), (7, 20, 256)), subset=20, table_bytes=1 << 22, copied_bytes=1 << 20,
    maps=((300, 100, 0),), shift=(3, 20, 9), mcd=(4, 2_000, 3, 1_500),
    explorer=(3, (1_000,), ()),
    search=Search((("polynomial", 4, 8), ("rational", 3, 0)), (6, 10), (4, 9, 2), (4, 8), (4, 5)),
    learning_cpu=_TINY, learning_cuda=replace(_TINY, cases=(("8x1", 32, 10, True),)),
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
        "explorer": lambda: explorer.bench_explorer(repeats, *sizes.explorer),
        "search": lambda: search.bench_search(repeats, **asdict(sizes.search)),
        "learning": lambda: measure.in_process(
            "learning.measured", repeats=repeats, cpu=asdict(sizes.learning_cpu), cuda=asdict(sizes.learning_cuda)
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all benchmarks, or some."""
    known = list(steps(QUICK, 1))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--only", nargs="+", choices=known, metavar="NAME", help=f"some of {', '.join(known)}")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {"machine": measure.machine(), "repeats": options.repeats}
    results["load"] = {"start": measure.load()}
    for name, work in steps(QUICK if options.quick else Sizes(), options.repeats).items():
        if name not in (options.only or known):
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        results[name] = work()
    results["load"]["end"] = measure.load()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(report.table(results, options.output))


if __name__ == "__main__":
    main()
