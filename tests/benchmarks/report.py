"""The results as one table of text."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Results = dict[str, Any]

_CLOCKS = ("s", "cpu_s")
_WIDTHS = (50, 12, 17, 16, 16, 12)


def table(results: Results, output: Path = Path("build", "bench.json")) -> str:
    """The sections that were measured, one below the other."""
    lines = [*_machine(results)]
    sections = (
        _functions, _alone, _predictions, _texts, _evaluation, _spaces, _maps, _shift, _mcd, _explorer, _search,
        _learning,
    )  # fmt: skip
    for section in sections:
        part = list(section(results))
        lines += ["", *part] if part else []
    missing = sorted({name for row in results.get("evaluation", ()) for name in row["left_out"]})
    lines += [""]
    lines += [f"Left out, because not installed: {', '.join(missing)}."] if missing else []
    return "\n".join([*lines, f"Medians of {results['repeats']} repeats; {output} also has the minima."])


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
    machine = results["machine"]
    load = results["load"]
    yield f"{machine['cpu']}, {machine['cores']} cores; load {load['start']:.2f} before, {load['end']:.2f} after"
    yield ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    if "memory" not in results:
        return
    memory = results["memory"]
    yield f"memory: copying reads {memory['copy_gb_s']:.1f} GB/s and writes as much"
    yield (
        f"a random 16-byte read in {memory['table_mib']:.0f} MiB: {memory['dependent_read_ns']:.0f} ns alone, "
        f"{memory['overlapping_read_ns']:.1f} ns where reads overlap"
    )


def _functions(results: Results) -> Iterator[str]:
    if "functions" not in results:
        return
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
    if "functions_alone" not in results:
        return
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
    pairs = [(f"functions, {row['leaves']} leaves", row) for row in results.get("functions_alone", ())]
    if "texts" in results:
        pairs.append((f"texts, {results['texts']['leaves']} leaves", results["texts"]["synthlab"]))
    if pairs:
        yield _line("PREDICTIONS", "predicted", "actual", "ratio")
    for title, row in pairs:
        yield from _compared(title, row)


def _compared(title: str, measured: Results) -> Iterator[str]:
    forms = {"seconds": _seconds, "memory_mib": "{:,.0f} MiB".format, "functions": "{:,.0f}".format}
    for name, pair in measured["prediction"].items():
        values = (forms[name](pair[key]) for key in ("predicted", "actual"))
        yield _line(f"  {title}: {name.removesuffix('_mib')}", *values, f"{pair['ratio']:.2f}")


def _texts(results: Results) -> Iterator[str]:
    if results.keys() & {"texts", "streaming", "numbering", "sampling"}:
        yield _line("TEXTS", "time", "programs", "bytes", "ratio")
    if "texts" in results:
        yield from _listed(results["texts"])
    if "streaming" in results:
        stream = results["streaming"]
        title, speed = f"  streamed to disk, {stream['megabytes']:.0f} MB", f"{stream['megabytes_per_s']:.0f} MB/s"
        yield _line(title, _seconds(stream["median_s"]), _rate(stream["texts_per_s"]), speed)
    for r in results.get("numbering", ()):
        title = f"  written from ids, up to {r['leaves']} leaves"
        yield _line(title, _seconds(r["median_s"]), _rate(r["programs_per_s"]))
    if "sampling" in results:
        r = results["sampling"]
        yield _line(f"  drawn uniformly, {r['leaves']} leaves", _seconds(r["median_s"]), _rate(r["programs_per_s"]))


def _listed(row: Results) -> Iterator[str]:
    counts = f"{row['programs']:,} texts, {row['functions']:,} functions"
    yield f"every text of up to {row['leaves']} leaves with its function: {counts}"
    yield _line("  synthlab", _seconds(row["synthlab"]["median_s"]), _rate(row["synthlab"]["texts_per_s"]))
    plain = row["plain"]
    yield _line(
        "  lists and a dictionary", _seconds(plain["median_s"]), _rate(plain["texts_per_s"]), f"{row['ratio']:.1f}"
    )


def _evaluation(results: Results) -> Iterator[str]:
    if not results.get("evaluation"):
        return
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
    if "spaces" not in results:
        return
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
    if "maps" not in results:
        return
    yield _line("MAPS of the syntactic space", "time", "another layout", "peak memory")
    for r in results["maps"]:
        seed = "unseeded" if r["seed"] is None else f"seed {r['seed']}"
        again, peak = _seconds(r["another_layout"]["median_s"]), f"{r['peak_mib']:,.0f} MiB"
        yield _line(f"  {r['points']:,} points, {r['fitted']:,} fitted, {seed}", _seconds(r["median_s"]), again, peak)


def _shift(results: Results) -> Iterator[str]:
    if "shift" not in results:
        return
    row = results["shift"]
    yield _line("SHIFT of one part in two spaces", "time", "share", "peak memory")
    title = f"  {row['num_train']:,} and {row['num_test']:,} items, {row['permutations']} permutations"
    yield _line(title, _seconds(row["median_s"]), "", f"{row['peak_mib']:,.0f} MiB")
    for name, r in row["measures"].items():
        yield _line(f"    {name}", _seconds(r["median_s"]), f"{r['share']:.0%}")
    yield _line("  live reading of all parts", _seconds(row["live"]["median_s"]))


def _mcd(results: Results) -> Iterator[str]:
    if "mcd" not in results:
        return
    yield _line("MAXIMUM COMPOUND DIVERGENCE", "time", "peak memory", "atoms", "compounds")
    for row in results["mcd"].values():
        yield f"{row['programs']:,} programs in {row['classes']:,} classes, {row['compounds']:,} compounds"
        times = {"search": _seconds(row["median_s"]), "greedy": _seconds(row.get("greedy_s", 0.0))}
        for name, found in row["divergence"].items():
            memory = f"{row['peak_mib']:,.0f} MiB" if name == "search" else ""
            yield _line(f"  {name}", times.get(name, ""), memory, f"{found['atom']:.4f}", f"{found['compound']:.3f}")


def _explorer(results: Results) -> Iterator[str]:
    if "explorer" not in results:
        return
    yield _line("EXPLORER, a change in Python", "a rule", "brush: cells", "brush: box", "first brush", "opening")
    for r in results["explorer"]["python"]:
        times = (_seconds(r[name]["median_s"]) for name in ("rule", "cells", "box"))
        once = (_seconds(r[name]) for name in ("first_brush_s", "opened_s"))
        yield _line(f"  {r['programs']:,} programs, {r['drawn']:,} drawn", *times, *once)
    for r in results["explorer"]["page"]:
        choice, brush = (_seconds(r[name]["median_s"]) for name in ("choice", "brush"))
        yield _line(f"  {r['programs']:,} programs, seen in Chromium", choice, brush)
    yield from (f"  not measured, because not found: {name}" for name in results["explorer"]["left_out"])


# ---------------------------------------------------------------- search


def _search(results: Results) -> Iterator[str]:
    if "search" not in results:
        return
    row = results["search"]
    for part in (_libraries, _one_level, _two_levels, _dictionaries, _growth, _search_targets):
        yield from part(row)


def _libraries(row: Results) -> Iterator[str]:
    yield _line("LIBRARIES for search, one thread", "time", "CPU time", "functions", "candidates", "peak memory")
    for r in row["libraries"]:
        times, peak = (_seconds(r["median_s"]), _seconds(r["cpu_s"])), f"{r['peak_mib']:,.0f} MiB"
        sizes = f"{r['functions']:,}", f"{r['candidates']:,}"
        yield _line(f"  {r['grammar']}, {r['leaves']} leaves", *times, *sizes, peak)


def _one_level(row: Results) -> Iterator[str]:
    yield _line("MEET IN THE MIDDLE, one level", "targets", "a CPU second", "look-ups", "a CPU second", "answered")
    for library in row["libraries"]:
        if library["asked"]:
            yield f"polynomial functions of {library['leaves']} leaves; targets of random programs, not among them"
        for r in library["asked"]:
            title = f"  {r['targets']} of {r['leaves']} leaves{', all without an answer' * r['hardest']}"
            per_second = (_rate(r[f"{what}_per_{clock}"]) for what in ("targets", "lookups") for clock in _CLOCKS)
            yield _line(title, *per_second, f"{r['answered'] / r['targets']:.0%}")
            if not r["hardest"]:
                first = (_rate(r["targets"] / r[f"first_{clock}"]) for clock in _CLOCKS)
                yield _line("    first pass, which makes indexes", *first)
                yield from _grid_only(r)


def _grid_only(row: Results) -> Iterator[str]:
    wrong = row["answered"] - row["solved"]
    if wrong:
        yield f"    {wrong} of {row['answered']} answers are right on the grid and another function"


def _two_levels(row: Results) -> Iterator[str]:
    r = row["two_levels"]
    yield _line("MEET IN THE MIDDLE, two levels", "median", "CPU time", "slowest", "CPU time", "answered")
    yield (
        f"polynomial functions of {r['library_leaves']} leaves; {r['targets']} targets of {r['leaves']} leaves, of "
        f"{r['far']} among {r['drawn']} drawn that are not one level away"
    )
    for title, name in (("  a target", ""), ("  first pass, which makes indexes", "first_")):
        times = (_seconds(r[f"{name}{which}_{clock}"]) for which in ("median", "slowest") for clock in _CLOCKS)
        yield _line(title, *times, f"{r['answered'] / r['targets']:.0%}")
    most = f"{max(r['lookups']):,}"
    yield f"    {statistics.median(r['lookups']):,.0f} look-ups for the median target, at most {most}"
    yield from _grid_only(r)


def _dictionaries(row: Results) -> Iterator[str]:
    r = row["dictionaries"]
    yield _line("ONE LEVEL against plain Python, one thread", "time", "CPU time", "targets", "ratio", "by CPU time")
    yield (
        f"{r['functions']:,} polynomial functions of {r['leaves']} leaves; {r['targets']} targets, "
        f"{r['answered']} answered, with halves of equal size"
    )
    for name, p in r["by"].items():
        ratios = (f"{p['ratio']:.1f}", f"{p['cpu_ratio']:.1f}") if "ratio" in p else ()
        yield _line(f"  {name}", _seconds(p["median_s"]), _seconds(p["cpu_s"]), _rate(p["targets_per_s"]), *ratios)


def _growth(row: Results) -> Iterator[str]:
    r = row["growth"]
    yield _line("GROWTH without a library, one thread", "time", "CPU time", "candidates", "a CPU second", "number")
    yield f"all polynomial programs of up to {r['leaves']} leaves, {r['functions']:,} functions"
    for name, p in r["by"].items():
        times, number = (_seconds(p["median_s"]), _seconds(p["cpu_s"])), f"{p['candidates']:,}"
        yield _line(f"  {name}", *times, _rate(p["candidates_per_s"]), _rate(p["candidates_per_cpu_s"]), number)


def _search_targets(row: Results) -> Iterator[str]:
    yield _line("TARGETS of search", "target", "measured", "", "by CPU time")
    verdict = {True: "met", False: "not met"}
    for t in row["targets"]:
        if t["met"] is None:
            yield f"{_line('  ' + t['name'], _bound(t))}   not measured (other sizes)"
            continue
        clock, cpu = (f"{t[key]:,.3g}" for key in ("measured", "cpu"))
        yield _line(f"  {t['name']}", _bound(t), clock, verdict[t["met"]], cpu, verdict[t["met_by_cpu"]])


def _bound(target: Results) -> str:
    return f">= {target['at_least']:,.3g}" if "at_least" in target else f"<= {target['at_most']:,.3g}"


# ---------------------------------------------------------------- learning


def _learning(results: Results) -> Iterator[str]:
    if "learning" not in results:
        return
    row = results["learning"]
    load = row["load"]
    yield f"LEARNING on {row['device']}, PyTorch {row['torch']}, {row['threads']} threads on the host"
    yield f"load {load['before']:.2f} before, {load['after']:.2f} after"
    if row["left_out"]:
        yield f"left out, because PyTorch finds no compiler: {', '.join(row['left_out'])}"
    for part in (_training, _decoding, _data, _targets):
        yield from part(row)


def _training(row: Results) -> Iterator[str]:
    yield _line("TRAINING, steps of Lightning and of a bare loop", "a step", "samples", "tokens", "TFLOP/s", "ratio")
    for r in row["training"]:
        share, top = r["share"], r["ceiling"]
        yield (
            f"{r['model']}, {r['parameters']:,} weights, batch {r['batch']:,}, {r['precision']}"
            f"{', compiled' * r['compiled']}; load {r['load']['before']:.2f} to {r['load']['after']:.2f}"
        )
        for name, ratio in (("synthlab", f"{r['ratio']:.3f}"), ("bare", "")):
            p = r[name]
            rates = _rate(p["samples_per_s"]), _rate(p["tokens_per_s"]), f"{p['tflops']:.3g}"
            yield _line(f"  {name}, {share[name]:.0%} of the ceiling", _seconds(p["median_s"]), *rates, ratio)
        lost = r["synthlab"]["median_s"] - r["bare"]["median_s"]
        yield (
            f"  {r['blocks']} turns, ratios {r['least']:.3f} to {r['most']:.3f}; {1e3 * lost:.2f} ms a step more; "
            f"a checkpoint in {_seconds(r['checkpoint_s'])}, with one a minute {r['with_checkpoints']:.3f}"
        )
        title = f"  ceiling: product of {top['side']:,} x {top['side']:,}, {top['dtype']}"
        yield _line(title, "", "", "", f"{top['tflops']:.3g}")


def _decoding(row: Results) -> Iterator[str]:
    r = row["decoding"]
    yield _line(f"DECODING, {r['model']} after {r['steps']} steps", "time", "tasks", "candidates", "ratio")
    yield f"{r['tasks']:,} tasks, {r['distinct']:,} of them distinct; {r['rows_that_differ']:,} differ by rounding"
    yield _line("  greedy", _seconds(r["median_s"]), _rate(r["tasks_per_s"]), "", f"{r['ratio']:.2f}")
    yield _line("  greedy without a cache", _seconds(r["plain"]["median_s"]), _rate(r["plain"]["tasks_per_s"]))
    for name, what in (("sampled", "samples at temperature 1"), ("beam", "best of a beam")):
        p = r[name]
        rates = _rate(p["tasks_per_s"]), _rate(p["samples_per_s"])
        yield _line(f"  {p['samples']} {what}, {p['tasks']:,} tasks", _seconds(p["median_s"]), *rates)


def _data(row: Results) -> Iterator[str]:
    r = row["memory"]
    yield _line("DATA on the device", "time", "bytes", "a function")
    held, made = f"{r['bytes'] / 1e6:,.0f} MB", sum(r["seconds"].values())
    title = f"  {r['functions']:,} functions of {r['leaves']} leaves, {r['outputs']}"
    yield _line(title, _seconds(made), held, f"{r['bytes_a_function']:.0f}")
    for name, seconds in r["seconds"].items():
        yield _line(f"    {name}", _seconds(seconds))
    r = row["streaming"]
    yield _line(f"BATCHES of {r['batch']:,} of {r['items']:,} items", "a batch", "batches", "held", "ratio")
    for name, title in (("resident", "on the device"), ("streamed", "streamed"), ("fetched", "  of that on the host")):
        taken, held = _seconds(r[name]["median_s"] / r["batches"]), r["megabytes"].get(name)
        megabytes = "" if held is None else f"{held:,.2f} MB"
        ratio = f"{r['ratio']:.3f}" if name == "streamed" else ""
        yield _line(f"  {title}", taken, _rate(r[name]["batches_per_s"]), megabytes, ratio)


def _targets(row: Results) -> Iterator[str]:
    yield _line("TARGETS", "target", "measured")
    missing = "no GPU" if row["kind"] == "cpu" else "other sizes"
    for t in row["targets"]:
        bound, name = _bound(t), t["name"]
        if t["met"] is None:
            why = missing if t["needs_gpu"] else "other sizes"
            yield f"{_line(f'  {name}', bound)}   not measured ({why})"
            continue
        yield _line(f"  {name}", bound, f"{t['measured']:,.3g}", "met" if t["met"] else "not met")
