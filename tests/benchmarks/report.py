"""The results as one table of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Results = dict[str, Any]

_WIDTHS = (50, 12, 17, 16, 16, 12)


def table(results: Results) -> str:
    """All sections, one below the other."""
    lines = [*_machine(results)]
    evaluation = [_evaluation] * bool(results["evaluation"])
    for section in (_functions, _alone, _predictions, _texts, *evaluation, _spaces, _maps, _shift, _mcd):
        lines += ["", *section(results)]
    missing = sorted({name for row in results["evaluation"] for name in row["left_out"]})
    lines += [""]
    lines += [f"Left out, because not installed: {', '.join(missing)}."] if missing else []
    return "\n".join([*lines, f"Medians of {results['repeats']} repeats; build/bench.json also has the minima."])


def _line(*cells: str) -> str:
    cells = (*cells, *[""] * (len(_WIDTHS) - len(cells)))
    return "".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(cells, _WIDTHS))).rstrip()


def _rate(value: float) -> str:
    for scale, unit in ((1e9, "G/s"), (1e6, "M/s"), (1e3, "k/s")):
        if value >= scale:
            return f"{value / scale:,.2f} {unit}"
    return f"{value:.1f} /s"


def _seconds(value: float) -> str:
    scale, unit = next(((s, u) for s, u in ((1.0, "s"), (1e-3, "ms")) if value >= s), (1e-6, "us"))
    return f"{value / scale:.3g} {unit}" if value < 1000 else f"{value:,.0f} s"


def _machine(results: Results) -> Iterator[str]:
    machine, memory = results["machine"], results["memory"]
    load = results["load"]
    yield f"{machine['cpu']}, {machine['cores']} cores; load {load['start']:.2f} before, {load['end']:.2f} after"
    yield ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    yield f"memory: copying reads {memory['copy_gb_s']:.1f} GB/s and writes as much"
    yield (
        f"a random 16-byte read in {memory['table_mib']:.0f} MiB: {memory['dependent_read_ns']:.0f} ns alone, "
        f"{memory['overlapping_read_ns']:.1f} ns where reads overlap"
    )


def _functions(results: Results) -> Iterator[str]:
    row = results["functions"]
    yield _line("FUNCTIONS against plain Python, one thread", "time", "functions", "candidates", "ratio")
    yield f"polynomial, {row['leaves']} leaves: {row['functions']:,} functions, {row['candidates']:,} candidates"
    for name, title in (("synthlab", "synthlab"), ("grid outputs", "dictionary of tuples of 36 outputs"),
                        ("two residues", "dictionary of two residues")):  # fmt: skip
        r = row[name]
        ratio = f"{r['ratio']:.1f}" if "ratio" in r else ""
        rates = _rate(r["functions_per_s"]), _rate(r["candidates_per_s"])
        yield _line(f"  {title}", _seconds(r["median_s"]), *rates, ratio)


def _alone(results: Results) -> Iterator[str]:
    yield _line("FUNCTIONS, synthlab alone, one thread", "time", "functions", "candidates", "peak memory", "ratio")
    for row in results["functions_alone"]:
        part = row["evaluated"] / row["candidates"]
        yield (
            f"{row['leaves']} leaves: {row['functions']:,} functions, {row['candidates']:,} candidates, "
            f"{row['evaluated']:,} evaluated ({part:.0%})"
        )
        rates = _rate(row["functions_per_s"]), _rate(row["candidates_per_s"])
        yield _line("  synthlab", _seconds(row["median_s"]), *rates, f"{row['peak_mib']:,.0f} MiB")
        ratio = f"{row['without_rules_ratio']:.2f}"
        yield _line("  without redundancy rules", _seconds(row["without_rules"]["median_s"]), "", "", "", ratio)


def _predictions(results: Results) -> Iterator[str]:
    yield _line("PREDICTIONS", "predicted", "actual", "ratio")
    for row in results["functions_alone"]:
        yield from _compared(f"functions, {row['leaves']} leaves", row)
    yield from _compared(f"texts, {results['texts']['leaves']} leaves", results["texts"]["synthlab"])


def _compared(title: str, measured: Results) -> Iterator[str]:
    forms = {"seconds": _seconds, "memory_mib": "{:,.0f} MiB".format, "functions": "{:,.0f}".format}
    for name, pair in measured["prediction"].items():
        values = (forms[name](pair[key]) for key in ("predicted", "actual"))
        yield _line(f"  {title}: {name.removesuffix('_mib')}", *values, f"{pair['ratio']:.2f}")


def _texts(results: Results) -> Iterator[str]:
    row = results["texts"]
    yield _line("TEXTS", "time", "programs", "bytes", "ratio")
    counts = f"{row['programs']:,} texts, {row['functions']:,} functions"
    yield f"every text of up to {row['leaves']} leaves with its function: {counts}"
    yield _line("  synthlab", _seconds(row["synthlab"]["median_s"]), _rate(row["synthlab"]["texts_per_s"]))
    plain = row["plain"]
    yield _line(
        "  lists and a dictionary", _seconds(plain["median_s"]), _rate(plain["texts_per_s"]), f"{row['ratio']:.1f}"
    )
    stream = results["streaming"]
    title, speed = f"  streamed to disk, {stream['megabytes']:.0f} MB", f"{stream['megabytes_per_s']:.0f} MB/s"
    yield _line(title, _seconds(stream["median_s"]), _rate(stream["texts_per_s"]), speed)
    for r in results["numbering"]:
        title = f"  written from ids, up to {r['leaves']} leaves"
        yield _line(title, _seconds(r["median_s"]), _rate(r["programs_per_s"]))
    r = results["sampling"]
    yield _line(f"  drawn uniformly, {r['leaves']} leaves", _seconds(r["median_s"]), _rate(r["programs_per_s"]))


def _evaluation(results: Results) -> Iterator[str]:
    yield _line("EVALUATION, one thread", "time", "nodes x points", "ratio", "with compiling")
    for row in results["evaluation"]:
        yield f"{row['programs']:,} programs of {row['leaves']} leaves at {row['points']:,} points"
        for name, r in row["arithmetics"].items():
            yield _line(f"  synthlab, {name}", _seconds(r["median_s"]), _rate(r["node_evaluations_per_s"]))
        shared = row["shared"]
        for name in ("float32", "float64"):
            r = shared[name]
            yield _line(f"  synthlab, {name}, shared", _seconds(r["median_s"]), _rate(r["node_evaluations_per_s"]))
        part = f"  building its graph, {shared['nodes'] / shared['tokens']:.0%} of the tokens"
        yield _line(part, _seconds(shared["build"]["median_s"]))
        r = row["fingerprints"]
        yield _line("  synthlab, fingerprints (programs)", _seconds(r["median_s"]), _rate(r["programs_per_s"]))
        for name, r in row["peers"].items():
            ratios = f"{r['ratio']:.1f}", f"{r['ratio_with_preparation']:.1f}"
            title = f"  {name}, {r['dtype']}, {r['programs']:,} programs"
            yield _line(title, _seconds(r["median_s"]), _rate(r["node_evaluations_per_s"]), *ratios)


def _spaces(results: Results) -> Iterator[str]:
    yield _line("SPACES", "fit", "peak memory")
    for kind, r in results["spaces"].items():
        yield _line(f"  {kind}, {r['programs']:,} programs", _seconds(r["median_s"]), f"{r['peak_mib']:,.0f} MiB")
    steps = results["spaces"]["syntactic"]
    yield _line("PQ-GRAMS, one thread", "time", "ours", "plain Python", "ratio")
    for name, title in (("profiles", "profiles"), ("distances", "pair distances")):
        r = steps[name]
        rates = _rate(r["per_s"]), _rate(r["plain"]["per_s"])
        yield _line(f"  {r['number']:,} {title}", _seconds(r["median_s"]), *rates, f"{r['ratio']:.1f}")
    r = steps["svd"]
    yield _line("SINGULAR VECTORS", "time", "ARPACK", "ratio")
    title = f"  {r['rows']:,} x {r['features']:,}, {r['axes']} axes"
    yield _line(title, _seconds(r["median_s"]), _seconds(r["arpack"]["median_s"]), f"{r['ratio']:.1f}")


def _maps(results: Results) -> Iterator[str]:
    yield _line("MAPS of the syntactic space", "time", "another layout", "peak memory")
    for r in results["maps"]:
        seed = "unseeded" if r["seed"] is None else f"seed {r['seed']}"
        again, peak = _seconds(r["another_layout"]["median_s"]), f"{r['peak_mib']:,.0f} MiB"
        yield _line(f"  {r['points']:,} points, {r['fitted']:,} fitted, {seed}", _seconds(r["median_s"]), again, peak)


def _shift(results: Results) -> Iterator[str]:
    row = results["shift"]
    yield _line("SHIFT of one part in two spaces", "time", "share", "peak memory")
    title = f"  {row['num_train']:,} and {row['num_test']:,} items, {row['permutations']} permutations"
    yield _line(title, _seconds(row["median_s"]), "", f"{row['peak_mib']:,.0f} MiB")
    for name, r in row["measures"].items():
        yield _line(f"    {name}", _seconds(r["median_s"]), f"{r['share']:.0%}")
    yield _line("  live reading of all parts", _seconds(row["live"]["median_s"]))


def _mcd(results: Results) -> Iterator[str]:
    yield _line("MAXIMUM COMPOUND DIVERGENCE", "time", "peak memory", "atoms", "compounds")
    for row in results["mcd"].values():
        yield f"{row['programs']:,} programs in {row['classes']:,} classes, {row['compounds']:,} compounds"
        times = {"search": _seconds(row["median_s"]), "greedy": _seconds(row.get("greedy_s", 0.0))}
        for name, found in row["divergence"].items():
            memory = f"{row['peak_mib']:,.0f} MiB" if name == "search" else ""
            yield _line(f"  {name}", times.get(name, ""), memory, f"{found['atom']:.4f}", f"{found['compound']:.3f}")
