"""Contests: equal terms, tasks that are what they claim, tables that are made once and published."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from synthlab.arenas import LargerArena
from synthlab.errors import ConfigurationError
from synthlab.lab import Lab
from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.identity import fingerprints, grid_codes, identity_algebra
from synthlab.search.budget import Budget
from synthlab.search.library import Library
from synthlab.search.problem import Problem
from synthlab.search.symbolic import LibraryLookup
from synthlab.splits.split import Split
from synthlab.study import contests, search_study
from synthlab.study.larger_contest import hard_tasks, training_texts
from synthlab.study.search_study import (
    RESULTS,
    ROUND_COSTS,
    ROUNDS,
    SCALING,
    SETUPS,
    TABLES,
    search_key,
    search_tables,
)
from synthlab.universe.enumeration import enumerate_functions

COSTS = ["seconds", "programs", "lookups", "tokens", "flops"]


@pytest.fixture(scope="module")
def tables(small_lab, small_preset):
    return search_tables(small_preset, small_lab.workspace)


def test_every_table_is_there_with_its_tags(tables, small_preset):
    assert tuple(tables) == TABLES
    results, setups = tables[RESULTS], tables[SETUPS]
    tags = ["seed", "grammar", "arena", "method", "kind"]
    assert {*tags, "part", "class_id", "leaves", "solved", "found", "stopped", "tested", *COSTS} <= set(results)
    assert {*tags, *COSTS} <= set(setups)
    assert set(results["arena"]) == {"universe", "larger", "formulas"}
    assert (results["tested"] == results["programs"] + results["lookups"]).all()
    merged = results.merge(setups[tags], on=tags, how="left", indicator=True)
    assert (merged["_merge"] == "both").all() and len(merged) == len(results)  # one setup a method


def test_every_method_works_on_the_same_tasks(tables):
    for _, rows in tables[RESULTS].groupby(["seed", "grammar", "arena", "part"]):
        asked = rows.groupby("method")["class_id"].agg(list)
        assert all(ids == asked.iloc[0] for ids in asked)
        sizes = rows.groupby("method")["leaves"].agg(list)
        assert all(found == sizes.iloc[0] for found in sizes)


def test_what_was_found_cost_no_more_than_the_budget_and_is_the_function(tables, small_preset):
    results = tables[RESULTS]
    universe = results[results["arena"] == "universe"]
    assert universe.loc[universe["kind"] == "symbolic", "solved"].mean() > 0.5
    assert not (results["solved"] & ~results["found"]).any()
    assert (results.loc[results["found"], "agreement"] == 1).all()
    assert (results.loc[results["stopped"] == "found", "found"]).all()


def test_a_library_of_the_whole_universe_solves_all_of_it(tables):
    rows = tables[RESULTS].query("arena == 'universe' and method == 'meet in the middle'")
    assert len(rows) and rows["solved"].all() and (rows["programs"] == 0).all()


def test_completing_its_candidates_never_loses_what_a_model_solves(tables):
    keys = ["trial", "part", "class_id"]
    wide = tables[SCALING].pivot(index=keys, columns="method", values="solved")
    assert len(wide) and (wide["hole completion"] | ~wide["model, beam"]).all()
    assert wide["hole completion"].sum() > wide["model, beam"].sum()


def test_expert_iteration_is_there_for_every_seed(tables, small_preset):
    assert set(tables[ROUNDS]["seed"]) == set(tables[ROUND_COSTS]["seed"]) == set(small_preset.seeds)
    assert set(tables[ROUNDS]["arm"]) == {"expert iteration", "placebo"}


# ---------------------------------------------------------------- tasks beyond the universe


ARENA = LargerArena(size=9, library=2, trained_size=5, num_trained=300, num_tasks=5, guide_targets=100, part_size=1)


@pytest.fixture(scope="module")
def hard():
    library = Library.build(POLYNOMIAL, ARENA.library)
    return library, *hard_tasks(ARENA, library, 0)


def test_hard_tasks_are_beyond_two_functions_of_the_library(hard):
    library, tasks, texts = hard
    table = enumerate_functions(POLYNOMIAL, identity_algebra(POLYNOMIAL), ARENA.library)
    values = [tuple(row) for row in grid_codes(POLYNOMIAL, table.text()).tolist()]
    pairs = _all_pairs(np.array(values, dtype=object))
    for row in tasks.codes.tolist():
        assert tuple(row) not in values and tuple(row) not in pairs
    assert len(tasks) == ARENA.num_tasks and (grid_codes(POLYNOMIAL, texts) == tasks.codes).all()
    assert not LibraryLookup(library).solve(Problem.of(tasks, 0), Budget(seconds=60)).found


def _all_pairs(values):
    prime = (1 << 61) - 1
    return {
        tuple(int(v) % prime for v in combined)
        for one in values for two in values for combined in (one + two, one - two, one * two)
    }  # fmt: skip


def test_no_training_text_computes_a_task(hard):
    _, tasks, _ = hard
    texts = training_texts(ARENA, tasks, 0)
    taught = {tuple(row) for row in fingerprints(POLYNOMIAL, texts).tolist()}
    assert len(texts) >= 0.9 * ARENA.num_trained
    assert not taught & {tuple(row) for row in tasks.fingerprints.tolist()}


def test_an_arena_that_is_too_easy_is_refused(hard, monkeypatch):
    library = hard[0]
    monkeypatch.setattr(
        LibraryLookup,
        "solve_all",
        lambda self, problems, budget: [SimpleNamespace(found=True, stopped="found")] * len(problems),
    )
    with pytest.raises(ConfigurationError, match=r"0 of 90 programs of 9 leaves .* raise the size"):
        hard_tasks(ARENA, library, 0)
    with pytest.raises(ConfigurationError, match="larger than the one before"):
        LargerArena(size=10, trained_size=10)


# ---------------------------------------------------------------- kept and published


def test_contests_are_held_once(tables, small_lab, small_preset, monkeypatch):
    monkeypatch.setattr(contests, "solve", None)  # whoever solves again fails
    again = search_tables(small_preset, small_lab.workspace)
    for name in TABLES:
        pd.testing.assert_frame_equal(again[name], tables[name])


def test_an_interrupted_contest_is_no_result(small_lab, small_preset, monkeypatch):
    def interrupted(*arguments, **options):
        return pd.DataFrame({"stopped": ["found", "interrupted"]})

    monkeypatch.setattr(contests, "solve", interrupted)
    preset = replace(small_preset, contests=replace(small_preset.contests, num_candidates=7))
    before = set(small_lab.store.root.glob("contest/*"))
    with pytest.raises(KeyboardInterrupt):
        contests.universe_contest(preset, small_lab.workspace, 0)
    assert set(small_lab.store.root.glob("contest/*")) == before


def test_a_lab_publishes_its_contests_and_reads_them(tables, small_lab, small_preset, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHLAB_RESULTS", str(tmp_path))
    lab = Lab(small_preset, store=small_lab.store, progress=False)
    first = lab.contests()
    monkeypatch.setattr(search_study, "search_tables", None)
    for name, frame in lab.contests().items():
        pd.testing.assert_frame_equal(frame, first[name])
    more_seeds = Lab(replace(small_preset, seeds=(0, 1)), store=small_lab.store, progress=False)
    assert set(more_seeds.contests()) == set(TABLES)
    path = lab.output_folder / f"{SETUPS}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"made_from": "another"}))
    assert lab._known_contests() is None  # tables of two makings are none


def test_the_key_follows_the_settings_but_not_the_seeds(small_preset):
    assert search_key(small_preset) == search_key(replace(small_preset, seeds=(3, 4)))
    other = replace(small_preset.contests, seconds=9.0)
    assert search_key(small_preset) != search_key(replace(small_preset, contests=other))


def test_the_runs_of_contests_are_those_of_the_study(small_lab, small_preset):
    trial = contests.root_trial(small_preset, 0)
    corpus, split, run = contests.trained(small_lab.workspace, trial)
    assert isinstance(split, Split) and run.finished and run.split_key == split.key
    assert split.corpus == corpus.identity
