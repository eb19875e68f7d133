"""The benchmark runs at tiny sizes, with and without the packages it compares with."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from benchmarks import bare, dictionaries, enumeration, evaluation, learning, measure, peers, plain, report, run, search

from synthlab.assessment.tasks import tasks_by_part
from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.interpreter import grid_outputs
from synthlab.learning.decoding import decode
from synthlab.learning.networks import Synthesizer
from synthlab.presets import ModelConfig
from synthlab.search.library import Library
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus

RATIOS = {"ratio", "ratio_with_preparation", "without_rules_ratio"}
SECTIONS = {
    "machine", "repeats", "load", "memory", "functions", "functions_alone", "texts", "streaming", "numbering",
    "sampling", "evaluation", "spaces", "maps", "shift", "mcd", "explorer",
    "search", "learning",
}  # fmt: skip


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested results, with its path."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        yield path, value
        return
    for key, part in parts:
        yield from leaves(part, f"{path}/{key}")


def test_quick_run_saves_every_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run.main(["--quick", "--repeats", "1", "--output", str(tmp_path / "new" / "bench.json")])
    results = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert set(results) == SECTIONS
    numbers = {path: value for path, value in leaves(results) if isinstance(value, float) and "/load/" not in path}
    assert all(math.isfinite(value) and value > 0 for value in numbers.values()), numbers
    ratios = [path for path, _ in leaves(results) if path.rsplit("/", 1)[-1] in RATIOS]
    num_peers = len(peers.available()[0])
    assert sum(path.startswith("/functions/") for path in ratios) == len(plain.ARITHMETICS)
    assert sum(path.startswith("/functions_alone/") for path in ratios) == 4 * len(results["functions_alone"])
    assert sum(path.startswith("/texts/") for path in ratios) == 3
    assert sum(path.startswith("/evaluation/") for path in ratios) == 2 * num_peers * len(results["evaluation"])
    assert sum(path.startswith("/learning/") for path in ratios) == len(results["learning"]["training"]) + 2
    assert sum(path.startswith("/search/") for path in ratios) == len(dictionaries.DICTIONARIES)
    assert {target["met"] for target in results["search"]["targets"]} == {None}
    unmeasured = [target for target in results["learning"]["targets"] if target["met"] is None]
    assert sum(target["needs_gpu"] for target in unmeasured) == 3  # tiny sizes are no targets' on any device
    assert report.table(results, tmp_path / "new" / "bench.json") in capsys.readouterr().out
    assert {"python", "numpy", "numba"} <= set(results["machine"]["versions"])


def test_chosen_sections_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run.main(["--quick", "--repeats", "1", "--only", "sampling", "--output", str(tmp_path / "some.json")])
    assert set(json.loads((tmp_path / "some.json").read_text())) == {"machine", "repeats", "load", "sampling"}
    printed = capsys.readouterr().out
    assert "drawn uniformly" in printed
    assert "FUNCTIONS" not in printed and "LEARNING" not in printed and "written from ids" not in printed
    with pytest.raises(SystemExit):
        run.main(["--only", "nonsense"])


def test_missing_packages_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in measure.PEERS else find(name, *a))
    row = evaluation.bench_evaluation(1, leaves=3, num=10, num_points=64, subset=5)
    assert list(row["peers"]) == ["Python compile, NumPy"]
    assert row["left_out"] == sorted(measure.PEERS)
    assert "sympy" not in measure.machine()["versions"]


def test_nothing_is_compiled_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "can_compile", lambda device: False)
    plainly, compiled, cpu = ("8x1", 32, 5, False), ("8x1", 32, 5, True), torch.device("cpu")
    assert learning.possible([plainly], cpu) == ([plainly], [])
    assert learning.possible([plainly, compiled], cpu) == ([plainly], ["8x1 compiled"])
    assert learning.possible([compiled], cpu) == ([plainly], ["8x1 compiled"])


def test_greedy_programs_may_differ_by_ties_only(corpus3: Corpus, split3: Split) -> None:
    model = Synthesizer(ModelConfig(width=8, layers=1, heads=2), POLYNOMIAL, 3).eval()
    tasks = tasks_by_part(corpus3, split3)["id"]
    programs = bare.decode_without_cache(model, tasks, 7)
    assert np.array_equal(programs, decode(model, tasks).prefix)
    assert bare.widest_tie(model, tasks, programs, programs) == (0, 0.0)
    others = programs.copy()
    others[0, 0] = (programs[0, 0] + 1) % 8
    num, tie = bare.widest_tie(model, tasks, programs, others)
    assert num == 1 and tie > 0


def test_disagreement_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = peers.Peer("wrong", None, np.float64, False, lambda grammar, prefix: prefix, lambda rows, points: rows)
    monkeypatch.setattr(peers, "PEERS", (wrong,))
    with pytest.raises(SystemExit, match="disagreement: wrong"):
        evaluation.bench_evaluation(1, leaves=3, num=10, num_points=64, subset=5)
    history = pd.DataFrame([(1, "loss", 2.0), (10, "loss", 1.0)], columns=["step", "name", "value"])
    losses = {1: torch.tensor(2.0), 10: torch.tensor(1.01)}
    with pytest.raises(SystemExit, match="disagreement: loss of step 10"):
        learning.check_losses(SimpleNamespace(history=history), SimpleNamespace(losses=losses), torch.device("cpu"))
    monkeypatch.setattr(plain, "enumerate_functions", lambda *arguments: ([5, 30], 35))
    with pytest.raises(SystemExit, match="disagreement: functions by size"):
        enumeration.bench_against_plain(1, leaves=2)


@pytest.fixture(scope="module")
def library3() -> Library:
    return Library.build(POLYNOMIAL, 3)


@pytest.mark.parametrize("name", dictionaries.DICTIONARIES)
def test_dictionaries_find_the_halves_that_all_pairs_have(library3: Library, name: str) -> None:
    outputs, sizes = grid_outputs(POLYNOMIAL, library3.table.text()), library3.table.sizes.astype(int)
    small = range(library3.num_up_to(2))
    halves: dict[bytes, int] = {row.tobytes(): 0 for row in outputs}
    for a in sorted(small, key=lambda row: sizes[row]):
        for made in (outputs[a] + outputs, outputs[a] - outputs, outputs - outputs[a], outputs[a] * outputs):
            for b in np.flatnonzero(sizes[a] + sizes <= 5):
                halves.setdefault(made[b].tobytes(), sizes[a])
    dictionary = dictionaries.DICTIONARIES[name](library3)
    keys = list(halves)
    wanted = [np.frombuffer(keys[k], dtype=np.int64) for k in np.random.default_rng(0).choice(len(keys), 200)]
    assert [dictionary.smaller_half(w, 5) for w in wanted] == [halves[w.tobytes()] for w in wanted]
    assert dictionary.smaller_half(wanted[0] + 10**6, 5) == -1


def test_searches_that_disagree_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionaries.Tuples, "smaller_half", lambda *arguments: 7)
    with pytest.raises(SystemExit, match="disagreement: dictionary of tuples"):
        search.bench_dictionaries(1, 3, 2, [5])
    answers = iter([1, 2])
    with pytest.raises(SystemExit, match="disagreement: unsteady, asked again"):
        search.in_turns({"unsteady": lambda: next(answers)}, 1)


def test_search_targets_are_met_by_either_clock_or_not() -> None:
    asked = [{"leaves": 16, "hardest": False, "targets_per_s": 90.0, "targets_per_cpu_s": 110.0}]
    library = {"grammar": "polynomial", "leaves": 6, "median_s": 0.5, "cpu_s": 0.25, "asked": asked}
    two = {"library_leaves": 6, "leaves": 11, "slowest_s": 1.0, "slowest_cpu_s": 0.5, "first_slowest_s": 31.0,
           "first_slowest_cpu_s": 29.0}  # fmt: skip
    found = search.targets({"libraries": [library], "two_levels": two})
    verdicts = [(target["met"], target["met_by_cpu"]) for target in found]
    assert verdicts == [(True, True), (None, None), (False, True), *[(None, None)] * 3, (False, True)]


@pytest.mark.parametrize("arithmetic", plain.ARITHMETICS)
def test_plain_enumeration_finds_the_published_counts(arithmetic: str) -> None:
    counts, _ = plain.enumerate_functions(POLYNOMIAL, 4, arithmetic)
    assert (sum(counts[:3]), counts[0]) == (278, 5)
