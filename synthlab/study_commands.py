"""Commands about whole studies and the benchmark: plan, run, merge, export, grade."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthlab.errors import ConfigurationError
from synthlab.options import bound_of

if TYPE_CHECKING:
    from synthlab.lab import Lab


def lab_of(options: argparse.Namespace) -> Lab:
    """The lab that the options ask for."""
    from synthlab.lab import Lab
    from synthlab.presets import get_preset

    preset = get_preset(options.preset)
    size, measure = bound_of(options) or (preset.max_size, preset.measure)
    preset = replace(preset, grammar=options.grammar, max_size=size, measure=measure)
    if getattr(options, "seeds", None):
        preset = replace(preset, seeds=tuple(options.seeds))
    return Lab(preset, progress=not options.json)


def _study(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.study.benchmark import json_rows
    from synthlab.study.planning import plan, summary

    options.preset = options.study_preset
    lab = lab_of(options)
    result: dict[str, Any] = {}
    if options.merge:
        result["merged"] = _merged(lab, options.merge)
    study = lab.trials.of(*options.groups) if options.groups else lab.trials
    workers = options.workers or 1
    if options.plan:
        rate = None if options.tflops is None else 1e12 * options.tflops
        table = plan(study, lab.workspace, flops_per_second=rate)
        return {**result, "summary": summary(table, workers), "trials": json_rows(table)}
    tables = lab.study(
        *options.groups, rerun=True, minutes=options.minutes, retry=options.retry, workers=options.workers
    )
    status = study.status(lab.store)
    result |= {state: int((status["state"] == state).sum()) for state in ("done", "failed", "open")}
    result["failures"] = tables.failures[["trial", "group", "reason"]].to_dict("records")
    if options.pack:
        result["packed"] = _packed(lab, study, options.pack)
    return {**result, "claims": json_rows(lab.claims(tables))}


def _contest(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.study.benchmark import json_rows
    from synthlab.study.search_study import RESULTS

    options.preset = options.contest_preset
    lab = lab_of(options)
    results = lab.contests(rerun=True)[RESULTS]
    by = ["grammar", "arena", "part", "kind", "method"]
    return {"solved": json_rows(results.groupby(by, sort=False)["solved"].agg(["mean", "size"]).reset_index())}


def _merged(lab: Lab, files: Sequence[str]) -> int:
    """Outcomes of other machines that were new."""
    from synthlab.exchange import merge
    from synthlab.study.trials import Outcomes

    return merge(lab.store, map(Path, files), {Outcomes.stage: Outcomes.schema})


def _packed(lab: Lab, study: Any, folder: str) -> list[str]:
    """Files with all outcomes that are done."""
    from synthlab.exchange import pack
    from synthlab.study.trials import Outcomes

    status = study.status(lab.store)
    keys = status["trial"][status["state"] == "done"]
    return [str(path) for path in pack(lab.store, Outcomes.stage, keys, Path(folder) / f"{lab.preset.name}-outcomes")]


def _tune(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.study.tuning import VARIANTS, best_rates

    options.preset = options.tuned_preset
    chosen = tuple(VARIANTS) if options.variants is None else tuple(options.variants)
    unknown = [name for name in chosen if name not in VARIANTS]
    if unknown:
        raise ConfigurationError(f"unknown variant {unknown[0]!r}: choose from {', '.join(VARIANTS)}")
    tables = lab_of(options).tune(rates=not options.no_rates, variants=chosen)
    result = {name: table.to_dict("records") for name, table in tables.items()}
    if "learning-rates" in tables:
        result["best"] = best_rates(tables["learning-rates"]).to_dict("records")
    return result


def _export(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.study.cards import write_cards
    from synthlab.views.figures import export_all
    from synthlab.views.search_figures import export_contests

    options.preset = options.exported_preset
    lab = lab_of(options)
    tables = lab.study()
    folder = Path(options.to)
    files, left_out = export_all(tables, lab.claims(tables), folder)
    more, missing = export_contests(lab.known_contests(), folder)
    cards = write_cards(tables, folder / "cards")
    return {
        "preset": tables.provenance.get("preset", lab.preset.name), "figures_and_tables": len(files + more),
        "cards": len(cards), "left_out": left_out | missing, "folder": str(folder),
    }  # fmt: skip


# ---------------------------------------------------------------- the benchmark


def _score(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.study.benchmark import json_rows, load_benchmark
    from synthlab.study.predictions import read_predictions
    from synthlab.study.scoring import record_scores, recorded_scores, score

    if options.record and options.extra_size:
        raise ConfigurationError("scores of larger answers stand beside no others: leave out --record or --extra-size")
    found = score(read_predictions(options.file), load_benchmark(), extra_size=options.extra_size)
    result: dict[str, Any] = {"scores": json_rows(found.summary), "left_out": list(found.left_out)}
    if options.record:
        result["recorded"] = str(record_scores(found))
    if options.beside:
        result["others"] = json_rows(recorded_scores())
    return result


def _prompts(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.study.benchmark import load_benchmark
    from synthlab.study.prompts import prompts, write_prompts

    table = prompts(load_benchmark(), options.split, options.parts, num_examples=options.examples, seed=options.seed)
    return {"prompts": len(table), "file": str(write_prompts(options.file, table))}


def _predict(options: argparse.Namespace) -> dict[str, Any]:
    """Train on the training set of a split of the benchmark, or search, and write what it answers."""
    from synthlab.search.budget import Budget
    from synthlab.study.benchmark import load_benchmark
    from synthlab.study.predictions import predict_by_search, write_predictions

    benchmark = load_benchmark()
    if options.programs is not None:
        budget = Budget(programs=options.programs)
        table = predict_by_search(benchmark, budget, splits=[options.split])
        return {"predictions": len(table), "file": str(write_predictions(options.file, table))}
    table, run = _predictions_of_a_model(options, benchmark)
    return {"predictions": len(table), "file": str(write_predictions(options.file, table)), "run": run}


def _predictions_of_a_model(options: argparse.Namespace, benchmark: Any) -> tuple[Any, str]:
    from synthlab.learning.evaluation import train_cached
    from synthlab.presets import ModelConfig, TrainingConfig, tuned_learning_rate
    from synthlab.store import Store
    from synthlab.study.predictions import predict_with_run
    from synthlab.study.trials import spaces_read
    from synthlab.study.workspace import Universe, Workspace

    about, store = benchmark.split(options.split), Store()
    domain, workspace = benchmark.domain(options.split), Workspace(store)
    universe = Universe(grammar=about["grammar"], max_size=domain["max_size"], measure=domain["measure"])
    corpus = workspace.corpus(universe)
    spaces = workspace.spaces(universe, spaces_read("support", about["settings"]))
    split = benchmark.draw_training(options.split, corpus, spaces)
    model = ModelConfig.parse(options.model)
    training = TrainingConfig(
        num_steps=options.steps, batch_size=options.batch_size, learning_rate=tuned_learning_rate(model.width),
        num_checks=0, seed=options.seed,
    )  # fmt: skip
    run = train_cached(corpus, split, model, training, store=store, progress=not options.json)
    if not run.finished:
        raise KeyboardInterrupt
    beam = {"beam": options.beam, "num_samples": options.beam, "grammatical": True} if options.beam else {}
    how = f"{options.beam} of a beam" if options.beam else "greedy"
    system = f"{model.name}, {options.steps:,} steps of {options.batch_size}, {how}"
    return predict_with_run(run, benchmark, options.split, system=system, **beam), run.key


HANDLERS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "study": _study,
    "contest": _contest,
    "tune": _tune,
    "export": _export,
    "score": _score,
    "prompts": _prompts,
    "predict": _predict,
}
