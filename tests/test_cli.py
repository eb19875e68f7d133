"""The command line: one JSON object of documented keys, and one line on stderr for bad input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from math import comb
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from synthlab import notebook_runner
from synthlab.__main__ import main
from synthlab.language import grammar as grammars
from synthlab.learning.run import Run
from synthlab.presets import ModelConfig, tuned_learning_rate
from synthlab.store import Store

STAGES = [
    "enumerate", "sample", "embed", "split", "audit", "shift", "train", "evaluate", "verdict", "search", "study",
    "tune", "export", "score", "prompts", "predict", "run", "verify",
]  # fmt: skip
COMMANDS = [*STAGES, "parse", "same", "eval", "pqgram"]
SMALL = ["--preset", "tiny", "--leaves", "3"]


@pytest.fixture(scope="module")
def trained_store(tmp_path_factory):
    """A store with a universe, a split and a run, made by the command line alone."""
    root = tmp_path_factory.mktemp("cli") / "store"
    model = ["--model", "8x1", "--steps", "5", "--batch-size", "32"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHLAB_STORE", str(root))
        assert main(["enumerate", "--leaves", "3", "--json"]) == 0
        assert main(["split", *SMALL, "--name", "products", "--json"]) == 0
        assert main(["train", "--split", "products", *model, "--name", "short", "--json"]) == 0
    return root


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """Results and artifacts of a test go nowhere else."""
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("SYNTHLAB_RESULTS", str(tmp_path / "results"))
    return tmp_path / "store"


@pytest.fixture
def filled(empty, trained_store):
    """A copy of the store with a universe, a split and a run."""
    shutil.copytree(trained_store, empty)
    return empty


@pytest.fixture
def ask(capsys):
    """Run a subcommand and read the one JSON object that it prints."""
    capsys.readouterr()

    def answer(*arguments, code=0):
        assert main([*map(str, arguments), "--json"]) == code
        out = capsys.readouterr().out
        assert out.count("\n") == 1 and out.endswith("\n")
        return json.loads(out)

    return answer


# ---------------------------------------------------------------- one program at a time


def test_parse_gives_both_notations(ask):
    found = ask("parse", "x*(y+1)")
    assert set(found) == {"prefix", "infix", "leaves", "depth", "fingerprint"}
    assert (found["prefix"], found["infix"], found["leaves"], found["depth"]) == ("* x + y 1", "x * (y + 1)", 3, 2)
    assert re.fullmatch(r"[0-9a-f]{32}", found["fingerprint"])
    assert ask("parse", "* x + y 1") == found == ask("parse", " x *( (y)+1 )")
    assert ask("parse", "x + y*x")["fingerprint"] == found["fingerprint"] != ask("parse", "x*y")["fingerprint"]
    assert ask("parse", "1/(x-x)", "--grammar", "rational")["fingerprint"] is None


@pytest.mark.parametrize(
    ("first", "second", "grammar", "same"),
    [
        ("x*(y+1)", "x+x*y", "polynomial", True),
        ("x*(y+1)", "x*y+1", "polynomial", False),
        ("x", "x+x*(x+2)*(x+1)*(x-1)*(x-2)*(x-3)", "polynomial", False),  # equal on the grid
        ("x/x", "1", "rational", True),
        ("x/(y-y)", "x/(y-y)", "rational", False),
    ],
)
def test_same_decides_equality_of_functions(ask, first, second, grammar, same):
    found = ask("same", first, second, "--grammar", grammar)
    assert found == {"same_function": same, "method": "exact: equal at two random points modulo 2^61-1"}


@pytest.mark.parametrize(("second", "same"), [("min(y, x)", True), ("max(x, y)", False)])
def test_equality_on_probes_is_called_so(ask, second, same):
    found = ask("same", "min(x, y)", second, "--grammar", "piecewise")
    probes = "equal on probes: 36 grid points and 64 hidden inputs in [-20, 20], seed 20260430"
    assert found == {"same_function": same, "method": probes}


@pytest.mark.parametrize(
    ("text", "point", "grammar", "value"),
    [
        ("x*(y+1)", ["--x", "2", "--y", "-3"], "polynomial", "-4/1"),
        ("x*x-y", ["--x", "1/3", "--y", "0.25"], "polynomial", f"{Fraction(1, 9) - Fraction(1, 4)}"),
        ("x/y", ["--x", "1", "--y", "6"], "rational", "1/6"),
        ("x/y", ["--x", "1", "--y", "0"], "rational", None),
        ("x-x", ["--set", "x=7", "--set", "y=1"], "polynomial", "0/1"),
    ],
)
def test_eval_is_exact_and_undefined_is_null(ask, text, point, grammar, value):
    assert ask("eval", text, *point, "--grammar", grammar) == {"value": value}


def test_pqgram_of_a_published_pair(ask):
    """x+(y*1) and (y*1)+x: profiles of 11, 7 in common."""
    found = ask("pqgram", "x+(y*1)", "(y*1)+x")
    assert set(found) == {"distance", "metric", "profile_sizes", "intersection"}
    assert found["profile_sizes"] == [11, 11] and found["intersection"] == 7
    assert found["distance"] == pytest.approx(1 - 14 / 22) and found["metric"] == pytest.approx(8 / 15)
    assert ask("pqgram", "x", "x", "--p", 1, "--q", 2)["distance"] == 0


@pytest.mark.parametrize(("target", "leaves"), [("x*(y+1)", 3), ("(x+y)*(x+y)", 4), ("x-x", 2)])
def test_search_finds_a_least_program(ask, target, leaves):
    found = ask("search", "--target", target, "--budget-seconds", 300, "--leaves", 4)
    names = {"solved", "program", "best", "agreement", "stopped", "executed", "lookups", "seconds", "setup_seconds"}
    assert set(found) == {*names, "method"}
    assert found["solved"] is True and found["executed"] > 0 and found["agreement"] == 1
    assert ask("parse", found["program"])["leaves"] == leaves and ask("same", found["program"], target)["same_function"]


def test_a_search_without_success_says_so(ask):
    found = ask("search", "--target", "x*x*x*y", "--leaves", 3)
    assert found["solved"] is False and found["program"] is None and found["executed"] > 0


@pytest.mark.parametrize("method", ["library", "two-level"])
def test_a_library_is_met_in_the_middle(ask, method):
    target = "(x*y+3)*(x-y)+x*x" if method == "two-level" else "(x*y+3)*(x-y)"
    found = ask(
        "search", "--target", target, "--method", method, "--library", 3, "--leaves", 9, "--budget-seconds", 300
    )
    assert found["solved"] is True and found["lookups"] > 1 and found["executed"] == 0
    assert ask("same", found["program"], target)["same_function"]


# ---------------------------------------------------------------- stages


def test_enumerate_counts_and_stores_the_universe(ask, empty):
    found = ask("enumerate", "--leaves", 3)
    assert set(found) == {"programs", "functions", "identity", "seconds", "peak_mb"}
    assert found["programs"] == [5, 75, 2250] and found["functions"] == [5, 35, 238]
    assert found["identity"] == "exact: equal at two random points modulo 2^61-1"
    assert found["seconds"] >= 0 and found["peak_mb"] > 1
    assert len(list((empty / "corpus").glob("polynomial-3-leaves-*/manifest.json"))) == 1


@pytest.mark.parametrize(
    ("bound", "programs", "functions"),
    [(("--nodes", 5), [5, 0, 75, 0, 2250], [5, 0, 35, 0, 238]), (("--depth", 1), [5, 75], [5, 35])],
    ids=["nodes", "depth"],
)
def test_a_universe_is_bounded_by_other_measures(ask, empty, bound, programs, functions):
    found = ask("enumerate", *bound)
    assert (found["programs"], found["functions"]) == (programs, functions)
    (saved,) = (empty / "corpus").glob("polynomial-*/manifest.json")
    identity = json.loads(saved.read_text())["identity"]
    assert (f"--{identity['measure']}", identity["max_size"]) == bound


def test_identity_on_probes_is_said_of_a_universe(ask, empty):
    found = ask("enumerate", "--leaves", 2, "--grammar", "piecewise")
    assert found["identity"].startswith("equal on probes: 36 grid points and 64 hidden inputs")
    assert found["programs"] == [4, 80]


def test_a_plan_predicts_and_makes_nothing(ask, empty):
    found = ask("enumerate", "--leaves", 3, "--plan")
    resources = {"candidates", "memory_gb", "disk_gb", "seconds"}
    assert set(found) == {"what", "leaves", "programs", "functions"} | resources
    assert (found["what"], found["leaves"], found["programs"], found["functions"]) == ("texts", 3, 2330, 278)
    assert all(found[name] > 0 for name in resources)
    functions = ask("enumerate", "--leaves", 3, "--plan", "--functions-only")
    assert (functions["what"], functions["programs"], functions["functions"]) == ("functions", 2330, 278)
    assert not empty.exists()


def test_a_plan_of_what_nobody_can_enumerate_has_exact_counts(ask, empty):
    found = ask("enumerate", "--leaves", 30, "--plan", "--functions-only")
    catalan = [comb(2 * n, n) // (n + 1) for n in range(30)]
    assert found["programs"] == sum(5 ** (n + 1) * 3**n * c for n, c in enumerate(catalan))
    assert found["functions"] > 1e15 and found["memory_gb"] > 1e6


@pytest.mark.parametrize(
    "options",
    [("--depth", "12"), ("--depth", "12", "--functions-only"), ("--leaves", "190", "--functions-only")],
    ids=" ".join,
)
def test_a_plan_beyond_floats_is_given_or_refused_in_one_line(empty, capsys, options):
    code = main(["enumerate", *options, "--plan", "--json"])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "") or (code == 2 and captured.err.count("\n") == 1)


def test_texts_on_disk_are_pieces_in_the_store(ask, empty):
    found = ask("enumerate", "--leaves", 3, "--on-disk", "--workers", 2)
    assert set(found) == {"texts", "shards", "folder", "seconds", "peak_mb"}
    assert found["texts"] == 2330 and found["shards"] == len(list(Path(found["folder"]).glob("*/manifest.json")))
    assert Path(found["folder"]).parent == empty / "universe"
    again = ask("enumerate", "--leaves", 3, "--on-disk", "--workers", 2)
    assert again["folder"] == found["folder"]
    found = ask("verify")
    assert (found["passed"], found["artifacts"], found["problems"]) == (True, 1, [])


def test_functions_on_disk_are_pieces_in_the_store(ask, empty):
    found = ask("enumerate", "--leaves", 3, "--on-disk", "--functions-only", "--workers", 3, "--memory-gb", 0.5)
    assert set(found) == {"functions", "shards", "folder", "seconds", "peak_mb"}
    assert found["functions"] == 278 and found["shards"] == 2 * 3 + 1  # three partitions of two sizes, one merged
    assert ask("verify")["passed"] is True


def test_a_sample_has_one_size_and_follows_its_seed(ask, empty):
    found = ask("sample", "--leaves", 40, "--num", 5, "--seed", 1)
    assert set(found) == {"of", "programs"}
    assert found["of"] == 5**40 * 3**39 * comb(78, 39) // 40
    assert len(found["programs"]) == 5 == len(set(found["programs"]))
    assert {ask("parse", text)["leaves"] for text in found["programs"]} == {40}
    assert ask("sample", "--leaves", 40, "--num", 5, "--seed", 1) == found
    assert ask("sample", "--leaves", 40, "--num", 5, "--seed", 2)["programs"] != found["programs"]
    assert not empty.exists()


@pytest.mark.parametrize(("measure", "size"), [("nodes", 7), ("depth", 3)])
def test_a_sample_follows_its_measure(ask, measure, size):
    found = ask("sample", f"--{measure}", size, "--num", 6)
    parsed = [ask("parse", text) for text in found["programs"]]
    sizes = {p["depth"] if measure == "depth" else len(p["prefix"].split()) for p in parsed}
    assert len(parsed) == 6 and sizes == {size}


def test_functions_only_stores_nothing(ask, empty):
    found = ask("enumerate", "--leaves", 3, "--functions-only", "--grammar", "rational")
    assert found["programs"] == [4, 64, 2048] and found["functions"] == [4, 33, 344]
    assert not empty.exists()


def test_embed_fits_both_spaces(ask, filled):
    found = ask("embed", *SMALL)
    assert set(found) == {"syntactic", "semantic"}
    assert (found["syntactic"]["rows"], found["semantic"]["rows"]) == (2330, 278)
    for space in found.values():
        assert set(space) == {"key", "rows", "axes", "explained"} and 0.5 < space["explained"] <= 1


def test_split_counts_its_parts_and_passes_its_audit(ask, filled):
    found = ask("split", *SMALL, "--root", "+", "--name", "sums")
    assert {"split", "key", "joint_shift", "train", "id", "forced", "open"} <= set(found)
    assert found["split"] == "sums" and found["joint_shift"] is True and found["train"] > 500
    report = ask("audit", "sums")
    assert report["passed"] is True and len(report["checks"]) >= 5
    assert all(check["offenders"] == 0 and check["check"] for check in report["checks"])
    assert ask("audit", found["key"]) == report
    assert "name_meant_before" not in ask("split", *SMALL, "--root", "+", "--name", "sums")
    other = ask("split", *SMALL, "--root", "-", "--name", "sums")
    assert other["name_meant_before"] == found["key"] != other["key"] and ask("audit", found["key"]) == report


def test_every_rule_of_a_region_can_be_written(ask, filled):
    region = ["--rule", "ball", "--region", "share=0.2", "--region", "centre=x * y"]
    ball = ask("split", *SMALL, *region, "--name", "ball")
    assert ball["train"] > 300
    assert ask("audit", "ball", "--spaces")["passed"] is True
    assert len(ask("audit", "ball", "--spaces")["checks"]) == len(ask("audit", "ball")["checks"]) + 1
    other = ask("split", *SMALL, "--rule", "ball", "--region", "share=0.2", "--name", "other")
    assert other["key"] != ball["key"]
    matched = [ask("split", *SMALL, "--match", *by)["matched_id"] for by in (["size"], ["size", "degree", "labels"])]
    assert matched[0] > matched[1]


def test_compositional_and_divergent_splits_are_drawn_and_pass_their_audit(ask, filled):
    for options in (["compositional", "--category", "order"], ["mcd"]):
        found = ask("split", *SMALL, "--kind", *options)
        assert ask("audit", found["split"])["passed"] is True
        assert found["train"] > 100 and found["forced" if options[0] != "mcd" else "compound"] > 10


def test_shift_is_measured_in_both_spaces_and_in_the_texts(ask, filled):
    found = ask("shift", "products", *SMALL, "--sample", 100)
    assert {row["space"] for row in found["measures"]} == {"syntactic", "semantic", "text"}
    assert {"energy", "classifier_auc", "compound_divergence"} <= {row["measure"] for row in found["measures"]}
    energy = {row["part"]: row["value"] for row in found["measures"]
              if (row["space"], row["measure"]) == ("syntactic", "energy")}  # fmt: skip
    assert energy["forced"] > energy["id"]


def test_a_split_of_a_universe_by_nodes_is_audited_on_it(ask, empty):
    bound = ["--preset", "tiny", "--nodes", 5]
    found = ask("split", *bound, "--root", "*", "--name", "products")
    assert found["train"] > 500
    assert ask("audit", "products")["passed"] is True
    (saved,) = (empty / "corpus").glob("polynomial-5-nodes-*/manifest.json")
    assert json.loads(saved.read_text())["identity"]["measure"] == "nodes"


def test_density_splits_have_a_test_set_per_regime(ask, filled):
    found = ask("split", *SMALL, "--kind", "density", "--regime", "class", "--num-train", 150)
    assert found["train"] == 150 and found["joint_shift"] is False
    assert {"random", "syntactic", "semantic", "dual", "class"} <= set(found)
    assert ask("audit", found["split"])["passed"] is True


def test_an_audit_of_a_leaking_split_fails(ask, filled, capsys):
    from dataclasses import replace

    from synthlab.splits.split import Split
    from synthlab.store import Store

    split = Split.load(Store(), "products")
    leaking = replace(split, train=split.train[:50], targets=split.train[:50], settings=split.settings | {"seed": 77})
    leaking.train[0] = leaking.targets[0] = split.tests["forced"][0]
    Store().name(leaking, "leaking")
    report = ask("audit", "leaking", code=1)
    assert report["passed"] is False and any(c["offenders"] for c in report["checks"])
    assert main(["train", "--split", "leaking", "--steps", "2", "--json"]) == 2
    assert "the split leaks" in capsys.readouterr().err


def test_training_again_loads_the_run(ask, filled):
    arguments = ["train", "--split", "products", "--model", "8x1", "--steps", 5, "--batch-size", 32]
    found = ask(*arguments)
    assert {"run", "key", "steps", "parameters", "flops", "seconds", "samples", "device"} <= set(found)
    assert (found["steps"], found["samples"]) == (5, 160) and found["run"] == f"run-{found['key']}"
    assert len(list((filled / "run").glob("8x1-*"))) == 1
    assert ask(*arguments, "--seed", 1)["key"] != found["key"]
    assert len(list((filled / "run").glob("8x1-*"))) == 2


def test_evaluate_reports_every_part(ask, filled):
    found = ask("evaluate", "short")
    parts = {row["part"]: row for row in found["parts"]}
    assert set(parts) == {"id", "forced", "open", "matched_id", "matched_forced"}
    for row in parts.values():
        assert {"part", "tasks", "pass_at_1", "low", "high"} == set(row)
        assert 0 <= row["low"] <= row["pass_at_1"] <= row["high"] <= 1
    assert parts["id"]["tasks"] == 49


def test_evaluate_reports_pass_at_k_of_samples(ask, filled):
    found = ask("evaluate", "short", "--samples", 6, "--k", 2, 6)
    for row in found["parts"]:
        assert {"pass_at_2", "pass_at_6"} <= set(row) and 0 <= row["pass_at_2"] <= row["pass_at_6"] <= 1
    assert ask("evaluate", "short", "--samples", 6, "--k", 2, 6) == found


def test_any_field_of_model_and_training_can_be_set(ask, filled):
    small = ["train", "--split", "products", "--model", "8x1", "--steps", 4, "--batch-size", 32, "--name", "other"]
    found = ask(*small, "--set", "notation=postfix", "--set", "schedule=wsd", "--set", "tied=true")
    run = Run.load(Store(filled), "other")
    assert (run.model_config.notation, run.model_config.tied, run.training.schedule) == ("postfix", True, "wsd")
    assert run.training.learning_rate == tuned_learning_rate(8) and found["key"] == run.key
    assert ask("evaluate", "other", "--samples", 4, "--k", 4, "--top-p", 0.9, "--grammatical")["parts"]


def test_evaluate_says_what_is_solved_when_one_of_the_samples_is_submitted(ask, filled):
    for part in ask("evaluate", "short", "--samples", 6, "--k", 6)["parts"]:
        assert 0 <= part["submitted"] <= part["pass_at_6"] <= 1


def test_a_verdict_compares_model_and_search_and_is_reached_once(ask, filled):
    arguments = ["verdict", "products", *SMALL, "--steps", 6, "--tasks", 5]
    found = ask(*arguments)
    assert set(found) == {"verdict", "key", "parts", "costs", "sizes"}
    assert found["verdict"].startswith("Held out: root operator *. Model 16x1") and "Exploratory" in found["verdict"]
    parts = pd.DataFrame(found["parts"])
    assert set(parts["part"]) == {"id", "forced", "open", "matched_id", "matched_forced"}
    assert parts["num_tasks"].max() == 5 and set(parts["kind"]) == {"model", "search"}
    model, *_, search = found["costs"]
    assert model["allowed_seconds"] is None and search["allowed_seconds"] == model["total_seconds"]
    assert len(list((filled / "run").glob("16x1-*"))) == 1
    assert ask(*arguments) == found  # seconds and all: loaded
    assert ask(*arguments, "--seed", 1)["key"] != found["key"]
    assert ask("verify")["passed"] is True


def test_a_verdict_ends_on_sigterm_as_on_an_interrupt(filled, capsys, monkeypatch):
    def asked_to_end(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("synthlab.study.verdict.hold_verdict", asked_to_end)
    assert main(["verdict", "products", *SMALL]) == 130
    assert "run again to go on" in capsys.readouterr().err and signal.getsignal(signal.SIGTERM) is before


def test_tune_measures_rates_and_variants(ask, empty, monkeypatch, small_preset):
    monkeypatch.setenv("SYNTHLAB_RESULTS", str(empty / "results"))
    models = (ModelConfig(width=8, layers=1, heads=2), ModelConfig(width=16, layers=1, heads=2))
    tiny = replace(small_preset, tuned_models=models, learning_rates=(1e-3, 1e-2), variant_seeds=2)
    monkeypatch.setattr("synthlab.presets.get_preset", lambda name: tiny)
    found = ask("tune", "tiny", "--leaves", 3, "--variants", "default", "infix", "targets: random each epoch")
    assert len(found["learning-rates"]) == 4 and len(found["best"]) == 2
    assert [row["variant"] for row in found["variants"]] == ["default", "infix", "targets: random each epoch"]
    assert all(0 <= row["pass_at_1"] <= 1 for row in found["variants"])
    assert [row["final_loss"] > 0 for row in found["variants"]] == [True, True, False]  # another policy
    assert (empty / "results" / "tiny" / "variants.parquet").exists()


def test_verify_finds_one_flipped_bit(ask, filled):
    clean = ask("verify")
    assert clean["passed"] is True and clean["problems"] == [] and clean["artifacts"] >= 3
    payload = next((filled / "run").glob("8x1-*/weights.bin"))
    content = bytearray(payload.read_bytes())
    content[1000] ^= 1
    payload.write_bytes(content)
    damaged = ask("verify", code=1)
    (problem,) = damaged["problems"]
    assert damaged["passed"] is False and (problem["path"], problem["wrong"]) == (str(payload), "is damaged")
    assert problem["stage"] == "run" and "`python -m synthlab train --split" in problem["mend"]


@pytest.fixture
def two_trials(monkeypatch, small_preset):
    """A study of two trials that differ by their regime."""
    preset = replace(
        small_preset, num_regions=0, regions=small_preset.regions[:1], variants=(), crossed_regimes=(),
        scaling_models=(ModelConfig(width=8, layers=1, heads=2),), max_size=3,
    )  # fmt: skip
    monkeypatch.setattr("synthlab.presets.get_preset", lambda name: preset)


def test_a_study_is_planned_run_in_groups_packed_and_merged(ask, empty, two_trials, monkeypatch, tmp_path):
    monkeypatch.setenv("SYNTHLAB_RESULTS", str(empty / "results"))
    groups = ["--groups", "support", "scaling"]
    plan = ask("study", "tiny", "--leaves", 3, "--plan", *groups)
    assert [row["state"] for row in plan["trials"]] == ["open", "open"] and "2 of 2 trials to run" in plan["summary"]
    assert not (empty / "run").exists()
    faster = ask("study", "tiny", "--leaves", 3, "--plan", "--tflops", 1e-6, *groups)["trials"]
    assert faster[0]["minutes"] == pytest.approx(faster[0]["flops"] / 1e6 / 60)
    done = ask("study", "tiny", "--leaves", 3, *groups, "--pack", tmp_path / "packs")
    assert (done["done"], done["failed"], done["open"], done["failures"]) == (2, 0, 0, [])
    assert all({"name", "verdict", "p_holm"} <= set(row) for row in done["claims"])
    assert (empty / "results" / "tiny" / "study-support.parquet").exists()
    (packed,) = done["packed"]
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path / "other"))
    merged = ask("study", "tiny", "--leaves", 3, "--plan", *groups, "--merge", packed)
    assert merged["merged"] == 2 and [row["state"] for row in merged["trials"]] == ["done", "done"]


def test_a_study_is_exported_in_one_command(ask, empty, two_trials, monkeypatch, tmp_path):
    monkeypatch.setenv("SYNTHLAB_RESULTS", str(empty / "results"))
    monkeypatch.setattr("synthlab.lab.project_root", lambda: tmp_path)
    found = ask("export", "tiny", "--to", tmp_path / "export")
    assert found["cards"] == 7 + 1 and found["figures_and_tables"] > 20 and found["preset"] == "tiny"
    for suffix in ("svg", "png", "json", "csv", "tex"):
        assert (tmp_path / "export" / f"density-matrix.{suffix}").stat().st_size > 100
    assert "run those of `random_sizes`" in found["left_out"]["density-data-size"]


# ---------------------------------------------------------------- the benchmark


def test_predictions_are_graded_beside_the_recorded_ones(ask, tmp_path):
    from synthlab.study.benchmark import load_benchmark

    tasks = load_benchmark().select("rational-root", ["id"])["task"].tolist()
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"task": t, "rank": 0, "program": "x"}) + "\n" for t in tasks))
    found = ask("score", file, "--beside")
    (row,) = found["scores"]
    assert (row["tasks"], row["answered"], row["part"]) == (len(tasks), len(tasks), "id")
    assert row["pass_at_1"] + row["wrong_function"] + row["right_on_grid"] == pytest.approx(1)
    assert found["others"] and len(found["left_out"]) > 10
    assert main(["score", str(file), "--record", "--extra-size", "2"]) == 2


def test_prompts_are_written_for_one_split(ask, tmp_path):
    found = ask("prompts", tmp_path / "prompts.jsonl", "--split", "rational-root", "--parts", "id", "--examples", 2)
    lines = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    assert found["prompts"] == len(lines) > 0 and all("Example 2" in line["prompt"] for line in lines)


def test_a_model_and_a_search_answer_the_benchmark(ask, empty, tmp_path):
    model, search = tmp_path / "model.parquet", tmp_path / "search.jsonl"
    small = ["--split", "rational-root", "--model", "8x1", "--steps", 3, "--batch-size", 32]
    assert ask("predict", model, *small)["predictions"] == len(pd.read_parquet(model))
    rows = ask("score", model)["scores"]
    assert {row["part"] for row in rows} >= {"id", "forced"} and all(row["system"].startswith("8x1") for row in rows)
    beam = ask("predict", model, *small, "--beam", 3)
    assert beam["predictions"] == 3 * sum(row["tasks"] for row in rows)
    found = ask("predict", search, "--split", "rational-root-isolated", "--programs", 50)
    assert found["predictions"] == len(search.read_text().splitlines())


def test_run_links_the_pages(ask, empty, monkeypatch):
    asked = []

    def run(preset, *, only, in_place):
        asked.append((preset, only, in_place))
        return [SimpleNamespace(name="03_x", seconds=1.26)], Path("build/tiny/index.html")

    monkeypatch.setattr(notebook_runner, "run_notebooks", run)
    found = ask("run", "tiny", "--only", "03")
    assert found["seconds"] == {"03_x": 1.3} and found["open"].endswith("index.html")
    assert asked == [("tiny", "03", False)]


# ---------------------------------------------------------------- plain text


def test_without_json_results_are_lines_and_tables(filled, capsys):
    assert main(["eval", "1/x", "--x", "0", "--y", "0", "--grammar", "rational"]) == 0
    assert capsys.readouterr().out == "value: undefined\n"
    assert main(["audit", "products"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("passed: True\nchecks:\n") and "tested function in training" in out


# ---------------------------------------------------------------- bad input

BAD_PROGRAMS = [
    ("parse", "x $ y"), ("parse", "x % y"), ("parse", "(x + y"), ("parse", "x + y)"), ("parse", ""), ("parse", "x +"),
    ("parse", "+ x"), ("parse", "x / y"), ("parse", "x", "--grammar", "klingon"), ("same", "x", "z"),
    ("eval", "x+y", "--x", "1"), ("eval", "x", "--x", "one", "--y", "1"), ("eval", "x", "--x", "1/0", "--y", "1"),
    ("pqgram", "x", "y", "--p", "0"), ("pqgram", "x", "y", "--q", "-1"), ("search", "--target", "x+"),
    ("search", "--target", "x", "--budget-seconds", "0"), ("parse", "٣"), ("parse", "__import__('os')"),
    ("search", "--target", "x", "--leaves", "0"), ("sample", "--leaves", "0"), ("sample", "--nodes", "2"),
    ("search", "--target", "x", "--method", "library", "--library", "0"),
    ("search", "--target", "x", "--method", "two-level", "--depth", "3"),
    ("sample", "--leaves", "2", "--num", "-1"), ("sample", "--leaves", "2", "--seed", "-1"), ("sample", "--depth", "9"),
]  # fmt: skip
BAD_STAGES = [
    ("enumerate", "--leaves", "0"), ("enumerate", "--leaves", "-2"), ("enumerate", "--leaves", "40"),
    ("enumerate", "--depth", "-1"), ("enumerate", "--nodes", "0"), ("enumerate", "--leaves", "0", "--plan"),
    ("enumerate", "--leaves", "3", "--memory-gb", "0"), ("enumerate", "--leaves", "3", "--memory-gb", "nan"),
    ("enumerate", "--leaves", "3", "--memory-gb", "1e-6"), ("enumerate", "--leaves", "9", "--on-disk"),
    ("enumerate", "--leaves", "3", "--on-disk", "--memory-gb", "1e-6"),
    ("enumerate", "--leaves", "3", "--on-disk", "--functions-only", "--memory-gb", "1e-6"),
    ("enumerate", "--depth", "2", "--on-disk", "--functions-only"),
    ("enumerate", "--leaves", "3", "--on-disk", "--workers", "-1"),
    ("enumerate", "--leaves", "3", "--on-disk", "--functions-only", "--workers", "-1"),
    ("split", *SMALL, "--num-train", "0"), ("split", *SMALL, "--num-train", "100000"), ("split", *SMALL, "--root", "/"),
    ("split", *SMALL, "--reserved", "1.5"), ("split", *SMALL, "--regime", "lucky"), ("split", *SMALL, "--policy", "x"),
    ("split", *SMALL, "--space", "outer"), ("split", *SMALL, "--name", "../up"), ("split", "--preset", "huge"),
    ("split", *SMALL, "--rule", "quantile", "--quantile", "1"), ("split", *SMALL, "--rule", "quantile", "--axis", "99"),
    ("split", *SMALL, "--rule", "cluster", "--held", "20"), ("split", *SMALL, "--kind", "density"),
    ("split", *SMALL, "--region", "colour=red"), ("split", *SMALL, "--region", "share"), ("shift", "nobody"),
    ("split", *SMALL, "--kind", "compositional", "--category", "luck"), ("split", *SMALL, "--match", "luck"),
    ("split", *SMALL, "--cells", "hexagons"), ("split", *SMALL, "--concentration", "-1"),
    ("verdict", "nobody"), ("verdict", "products", *SMALL, "--steps", "0"),
    ("verdict", "products", *SMALL, "--tasks", "0"), ("verdict", "products", "--preset", "huge"),
    ("audit", "nobody"), ("evaluate", "nobody"), ("train", "--split", "nobody"), ("study", "huge"),
    ("train", "--split", "products", "--steps", "0"), ("train", "--split", "products", "--model", "big"),
    ("train", "--split", "products", "--learning-rate", "0"), ("train", "--split", "products", "--batch-size", "0"),
    ("train", "--split", "products", "--set", "notation"), ("train", "--split", "products", "--set", "colour=red"),
    ("train", "--split", "products", "--set", "notation=polish"), ("tune", "tiny", "--variants", "nobody"),
    ("evaluate", "short", "--samples", "3", "--top-p", "0"),
    ("evaluate", "short", "--k", "10"), ("evaluate", "short", "--samples", "5", "--k", "2", "10"),
    ("evaluate", "short", "--samples", "3", "--temperature", "0"), ("evaluate", "short", "--samples", "3", "--k", "0"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", [*BAD_PROGRAMS, *BAD_STAGES], ids=" ".join)
def test_bad_input_is_one_line_and_exit_code_2(filled, capsys, arguments):
    assert main([*arguments, "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("synthlab: ")
    assert captured.err.count("\n") == 1 and captured.err.endswith("\n") and len(captured.err) > 25


BAD_OPTIONS = [
    (), ("fly",), ("parse",), ("parse", "x", "--colour"), ("enumerate",), ("enumerate", "--leaves", "three"),
    ("train",), ("split", "--kind", "banana"), ("search", "--target", "x", "--budget-seconds", "soon"),
    ("evaluate", "short", "--k", "two"), ("enumerate", "--leaves", "3", "--nodes", "5"), ("sample",),
    ("enumerate", "--nodes", "3", "--depth", "2"), ("split", "--leaves", "3", "--depth", "2"),
    ("search", "--target", "x", "--leaves", "2", "--depth", "1"), ("sample", "--leaves", "3", "--depth", "2"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", BAD_OPTIONS, ids=" ".join)
def test_bad_options_are_one_line_and_exit_code_2(empty, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    assert caught.value.code == 2 and captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith("synthlab") and "--help" in captured.err


def test_messages_say_what_is_wrong(filled, capsys, monkeypatch):
    known = {name: grammars._REGISTRY[name] for name in ("polynomial", "rational", "piecewise")}
    monkeypatch.setattr(grammars, "_REGISTRY", known)  # without those of other tests
    expected = {
        ("parse", "x $ y"): "position 2",
        ("parse", "(x + y"): "position 6: expected an operator or ')', found the end",
        ("parse", "x", "--grammar", "klingon"): "choose from piecewise, polynomial, rational, or register yours",
        ("enumerate", "--leaves", "9", "--on-disk"): "leaves would fit",
        ("enumerate", "--depth", "2", "--on-disk", "--functions-only"): "use function_table, leaves or nodes",
        ("evaluate", "nobody"): "known names are short",
        ("evaluate", "short", "--k", "10"): "pass@10",
        ("split", *SMALL, "--num-train", "100000"): "100,000 training programs asked of a pool of 1,225",
    }
    for arguments, words in expected.items():
        assert main(arguments) == 2
        assert words in capsys.readouterr().err


def test_an_interruption_says_how_to_go_on(monkeypatch, empty, capsys):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(notebook_runner, "run_notebooks", interrupted)
    assert main(["run", "tiny"]) == 130
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "run again to go on" in err


# ---------------------------------------------------------------- the program itself


def test_help_lists_every_stage():
    answer = subprocess.run([sys.executable, "-m", "synthlab", "--help"], capture_output=True, text=True, check=True)
    assert answer.stderr == ""
    positions = [answer.stdout.index(f"\n  {stage} ") for stage in STAGES]
    assert positions == sorted(positions)
    assert all(re.search(rf"\b{command}\b", answer.stdout) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_subcommand_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0 and "--json" in out and "--grammar" in out
