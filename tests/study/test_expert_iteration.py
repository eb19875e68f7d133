"""What search finds trains the next model, and nothing that is tested is ever taught."""

import math
import shutil
from dataclasses import replace

import naive
import numpy as np
import pandas as pd
import pytest

from synthlab.errors import ConfigurationError, SplitError
from synthlab.language import grammar as grammars
from synthlab.language.grammar import Grammar, Grid, register
from synthlab.language.identity import grid_codes
from synthlab.language.operator import ADD, MULTIPLY, SUBTRACT
from synthlab.learning import evaluation
from synthlab.learning.run import Run
from synthlab.learning.training import train
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.search.budget import Budget, Cost
from synthlab.search.problem import Solver
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings, support_split
from synthlab.store import Store
from synthlab.study.expert_iteration import ITERATED, PLACEBO, expert_iteration
from synthlab.study.practice import audit_practice, draw_practice, practice_split, teachable
from synthlab.universe.corpus import build_corpus

MODEL = ModelConfig(width=32, layers=1, heads=2)
TRAINING = TrainingConfig(num_steps=100, batch_size=64, learning_rate=1e-2, num_checks=0)
QUICK = replace(TRAINING, num_steps=4)
BUDGET = Budget(seconds=math.inf, programs=1000)
SHARE = 0.4


class Listed(Solver):
    """Answers with a listed text that has the outputs: the least, or the last of all."""

    def __init__(self, corpus, *, most=9, last=False, setup=Cost()):  # noqa: B008
        self.name, self.setup, self.asked = f"listed up to {most}{', last' * last}", setup, []
        self.corpus, self.most, self.last, self.rows = corpus, most, last, {}
        for row, codes in enumerate(grid_codes(corpus.grammar, corpus.prefix)):
            self.rows.setdefault(codes.tobytes(), []).append(row)

    def search(self, attempt):
        self.asked.append(attempt.problem)
        rows = self.rows[attempt.problem.codes.tobytes()]
        if self.corpus.leaves[rows[0]] <= self.most:
            attempt.consider(self.corpus.prefix[[rows[-1 if self.last else 0]]])


class Nothing(Solver):
    """Gives up at once."""

    name = "nothing"

    def search(self, attempt):
        attempt.meter.programs += 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("expert-iteration"))


@pytest.fixture(scope="module")
def runs():
    """Models from which a solver was asked for."""
    return []


@pytest.fixture(scope="module")
def solvers(corpus3):
    return [Listed(corpus3, most=2, setup=Cost(seconds=2.0, flops=5.0)), Listed(corpus3)]


@pytest.fixture(scope="module")
def study(corpus3, split3, folder, runs, solvers):
    """Two rounds: the first solver finds the smallest programs only, the second all that the first did not."""

    def solver_of(run):
        runs.append(run)
        return solvers[len(runs) - 1]

    return iterate(corpus3, split3, solver_of, folder, TRAINING, rounds=2, share=SHARE)


def iterate(corpus, split, solver_of, store, training=QUICK, **options):
    return expert_iteration(corpus, split, MODEL, training, solver_of, BUDGET, store=store, **options)


def functions(corpus, ids):
    """Normal forms of programs, by polynomial expansion."""
    tokens = ([corpus.grammar.tokens[t] for t in corpus.program(int(i)).prefix] for i in ids)
    return {frozenset(naive.expand(naive.tree(t, naive.POLYNOMIAL_ARITIES)).items()) for t in tokens}


def derived_splits(store):
    """Splits with found programs, by how much was found."""
    loaded = [Split.load(store, path.name.split("-")[-1]) for path in (store.root / "split").glob("practice-*")]
    return sorted(loaded, key=lambda split: len(split.settings["practice"]["found"]))


def seen_functions(corpus, split):
    return functions(corpus, np.union1d(split.train, split.targets))


# ---------------------------------------------------------------- practice and tests


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_practice_and_tests_share_no_function_and_halve_every_size(corpus3, split3, seed):
    practice = draw_practice(corpus3, split3, ("forced", "id"), seed)
    assert functions(corpus3, practice.practiced).isdisjoint(functions(corpus3, practice.tested))
    for part, practiced in practice.classes.items():
        whole, tested = split3.tests[part], practice.tests[part]
        assert set(practiced) | set(tested) == set(whole) and len(practiced) + len(tested) == len(whole)
        for leaves in (1, 2, 3):
            sizes = [int((corpus3.leaves[ids] == leaves).sum()) for ids in (practiced, tested)]
            assert sizes[1] - sizes[0] in (0, 1)
    assert set(practice.tests) == set(split3.tests)
    assert np.isin(practice.tests["open"], practice.classes["id"]).sum() == 0 < len(practice.tests["open"])


def test_matched_tests_stay_pairs(corpus3, split3):
    practice = draw_practice(corpus3, split3, ("forced", "id"), 0)
    before = list(zip(split3.tests["matched_id"], split3.tests["matched_forced"], strict=True))
    after = list(zip(practice.tests["matched_id"], practice.tests["matched_forced"], strict=True))
    gone = set(practice.practiced.tolist())
    assert after == [pair for pair in before if not gone & set(pair)] and 0 < len(after) < len(before)


def test_the_seed_decides_what_is_practiced_and_other_practice_does_not(corpus3, split3):
    drawn = {seed: draw_practice(corpus3, split3, ("forced", "id"), seed).classes for seed in (0, 1)}
    assert not np.array_equal(drawn[0]["forced"], drawn[1]["forced"])
    for part in ("forced", "id"):
        alone = draw_practice(corpus3, split3, (part,), 0)
        assert np.array_equal(alone.classes[part], drawn[0][part])
        other = {"forced": "id", "id": "forced"}[part]
        assert np.array_equal(alone.tests[other], split3.tests[other])


def test_what_cannot_be_practiced_is_refused(corpus3, split3):
    with pytest.raises(ConfigurationError, match=r"share \d+ classes"):
        draw_practice(corpus3, split3, ("id", "open"), 0)
    with pytest.raises(ConfigurationError, match=r"'mine'.*choose from id, forced"):
        draw_practice(corpus3, split3, ("mine",), 0)
    with pytest.raises(ConfigurationError, match="support split"):
        draw_practice(corpus3, replace(split3, kind="density"), ("forced",), 0)
    random = replace(split3, settings=split3.settings | {"policy": "random"})
    with pytest.raises(ConfigurationError, match="stay the same"):
        draw_practice(corpus3, random, ("forced",), 0)
    single = replace(split3, tests=split3.tests | {"forced": split3.tests["forced"][:1]})
    with pytest.raises(SplitError, match="cannot be halved"):
        draw_practice(corpus3, single, ("forced",), 0)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"share": 1.0}, {"share": -0.1}, {"seed": -1}])
def test_settings_out_of_range_are_refused(corpus3, split3, store, wrong):
    with pytest.raises(ConfigurationError):
        iterate(corpus3, split3, Nothing(), store, **wrong)
    assert not store.root.exists()


# ---------------------------------------------------------------- the derived split


@pytest.fixture(scope="module")
def practice(corpus3, split3):
    return draw_practice(corpus3, split3, ("forced", "id"), 0)


@pytest.fixture(scope="module")
def derived(corpus3, split3, practice):
    """All that could be found, as minimal texts."""
    return practice_split(corpus3, split3, practice, practice.practiced, SHARE)


def test_found_programs_are_their_share_and_repeated_alike(corpus3, split3, practice, derived):
    num = len(split3.train)
    assert np.array_equal(derived.train[:num], split3.train) and np.array_equal(derived.targets[:num], split3.targets)
    found, copies = np.unique(derived.train[num:], return_counts=True)
    assert np.array_equal(found, practice.practiced) and np.ptp(copies) <= 1
    assert copies.sum() / len(derived.train) == pytest.approx(SHARE, abs=1e-3)
    once = practice_split(corpus3, split3, practice, practice.practiced, 0.0)
    assert sorted(once.train[num:]) == practice.practiced.tolist()


def test_the_derived_split_is_another_artifact_and_is_audited_from_its_files(corpus3, split3, practice, derived, store):
    fewer = practice_split(corpus3, split3, practice, practice.practiced[:-1], SHARE)
    less = practice_split(corpus3, split3, practice, practice.practiced, SHARE / 2)
    assert len({split3.key, derived.key, fewer.key, less.key}) == 4
    loaded = Split.load(store, derived.save(store))
    assert loaded.kind == "practice" and loaded.key == derived.key
    report = audit_practice(loaded, split3, corpus3)
    assert report.passed and len(report.findings) == 20


def test_a_split_needs_something_found(corpus3, split3, practice):
    with pytest.raises(SplitError, match="nothing was found"):
        practice_split(corpus3, split3, practice, np.empty(0, dtype=np.int64), SHARE)


def twin(corpus, class_id):
    """The last text of a class."""
    return int(np.flatnonzero(corpus.class_index == corpus.class_rows(np.array([class_id]))[0])[-1])


def with_item(split, program, *, found=True):
    """One more training item, listed as found or not."""
    listed = split.settings["practice"] | {"found": sorted({*split.settings["practice"]["found"], program} if found
                                                          else split.settings["practice"]["found"])}  # fmt: skip
    return replace(
        split, train=np.append(split.train, program), targets=np.append(split.targets, program),
        settings=split.settings | {"practice": listed},
    )  # fmt: skip


@pytest.mark.parametrize("part", ["forced", "id", "matched_forced"])
def test_a_tested_function_in_training_is_refused_wherever_it_is_trained_on(corpus3, derived, store, part):
    leaky = with_item(derived, twin(corpus3, derived.tests[part][0]))
    with pytest.raises(SplitError, match=r"the split leaks .*tested function in training"):
        train(corpus3, leaky, MODEL, QUICK, store=store, progress=False)
    assert not store.root.exists()


def test_a_leak_of_search_is_refused_when_the_split_is_made(corpus3, split3, practice):
    leak = twin(corpus3, practice.tests["forced"][0])
    with pytest.raises(SplitError, match="tested function in training"):
        practice_split(corpus3, split3, practice, np.append(practice.practiced, leak), SHARE)


def failed(derived, split, corpus):
    return {check for check, num, _ in audit_practice(derived, split, corpus).findings if num}


def test_every_change_beside_the_found_programs_is_named(corpus3, split3, practice, derived):
    def audited(split=derived, parent=split3, **changes):
        return failed(replace(split, **changes), parent, corpus3)

    spare = np.setdiff1d(corpus3.class_id, np.concatenate([derived.reserved, practice.practiced]))
    inside = int(spare[corpus3.root[spare] == corpus3.grammar.index["*"]][0])
    outside = int(np.setdiff1d(split3.train, derived.settings["practice"]["found"])[0])
    assert audited() == set()
    assert audited(with_item(derived, inside, found=False)) == {"training item that was not found"}
    assert audited(with_item(derived, outside)) == {"found program without the outputs of a practiced class"}
    assert audited(train=derived.train[::-1], targets=derived.targets[::-1]) >= {
        "training item of the parent that was altered", "training item that was not found"
    }  # fmt: skip
    assert audited(train=split3.train[:9], targets=split3.targets[:9]) == {
        "training item of the parent that was altered", "found program that is not taught"
    }  # fmt: skip
    assert audited(tests=derived.tests | {"forced": split3.tests["forced"]}) >= {
        "practiced function that is tested", "tested function in training", "test class that is not reserved"
    }  # fmt: skip
    assert audited(tests=derived.tests | {"id": derived.tests["forced"]}) == {
        "test class that the parent does not test"
    }
    assert audited(reserved=derived.tests["id"]) >= {
        "test class that is not reserved", "reserved class that is neither practiced nor reserved"
    }  # fmt: skip
    assert audited(parent=replace(split3, settings=split3.settings | {"seed": 7})) == {"split of another parent"}


# ---------------------------------------------------------------- rounds


def test_found_programs_are_right_and_every_one_is_taught(corpus3, split3, study, folder):
    searches, num = study.searches, len(split3.train)
    first, second = derived_splits(folder)
    assert searches.groupby("round")["found"].sum().tolist() == [len(first.settings["practice"]["found"]),
        len(second.settings["practice"]["found"]) - len(first.settings["practice"]["found"])]  # fmt: skip
    for split, number in ((first, 1), (second, 2)):
        found = searches[searches["found"] & (searches["round"] <= number)]
        assert found["right"].all() and len(found)
        assert set(split.train[num:]) == set(found["program_id"]) and np.array_equal(split.train[:num], split3.train)
        assert functions(corpus3, found["program_id"]) == functions(corpus3, found["class_id"])
    shown = searches[searches["found"]]
    assert shown["program"].tolist() == [corpus3.program(i).infix_text() for i in shown["program_id"]]
    assert (searches.loc[~searches["found"], "program_id"] == -1).all() and not searches["found"].all()


def test_no_tested_function_is_ever_trained_on(corpus3, study, folder):
    tested = study.results[~study.results["part"].str.startswith("practice")]["class_id"].unique()
    assert len(tested) > 30
    for split in derived_splits(folder):
        assert set(np.concatenate(list(split.tests.values()))) == set(tested)
        assert functions(corpus3, tested).isdisjoint(seen_functions(corpus3, split))


def test_the_next_solver_is_made_from_the_newest_model_and_asked_what_is_left(study, runs, solvers, folder):
    first, second = derived_splits(folder)
    assert runs[0].key == study.description["run"] and runs[1].split_key == first.key != second.key
    rounds = [study.searches[study.searches["round"] == number] for number in (1, 2)]
    assert [len(r) for r in rounds] == [len(s.asked) for s in solvers]
    left = rounds[0][~rounds[0]["found"]]
    assert rounds[1]["class_id"].tolist() == left["class_id"].tolist() and (left["leaves"] > 2).all()
    assert all(
        {*vars(problem)} == {"grammar", "max_size", "measure", "outputs", "codes"} for problem in solvers[0].asked
    )


def test_the_placebo_differs_in_its_training_programs_alone(study, split3, folder):
    costs = study.costs.set_index(["round", "arm"])
    for number in (0, 1, 2):
        iterated, placebo = (costs.loc[(number, arm)] for arm in (ITERATED, PLACEBO))
        assert iterated["steps"] == placebo["steps"] == TRAINING.num_steps
        assert iterated["training_flops"] == placebo["training_flops"] > 0
        assert placebo["num_train"] == len(split3.train) and placebo[["practiced", "added", "tested"]].sum() == 0
    assert costs.loc[(2, ITERATED), "num_train"] > len(split3.train) / (1 - SHARE) - 1
    saved = [Run.load(folder, path.name.split("-")[-1]) for path in (folder.root / "run").iterdir()]
    by_seed = pd.Series([run.split_key for run in saved], index=[run.training.seed for run in saved])
    keys = [split.key for split in derived_splits(folder)]
    assert by_seed.groupby(level=0).agg(set).tolist() == [{split3.key}, {split3.key, keys[0]}, {split3.key, keys[1]}]


def test_both_arms_answer_the_same_classes_in_every_round(study, corpus3, split3, practice):
    results = study.results
    parts = {**practice.tests, **{f"practice {part}": ids for part, ids in practice.classes.items()}}
    for (number, arm), group in results.groupby(["round", "arm"]):
        assert {part: sorted(ids) for part, ids in parts.items()} == {
            part: sorted(rows["class_id"]) for part, rows in group.groupby("part")
        }, (number, arm)
    before = results[results["round"] == 0]
    one, two = (before[before["arm"] == arm].drop(columns="arm").reset_index(drop=True) for arm in (ITERATED, PLACEBO))
    pd.testing.assert_frame_equal(one, two)
    assert not before["found"].any() and not results.loc[~results["part"].str.startswith("practice"), "found"].any()
    for number in (1, 2):
        known = study.searches[study.searches["found"] & (study.searches["round"] <= number)]["class_id"]
        assert set(results[results["found"] & (results["round"] == number)]["class_id"]) == set(known)


def test_answers_are_those_of_the_models(study, corpus3, split3, folder):
    first = derived_splits(folder)[0]
    paths = [path.name.split("-")[-1] for path in (folder.root / "run").iterdir()]
    taught = next(run for run in (Run.load(folder, key) for key in paths) if run.split_key == first.key)
    for number, run, split in ((0, Run.load(folder, study.description["run"]), split3), (1, taught, first)):
        expected = evaluation.evaluate_run(run, corpus3, split)
        expected = expected.set_index(["part", "class_id"])["solved"]
        rows = study.results[(study.results["round"] == number) & (study.results["arm"] == ITERATED)]
        rows = rows[rows["part"].isin(split.tests)].set_index(["part", "class_id"])["solved"]
        assert len(rows) > 50 and (expected.loc[rows.index] == rows).all()


def test_what_was_found_reaches_the_model(study):
    solved = study.results.groupby(["round", "arm", "part"])["solved"].mean()
    assert solved[2, ITERATED, "practice forced"] > 0.2
    assert solved[2, PLACEBO, "practice forced"] == solved[0, ITERATED, "practice forced"] == 0


def test_costs_add_up(study):
    costs, searches = study.costs, study.searches
    for number in (1, 2):
        row = costs[(costs["round"] == number) & (costs["arm"] == ITERATED)].iloc[0]
        own = searches[searches["round"] == number]
        assert (row["practiced"], row["found"], row["right"]) == (len(own), own["found"].sum(), own["right"].sum())
        assert row["added"] == own["found"].sum() and row["tested"] == own["tested"].sum() > 0
        assert row["search_seconds"] >= own["seconds"].sum() > 0
        roots = own.loc[own["found"], "program"].map(lambda text: "*" in text)
        assert 0 < row["inside"] <= roots.sum()
    assert costs.loc[costs["arm"] == ITERATED, "setup_seconds"].tolist() == [0, 2, 0]
    assert costs.loc[costs["arm"] == ITERATED, "setup_flops"].tolist() == [0, 5, 0]
    for arm in (ITERATED, PLACEBO):
        own, total = costs[costs["arm"] == arm], 0.0
        assert own["round"].tolist() == [0, 1, 2]
        for row in own.itertuples():
            total += row.search_seconds + row.training_seconds
            assert row.seconds == pytest.approx(total)
        assert own["flops"].tolist() == pytest.approx(np.cumsum(own["training_flops"]).tolist())


def test_gains_compare_the_arms_class_by_class(study):
    gains = study.gains().set_index(["round", "part"])
    assert (gains.loc[0, "points"] == 0).all()
    means = study.results.groupby(["round", "part", "arm"])["solved"].mean()
    for at, row in gains.iterrows():
        assert row["points"] == pytest.approx(means[(*at, ITERATED)] - means[(*at, PLACEBO)])
        assert row["low"] <= row["points"] <= row["high"]
    assert gains.loc[(2, "practice forced"), "low"] > 0


# ---------------------------------------------------------------- loading


def no_work(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("this was done before")

    monkeypatch.setattr(evaluation, "train", refuse)
    monkeypatch.setattr(Listed, "search", refuse)


def test_a_finished_study_is_loaded(study, corpus3, split3, folder, monkeypatch):
    no_work(monkeypatch)
    solver = Listed(corpus3, most=2)
    again = iterate(corpus3, split3, lambda _: solver, folder, TRAINING, rounds=2, share=SHARE)
    for name in ("results", "costs", "searches"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(study, name))


def test_an_interrupted_study_goes_on_from_its_last_step(study, corpus3, split3, folder, tmp_path, monkeypatch):
    shutil.copytree(folder.root, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "expert-iteration")
    no_work(monkeypatch)
    solvers = iter([Listed(corpus3, most=2), Listed(corpus3)])
    again = iterate(corpus3, split3, lambda _: next(solvers), Store(tmp_path / "cut"), TRAINING, rounds=2, share=SHARE)
    for name in ("results", "costs", "searches"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(study, name))


def test_an_interrupted_search_is_not_kept(corpus3, split3, store):
    class Impatient(Nothing):
        def search(self, attempt):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        iterate(corpus3, split3, Impatient(), store)
    assert not (store.root / "practice").exists() and (store.root / "run").exists()


# ---------------------------------------------------------------- solvers that find little, or the wrong thing


def test_a_solver_that_finds_nothing_changes_nothing(corpus3, split3, store):
    found = iterate(corpus3, split3, Nothing(), store, rounds=2)
    assert not list((store.root / "split").glob("practice-*")) and len(list((store.root / "run").iterdir())) == 3
    assert (found.costs["num_train"] == len(split3.train)).all() and found.costs["added"].sum() == 0
    one, two = (found.results[found.results["arm"] == arm].drop(columns="arm") for arm in (ITERATED, PLACEBO))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), two.reset_index(drop=True))
    # a fixed solver would find no more the second time
    assert found.costs.loc[found.costs["arm"] == ITERATED, "practiced"].tolist()[2] == 0
    assert found.searches["tested"].sum() == len(found.searches) == found.costs["practiced"].sum() > 0


def test_programs_beyond_the_bound_are_no_finds(corpus3, corpus4, split3, store):
    class Longer(Listed):
        def solve(self, problem, budget):
            return super().solve(replace(problem, max_size=4), budget)

    found = iterate(corpus3, split3, Longer(corpus4, last=True), store, rounds=1, parts=("forced",))
    assert not found.searches["found"].any() and found.costs["added"].sum() == 0


@pytest.fixture
def coarse(monkeypatch):
    """A universe in which many functions share a grid: x * x is x at 0 and 1."""
    monkeypatch.setattr(grammars, "_REGISTRY", dict(grammars._REGISTRY))
    grid = Grid(((0, 1), (0, 1)))
    declared = Grammar(
        name="coarse", variables=("x", "y"), constants=(1, 2), operators=(ADD, SUBTRACT, MULTIPLY), grid=grid
    )
    register(declared)
    return build_corpus(declared, 3)


def test_another_function_with_the_same_outputs_is_taught_unless_it_is_tested(coarse, store):
    settings = support_settings(Region(rule="root", root="*"), reserved=0.3, num_test=60)
    split = support_split(coarse, {}, settings)
    found = iterate(coarse, split, Listed(coarse, last=True), store, rounds=1)
    practice, hits = draw_practice(coarse, split, ("forced", "id"), 0), found.searches
    assert hits["found"].all() and not hits["right"].all() and hits["right"].any()
    programs = np.unique(hits["program_id"])
    taught = set(derived_splits(store)[0].settings["practice"]["found"])
    secret = functions(coarse, np.union1d(practice.tested, np.setdiff1d(split.reserved, practice.practiced)))
    clean = {int(i) for i in programs if functions(coarse, [i]).isdisjoint(secret)}
    assert taught == clean and 0 < len(clean) < len(programs)
    assert set(programs[teachable(coarse, split, practice, programs)].tolist()) == clean
    assert found.costs["added"].sum() == len(clean) < found.costs["found"].sum()
    assert secret.isdisjoint(seen_functions(coarse, derived_splits(store)[0]))
