"""Command line: one subcommand per stage of the data path, for batch work; results also as JSON."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthlab import study_commands
from synthlab.errors import ConfigurationError, SynthlabError
from synthlab.options import bound_of, build_parser
from synthlab.study_commands import lab_of

if TYPE_CHECKING:
    from synthlab.lab import Lab


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns 0, or 2 after a one-line error for bad input."""
    options = build_parser().parse_args(arguments)
    try:
        result = _HANDLERS[options.command](options)
    except SynthlabError as error:
        print(f"synthlab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("synthlab: interrupted; what was finished is kept, run again to go on", file=sys.stderr)
        return 130
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return 0  # a helper process of a training on several devices: the first one reports
    if options.json:
        print(json.dumps(result))
    else:
        _print_plain(result)
    return 1 if result.get("passed") is False else 0


def _print_plain(result: dict[str, Any]) -> None:
    for name, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            import pandas as pd

            print(f"{name}:\n{pd.DataFrame(value).to_string(index=False)}")
        else:
            print(f"{name}: {'undefined' if value is None else value}")


def _one_program(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab import one_program

    return one_program.HANDLERS[options.command](options)


# ---------------------------------------------------------------- stages


def _grammar(options: argparse.Namespace) -> Any:
    from synthlab.language.grammar import get_grammar

    return get_grammar(options.grammar)


def _enumerate(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.universe.planning import Limits, plan_functions, plan_texts

    (size, measure), grammar, start = _required_bound(options), _grammar(options), time.perf_counter()
    if options.plan:
        plan = plan_functions if options.functions_only else plan_texts
        return plan(grammar, size, measure).row()
    limits = Limits() if options.memory_gb is None else Limits(memory_bytes=options.memory_gb * 1e9)
    result = (_enumerate_on_disk if options.on_disk else _enumerate_in_memory)(options, grammar, size, measure, limits)
    return {**result, "seconds": round(time.perf_counter() - start, 3), "peak_mb": _peak_megabytes()}


def _peak_megabytes() -> float | None:
    """Largest memory of this process so far; None where the system does not tell (Windows)."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` also counts the memory of whoever started this process
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        return round(int(found[1]) * 1.024e-3, 1) if found else None
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def _required_bound(options: argparse.Namespace) -> tuple[int, str]:
    bound = bound_of(options)
    assert bound is not None  # the parser requires it
    return bound


def _enumerate_in_memory(
    options: argparse.Namespace, grammar: Any, size: int, measure: str, limits: Any
) -> dict[str, Any]:
    from synthlab.language.identity import identity_method
    from synthlab.store import Store
    from synthlab.universe.corpus import build_corpus, function_table
    from synthlab.universe.counting import program_counts

    programs = list(program_counts(grammar, size, measure))
    if options.functions_only:
        table = function_table(grammar, size, measure=measure, limits=limits)
        functions = table.counts()
    else:
        corpus = build_corpus(grammar, size, measure=measure, limits=limits)
        functions = corpus.counts()["functions"].tolist()
        corpus.save(Store())
    return {"programs": programs, "functions": functions, "identity": identity_method(grammar)}


def _enumerate_on_disk(
    options: argparse.Namespace, grammar: Any, size: int, measure: str, limits: Any
) -> dict[str, Any]:
    from synthlab.universe.shards import enumerate_functions_on_disk, enumerate_texts

    make = enumerate_functions_on_disk if options.functions_only else enumerate_texts
    universe = make(
        grammar, size, measure=measure, limits=limits, num_workers=options.workers, progress=not options.json
    )
    return {universe.what: len(universe), "shards": len(universe.manifest["shards"]), "folder": str(universe.folder)}


def _sample(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.language.program import infix_texts
    from synthlab.universe.counting import program_counts
    from synthlab.universe.sampling import sample_programs

    (size, measure), grammar = _required_bound(options), _grammar(options)
    prefix = sample_programs(grammar, size, options.num, measure=measure, seed=options.seed)
    return {"of": program_counts(grammar, size, measure)[-1], "programs": infix_texts(grammar, prefix)}


def _embed(options: argparse.Namespace) -> dict[str, Any]:
    lab = lab_of(options)
    return {
        kind: {"key": s.key, "rows": len(s.coordinates), "axes": s.num_axes,
               "explained": round(float(s.explained.sum()), 4)}
        for kind, s in lab.spaces.items()
    }  # fmt: skip


def _split(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.splits.audit import audit_corpus

    lab = lab_of(options)
    split = lab.split(*_split_settings(options, lab))
    audit_corpus(split, lab.corpus).require()
    name = options.name or f"{split.kind}-{split.key}"
    replaced = lab.store.name(split, name)
    table = split.frame()
    parts = dict(zip(table["part"].astype(str), table["items"].tolist(), strict=True))
    return {"split": name, "key": split.key, "joint_shift": split.joint_shift, **parts, **_renamed(replaced)}


def _renamed(key: str | None) -> dict[str, str]:
    """What to say of the artifact that a name meant before, if any."""
    return {} if key is None else {"name_meant_before": key}


def _split_settings(options: argparse.Namespace, lab: Lab) -> tuple[str, dict[str, Any]]:
    """Kind and settings of the split that the options describe."""
    from synthlab.splits import compositional, density, mcd, regions, support

    preset, universe = lab.preset, (lab.corpus.grammar, lab.corpus.max_size, lab.corpus.measure)
    given: dict[str, Any] = {
        "policy": options.policy, "seed": options.seed, "num_test": preset.num_test, "num_train": options.num_train
    }  # fmt: skip
    if options.kind == "mcd":
        fewer = {"num_programs": None} if lab.corpus.num_programs < mcd.NUM_PROGRAMS else {}
        return "mcd", mcd.mcd_settings(**(given | fewer))
    given |= {
        "regime": options.regime, "num_cells": preset.num_cells, "cells": options.cells,
        "concentration": options.concentration, "match_size": options.match_size,
    }  # fmt: skip
    if options.kind == "density":
        num_train = preset.density_train if options.num_train is None else options.num_train
        return "density", density.density_settings(**(given | {"num_train": num_train}))
    given |= {"reserved": preset.reserved, "isolated": options.isolated}
    given |= {name: value for name in ("reserved", "match") if (value := getattr(options, name)) is not None}
    if options.kind == "compositional":
        return "support", compositional.compositional_settings(options.category, *universe, **given)
    region = regions.read_region(
        options.region, space=options.space, rule=options.rule, axis=options.axis, quantile=options.quantile,
        above=not options.below, num_clusters=options.clusters, num_held=options.held, root=options.root,
        seed=options.seed,
    )  # fmt: skip
    return "support", support.support_settings(region, **given)


def _load_split(options: argparse.Namespace, name: str) -> tuple[Any, Any]:
    """A saved split and the lab of the universe it was drawn from."""
    from synthlab.splits.split import Split
    from synthlab.store import Store

    split = Split.load(Store(), name)
    options.grammar = split.corpus["grammar"]
    setattr(options, split.corpus["measure"], split.corpus["max_size"])
    return split, lab_of(options)


def _audit(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.splits.audit import audit
    from synthlab.splits.split import Split
    from synthlab.store import Store

    split, spaces = Split.load(Store(), options.split), None
    if options.spaces:
        options.preset = "quick"
        split, lab = _load_split(options, options.split)
        spaces = lab.spaces_of(split.settings.get("spaces", ()))
    report = audit(split, spaces=spaces)
    return {"passed": report.passed, "checks": report.frame().to_dict("records")}


def _shift(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.splits.shift import shift_report

    split, lab = _load_split(options, options.split)
    table = shift_report(split, lab.corpus, lab.spaces, sample=options.sample, progress=not options.json)
    table = table.astype(object).where(table.notna(), None)  # JSON has no NaN
    return {"split": split.key, "measures": table.to_dict("records")}


def _train(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.learning.evaluation import train_cached
    from synthlab.presets import ModelConfig, TrainingConfig, changed, tuned_learning_rate

    split, lab = _load_split(options, options.split)
    model, training = ModelConfig.parse(options.model), TrainingConfig(
        num_steps=options.steps, batch_size=options.batch_size, seed=options.seed,
    )  # fmt: skip
    rate = tuned_learning_rate(model.width) if options.learning_rate is None else options.learning_rate
    of_model, of_training = _divided(options.set, model)
    model = changed(model, of_model)
    training = changed(replace(training, learning_rate=rate), of_training)
    run = train_cached(
        lab.corpus, split, model, training, store=lab.store, progress=not options.json, devices=options.devices
    )
    if not run.finished:
        raise KeyboardInterrupt
    name = options.name or f"run-{run.key}"
    replaced = lab.store.name(run, name)
    return {"run": name, "key": run.key, "steps": run.steps_done, **run.cost, **_renamed(replaced)}


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """Settings given as NAME=VALUE."""
    wrong = next((text for text in texts if "=" not in text), None)
    if wrong is not None:
        raise ConfigurationError(f"--set {wrong!r}: write NAME=VALUE")
    return {text.partition("=")[0]: text.partition("=")[2] for text in texts}


def _divided(texts: Sequence[str], model: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Settings of the model, and those of its training."""
    given = _pairs(texts)
    of_model = {name: value for name, value in given.items() if hasattr(model, name)}
    return of_model, {name: value for name, value in given.items() if name not in of_model}


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.assessment.metrics import estimate, pass_at_k, weighted_mean
    from synthlab.learning.evaluation import evaluate_run
    from synthlab.learning.run import Run
    from synthlab.splits.audit import audit_corpus
    from synthlab.store import Store

    if options.samples < 1 or min(options.k) < 1 or not 0 < options.temperature < float("inf"):
        raise ConfigurationError("--samples and --k start at 1, and --temperature is a positive number")
    if options.samples == 1 and options.top_p < 1:
        raise ConfigurationError("--top-p is of samples: ask for --samples 2 or more")
    if max(options.k) > options.samples:
        raise ConfigurationError(
            f"pass@{max(options.k)} needs --samples {max(options.k)} or more, not {options.samples}"
        )
    run = Run.load(Store(), options.run)
    split, lab = _load_split(options, run.split_key)
    audit_corpus(split, lab.corpus).require()
    asked = {"num_samples": options.samples, "temperature": options.temperature, "seed": options.seed}
    chosen = {"top_p": options.top_p, "grammatical": options.grammatical}
    greedy = evaluate_run(run, lab.corpus, split, grammatical=options.grammatical)
    result: dict[str, Any] = {
        "run": run.key, "steps": f"{run.steps_done} of {run.training.num_steps}",
        "identity": lab.corpus.identity_method, "parts": [],
    }  # fmt: skip
    sampled = None
    if options.samples > 1:
        sampled = evaluate_run(run, lab.corpus, split, **(asked | chosen))
    for part, table in greedy.groupby("part", sort=False):
        found = estimate(table)
        row = {"part": part, "tasks": found.num_tasks, "pass_at_1": found.value, "low": found.low, "high": found.high}
        if sampled is not None:
            drawn = sampled[sampled["part"] == part]
            for k in options.k:
                chance = drawn.assign(chance=pass_at_k(options.samples, drawn["num_correct"].to_numpy(), k))
                row[f"pass_at_{k}" if k > 1 else "sampled_pass_at_1"] = weighted_mean(chance, "chance")
            row["submitted"] = weighted_mean(drawn, "submitted")
        result["parts"].append(row)
    return result


def _verdict(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.study.benchmark import json_rows
    from synthlab.study.verdict import hold_verdict, verdict_settings

    with _stoppable():
        split, lab = _load_split(options, options.split)
        model, training = verdict_settings(lab.preset, steps=options.steps, seed=options.seed)
        spaces = lab.spaces_of(split.settings.get("spaces", ()))
        found = hold_verdict(
            lab.corpus, split, spaces, store=lab.store, model=model, training=training, tasks=options.tasks,
            progress=not options.json,
        )  # fmt: skip
    tables = {name: json_rows(getattr(found, name)) for name in ("parts", "costs", "sizes")}
    return {"verdict": str(found), "key": found.key, **tables}


@contextmanager
def _stoppable() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C; a process that a notebook starts may not even see the latter."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.notebook_runner import run_notebooks

    pages, index = run_notebooks(options.run_preset, only=options.only, in_place=options.in_place)
    seconds = {page.name: round(page.seconds, 1) for page in pages}
    return {"seconds": seconds, "open": str(index)}


def _verify(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.store import Store, project_root
    from synthlab.study.tables import table_problems

    store = Store()
    problems = store.verify(progress=not options.json)
    roots = {project_root() / place for place in ("data/results", os.environ.get("SYNTHLAB_RESULTS", "build/results"))}
    published = sorted(path.parent for root in roots for path in root.glob("*/study.json"))
    problems += [problem for folder in published for problem in table_problems(folder)]
    return {
        "passed": not problems, "artifacts": sum(1 for _ in store.artifacts()), "published": len(published),
        "problems": [problem.row() for problem in problems] if options.json else "\n  ".join(["", *map(str, problems)]),
    }  # fmt: skip


def _doctor(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.doctor import PROBLEM, examine, report
    from synthlab.store import Store

    findings = examine(Store())
    passed = all(one.state != PROBLEM for one in findings)
    if options.json:
        return {"passed": passed, "findings": [asdict(one) for one in findings]}
    print(report(findings))
    return {"passed": passed}


_HANDLERS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "enumerate": _enumerate,
    "sample": _sample,
    "embed": _embed,
    "split": _split,
    "audit": _audit,
    "shift": _shift,
    "train": _train,
    "evaluate": _evaluate,
    "verdict": _verdict,
    "search": _one_program,
    **study_commands.HANDLERS,
    "run": _run,
    "verify": _verify,
    "doctor": _doctor,
    "parse": _one_program,
    "same": _one_program,
    "eval": _one_program,
    "pqgram": _one_program,
}

if __name__ == "__main__":
    sys.exit(main())
