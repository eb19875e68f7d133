"""A verdict: both sides on the same tasks, nothing but outputs shown, and every second on somebody's bill."""

import json
import os
import signal
from dataclasses import replace

import languages
import numpy as np
import pandas as pd
import psutil
import pytest

from synthlab.assessment.correctness import SOLVED
from synthlab.assessment.metrics import estimate
from synthlab.assessment.tasks import tasks_of
from synthlab.durable import exclusive
from synthlab.errors import ConfigurationError, InUseError, SplitError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL, get_grammar
from synthlab.learning.evaluation import evaluate_run, evaluations
from synthlab.presets import ModelConfig, TrainingConfig, get_preset
from synthlab.search.budget import Cost
from synthlab.search.library import Library
from synthlab.search.problem import COMPLETE, FOUND, INTERRUPTED, SPENT, Result
from synthlab.splits.density import density_settings, density_split
from synthlab.store import Store
from synthlab.study import equal_cost, verdict_progress
from synthlab.study.equal_cost import model_answers, one_by_one, search_answers, training_seconds
from synthlab.study.verdict import Verdict, draw_tasks, hold_verdict, verdict_key, verdict_settings
from synthlab.study.verdict_progress import Diary, progress_folder, read_progress
from synthlab.universe.corpus import build_corpus

MODEL = ModelConfig(width=8, layers=1, heads=2)
SHORT = TrainingConfig(num_steps=12, batch_size=32, num_checks=2)
PLENTY = 600.0


def hold(corpus, split, store, training=SHORT, **options):
    settings = {"model": MODEL, "training": training, "tasks": 12, "progress": False, **options}
    return hold_verdict(corpus, split, store=store, **settings)


@pytest.fixture(scope="module")
def held(corpus3, split3, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("verdict"))
    return hold(corpus3, split3, store), store


@pytest.fixture(scope="module")
def tasks4(corpus4, split4):
    return tasks_of(corpus4, np.union1d(split4.tests["id"], split4.tests["forced"]))


# ---------------------------------------------------------------- equal cost, with a clock that the test turns


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now

    process_time = perf_counter


class Timed:
    """A solver that needs so many seconds for each problem, and finds nothing in less."""

    name = "timed"

    def __init__(self, clock, needs, overshoot=0.0):
        self.clock, self.needs, self.overshoot, self.asked = clock, needs, overshoot, []

    def solve(self, problem, budget):
        self.asked.append((problem, budget.seconds))
        found = self.needs[problem] <= budget.seconds
        self.clock.now += min(self.needs[problem], budget.seconds + self.overshoot)
        return Result(self.name, None, problem if found else None, float(found), Cost(), FOUND if found else SPENT)


@pytest.fixture
def clock(monkeypatch):
    turned = Clock()
    monkeypatch.setattr(equal_cost, "time", turned)
    return turned


def test_search_never_gets_more_than_the_model_took(clock):
    solver = Timed(clock, [0.5] * 10)
    results, skipped = one_by_one(solver, range(10), 2.0, 2.0)
    assert clock.now <= 2.0 and skipped == 0
    assert sum(r.best is not None for r in results) == 0  # an equal share is 0.2 for each


@pytest.mark.parametrize("hard", range(10))
def test_what_easy_problems_leave_goes_to_hard_ones(clock, hard):
    needs = [0.01] * 10
    needs[hard] = 0.9  # over its equal share, whenever it is asked
    solver = Timed(clock, needs)
    results, _ = one_by_one(solver, range(10), 2.0, 2.0)
    assert [r.best for r in results] == list(range(10)) and clock.now <= 2.0


def test_no_problem_gets_more_than_its_cap_though_seconds_are_left(clock):
    solver = Timed(clock, [5.0, 1.9])
    results, skipped = one_by_one(solver, range(2), 100.0, 2.0)
    assert [r.best for r in results] == [None, 1] and skipped == 0
    assert [problem for problem, _ in solver.asked].count(0) == 1 and clock.now <= 4.0


def test_an_answer_after_the_last_second_counts_as_none(clock):
    solver = Timed(clock, [0.0, 0.0])
    solver.solve = lambda problem, budget: (
        setattr(clock, "now", clock.now + 3.0) or Result("late", None, 7, 1.0, Cost(), FOUND)
    )
    results, skipped = one_by_one(solver, range(2), 2.0, 2.0)
    assert [r.best for r in results] == [None, None] and skipped == 1


def test_nothing_is_asked_when_the_library_alone_cost_too_much(clock):
    solver = Timed(clock, [0.0] * 3)
    assert one_by_one(solver, range(3), -0.5, 2.0)[1] == 3 and not solver.asked


def test_problems_are_asked_in_a_random_order_that_the_seed_decides(clock):
    orders = []
    for seed in (0, 0, 1):
        solver = Timed(clock, [0.0] * 30)
        one_by_one(solver, range(30), 9.0, 2.0, seed)
        orders.append([problem for problem, _ in solver.asked])
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == list(range(30)) != orders[0]


def test_a_search_that_is_complete_is_not_asked_again(clock):
    solver = Timed(clock, [0.0])
    solver.solve = lambda problem, budget: solver.asked.append(problem) or Result("", None, None, 0.0, Cost(), COMPLETE)
    one_by_one(solver, range(3), 9.0, 2.0)
    assert len(solver.asked) == 3


def test_an_interrupted_search_is_no_result(clock):
    solver = Timed(clock, [0.0])
    solver.solve = lambda problem, budget: Result("", None, None, 0.0, Cost(), INTERRUPTED)
    with pytest.raises(KeyboardInterrupt):
        one_by_one(solver, range(3), 9.0, 2.0)


# ---------------------------------------------------------------- the two sides


def test_search_with_enough_seconds_reaches_the_whole_universe(tasks4):
    first, second = search_answers(tasks4, PLENTY, PLENTY)
    assert (first.kind, second.kind) == ("search", "search") and first.solver != second.solver
    assert first.solved.all() and second.solved.all() and first.on_grid.all() and second.on_grid.all()
    assert first.bill.setup_seconds > 0 and first.bill.total < PLENTY


def test_no_library_holds_the_universe(tasks4, monkeypatch):
    sizes, build = [], Library.build.__func__
    monkeypatch.setattr(
        Library, "build", classmethod(lambda cls, *asked: (sizes.append(asked[1]), build(cls, *asked))[1])
    )
    search_answers(tasks4.take(slice(3)), PLENTY, PLENTY)
    assert sizes and max(sizes) == tasks4.max_size - 1


def test_search_without_seconds_solves_nothing(tasks4):
    for answers in search_answers(tasks4, 1e-9, 2.0):
        assert not answers.solved.any() and not answers.on_grid.any()


def test_neither_side_is_shown_which_function_is_meant(tasks4, trained4, monkeypatch):
    """With other identities the same programs are submitted; only the checker tells them apart."""
    other = replace(tasks4, fingerprints=tasks4.fingerprints[::-1].copy(), class_id=tasks4.class_id[::-1].copy())
    seen, judged = [], equal_cost.check
    monkeypatch.setattr(equal_cost, "check", lambda t, c: (seen.append(c.prefix), judged(t, c))[1])
    for tasks in (tasks4, other):
        answers = model_answers(trained4, tasks, 4) + search_answers(tasks, PLENTY, PLENTY)
    assert all(np.array_equal(one, two) for one, two in zip(seen[:4], seen[4:], strict=True))
    assert not np.concatenate([a.solved for a in answers[2:]]).any()  # right on the grid, another function


def test_the_model_answers_as_it_does_everywhere_else(corpus4, split4, trained4):
    table = evaluate_run(trained4, corpus4, split4)
    beams = evaluations(trained4, corpus4, split4, beam=4, num_samples=4, grammatical=True)
    for part, ids in split4.tests.items():
        tasks = tasks_of(corpus4, ids)
        greedy, best = model_answers(trained4, tasks, 4)
        rows = table[table["part"] == part].set_index("class_id")["solved"]
        assert np.array_equal(greedy.solved, rows.loc[tasks.class_id])
        right = beams[part].on_grid.reshape(len(tasks), -1).any(axis=1)
        assert np.array_equal(best.on_grid, right)
        assert np.array_equal(best.solved[right], (beams[part].submitted() == SOLVED)[right])


def test_the_model_pays_for_its_training_without_the_checks(trained4, tasks4):
    for answers in model_answers(trained4, tasks4, 2):
        bill = answers.bill
        assert 0 < bill.setup_seconds == training_seconds(trained4) < trained4.cost["seconds"]
        assert bill.total == bill.setup_seconds + bill.seconds and np.isnan(bill.allowed) and bill.seconds > 0


def _all_tasks(grammar, size, measure):
    corpus = build_corpus(grammar, size, measure=measure)
    return tasks_of(corpus, corpus.class_id[corpus.is_task])


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(RATIONAL, 3, "leaves"), (POLYNOMIAL, 5, "nodes"), (languages.REVERSED, 2, "leaves")],
    ids=languages.label,
)
def test_no_function_is_beyond_a_library_of_smaller_ones(grammar, size, measure):
    first, second = search_answers(_all_tasks(grammar, size, measure), PLENTY, PLENTY)
    assert first.solver.startswith("meet in the middle") and first.on_grid.all() and second.on_grid.all()


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [
        (languages.HALVES, 2, "leaves"), (POLYNOMIAL, 1, "depth"), (POLYNOMIAL, 1, "leaves"),
        (languages.UNARY, 4, "nodes"), (get_grammar("piecewise"), 2, "leaves"), (languages.TERNARY, 3, "leaves"),
    ],
    ids=languages.label,
)  # fmt: skip
def test_where_a_library_cannot_reach_everything_enumeration_is_the_opponent(grammar, size, measure):
    (only,) = search_answers(_all_tasks(grammar, size, measure), PLENTY, PLENTY)
    assert only.solver == "bottom-up enumeration" and only.on_grid.all()


# ---------------------------------------------------------------- the verdict


def test_all_solvers_answer_the_same_tasks_of_every_part(held, split3):
    results = held[0].results
    for part, rows in results.groupby("part"):
        asked = rows.groupby("solver")["class_id"].agg(list)
        assert len(asked) == 4 and all(ids == asked.iloc[0] for ids in asked)
        assert set(asked.iloc[0]) <= set(split3.tests[part]) and len(asked.iloc[0]) <= 12
    assert set(results["part"]) == {part for part, ids in split3.tests.items() if len(ids)}
    same = results.groupby(["solver", "class_id"])["solved"].nunique()
    assert (same == 1).all()  # a class that is in several parts is asked once


def test_shares_and_intervals_are_those_of_the_results(held):
    verdict = held[0]
    for row in verdict.parts.itertuples():
        rows = verdict.results[(verdict.results["part"] == row.part) & (verdict.results["solver"] == row.solver)]
        found = estimate(rows)
        assert (row.solved, row.low, row.high, row.num_tasks) == (found.value, found.low, found.high, len(rows))
        assert row.mean_leaves == rows["leaves"].mean()


def test_search_is_allowed_what_the_greedy_model_took(held):
    costs = held[0].costs.set_index("solver")
    model = costs.loc["model, greedy"]
    searches = costs[costs["kind"] == "search"]
    assert len(searches) == 2 and np.allclose(searches["allowed_seconds"], model["total_seconds"])
    assert (costs["total_seconds"] == costs["setup_seconds"] + costs["task_seconds"]).all()
    assert (costs["num_tasks"] == held[0].results["class_id"].nunique()).all()
    assert model["setup_cpu_seconds"] > 0 and model["device"].startswith("CPU")


def test_one_line_says_shares_seconds_of_both_and_the_hedge(held):
    text = str(held[0])
    assert "\n" not in text and "Held out: root operator *" in text
    for words in ("greedy: id ", "forced ", "matched: ", "Search (meet in the middle", "Seconds: model ", "search "):
        assert words in text
    assert "Exploratory: one seed, one split, one run of 12 steps, joint shift." in text


def test_sizes_are_those_of_whole_parts(held, corpus3, split3):
    pd.testing.assert_frame_equal(held[0].sizes, split3.histogram(corpus3))


def test_a_verdict_is_loaded_not_reached_again(held, corpus3, split3, monkeypatch):
    first, store = held
    monkeypatch.setattr("synthlab.study.verdict.audit_corpus", None)  # whoever begins again fails
    again = hold(corpus3, split3, store)
    assert again.key == first.key == verdict_key(split3.key, MODEL, SHORT, 12) and str(again) == str(first)
    for name in ("parts", "costs", "sizes", "results", "history"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(first, name))
    assert store.verify() == []


def test_other_settings_are_another_verdict(split3):
    keys = {verdict_key(split3.key, MODEL, SHORT), verdict_key(split3.key, MODEL, SHORT, 12)}
    keys |= {verdict_key(split3.key, MODEL, replace(SHORT, seed=1)), verdict_key("other", MODEL, SHORT)}
    assert len(keys) == 4


def test_a_finished_run_is_used_and_its_seconds_are_called_old(held, corpus3, split3):
    verdict = hold(corpus3, split3, held[1], tasks=5)
    assert verdict.about["trained_here"] is False and "measured earlier on CPU" in str(verdict)
    assert np.isnan(verdict.costs["setup_cpu_seconds"].iloc[0])
    old, new = (v.costs["setup_seconds"].iloc[0] for v in (held[0], verdict))
    assert old == new


def test_classes_drawn_repeatedly_weigh_as_often(corpus3, spaces3, store):
    settings = density_settings(regime="class", num_train=150, num_cells=5, num_test=40)
    split = density_split(corpus3, spaces3, settings)
    verdict = hold(corpus3, split, store, tasks=40)
    weights = verdict.results[verdict.results["solver"] == "model, greedy"].groupby("part")["weight"].sum()
    assert weights.to_dict() == {part: min(40, len(ids)) for part, ids in split.tests.items()}
    assert str(verdict).startswith("A density split. Model 8x1") and "matched" not in str(verdict)


@pytest.fixture(scope="module")
def spaces3(corpus3):
    from synthlab.spaces.semantic import fit_semantic
    from synthlab.spaces.syntactic import fit_syntactic

    return {"syntactic": fit_syntactic(corpus3), "semantic": fit_semantic(corpus3)}


def test_matched_pairs_stay_pairs(split4):
    pairs = set(zip(split4.tests["matched_id"], split4.tests["matched_forced"], strict=True))
    drawn = draw_tasks(split4, 7, seed=3)
    assert set(zip(drawn["matched_id"], drawn["matched_forced"], strict=True)) <= pairs
    assert all(len(ids) == min(7, len(split4.tests[part])) for part, ids in drawn.items())
    other = draw_tasks(split4, 7, seed=4)
    assert any(not np.array_equal(drawn[part], other[part]) for part in drawn)


def test_a_part_without_tasks_is_left_out(split4):
    assert "open" not in draw_tasks(replace(split4, tests=split4.tests | {"open": np.empty(0, int)}), 3, 0)


def test_the_settings_of_a_preset_are_those_of_its_short_runs():
    model, training = verdict_settings(get_preset("quick"))
    assert (model.name, training.num_steps, training.batch_size, training.num_checks) == ("64x2", 800, 128, 8)
    _, shorter = verdict_settings(get_preset("quick"), steps=3, seed=2)
    assert (shorter.num_steps, shorter.num_checks, shorter.seed) == (3, 3, 2)


# ---------------------------------------------------------------- refused, interrupted, watched


def test_a_split_that_leaks_is_refused_before_it_is_trained_on(corpus3, split3, store):
    train = split3.train.copy()
    train[0] = split3.tests["forced"][0]
    leaking = replace(split3, train=train, targets=train)
    with pytest.raises(SplitError, match="leaks"):
        hold(corpus3, leaking, store)
    key = verdict_key(leaking.key, MODEL, SHORT, 12)
    progress = read_progress(store, key)
    assert progress.state == "failed" and "leaks" in progress.error and not progress.is_alive
    assert not store.has(Verdict.stage, key) and not (store.root / "run").exists()
    assert not (store.root / "checkpoints").exists()


def test_a_run_that_is_loaded_does_not_spare_the_audit(held, corpus3, split3):
    """The key of a split is that of its settings: contents that were tampered with would pass for it."""
    train = split3.train.copy()
    train[0] = split3.tests["forced"][0]
    with pytest.raises(SplitError, match="leaks"):
        hold(corpus3, replace(split3, train=train, targets=train), held[1], tasks=4)


def test_an_interrupted_verdict_goes_on_from_its_checkpoint(corpus3, split3, store):
    training = replace(SHORT, num_steps=120, num_checks=4)

    def interrupt(history):
        if history["step"].max() == 60:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        hold(corpus3, split3, store, training, watch=interrupt)
    key = verdict_key(split3.key, MODEL, training, 12)
    progress = read_progress(store, key)
    assert progress.state == "stopped" and progress.steps == 120 and list(progress.run.glob("step-*60.ckpt"))
    steps = []
    verdict = hold(corpus3, split3, store, training, watch=lambda history: steps.append(int(history["step"].max())))
    assert steps == [90, 120] and verdict.about["trained_here"] is False
    assert read_progress(store, key).state == "done" and not progress.run.exists()


def test_what_happens_is_written_where_others_read_it(held):
    verdict, store = held
    path = progress_folder(store, verdict.key) / "verdict.json"
    states = [line["state"] for line in json.loads(path.read_text())["lines"]]
    assert states == ["auditing", "training", "solving", "done"]
    progress = read_progress(store, verdict.key)
    assert progress.state == "done" and not progress.is_alive and progress.steps == 12 and progress.seconds > 0


def test_two_processes_do_not_reach_one_verdict(corpus3, split3, store):
    with (
        exclusive(progress_folder(store, verdict_key(split3.key, MODEL, SHORT, 12))),
        pytest.raises(InUseError, match="in use by process"),
    ):
        hold(corpus3, split3, store)


def test_no_tasks_are_refused(corpus3, split3, store):
    with pytest.raises(ConfigurationError, match="at least one"):
        hold(corpus3, split3, store, tasks=0)


# ---------------------------------------------------------------- the file of a verdict under way


@pytest.fixture
def diary(store):
    path = progress_folder(store, "k") / "verdict.json"
    path.parent.mkdir(parents=True)
    return Diary(path)


def rewrite(diary, **changes):
    diary.path.write_text(json.dumps(json.loads(diary.path.read_text()) | changes))


def test_a_process_at_work_is_alive_until_it_says_how_it_ended(store, diary):
    assert read_progress(store, "k") is None
    diary.say("auditing")
    diary.say("training", run="/somewhere", steps=7)
    found = read_progress(store, "k")
    assert (found.state, found.is_alive, str(found.run), found.steps) == ("training", True, "/somewhere", 7)
    diary.say("solving", tasks=3)
    assert read_progress(store, "k").run == found.run
    diary.say("done")
    assert not read_progress(store, "k").is_alive


def test_a_process_that_is_gone_is_not_alive(store, diary):
    diary.say("training")
    rewrite(diary, started=psutil.Process().create_time() - 99)  # the number was given to another process
    assert not read_progress(store, "k").is_alive
    rewrite(diary, process=2**22 + 1)
    assert not read_progress(store, "k").is_alive
    rewrite(diary, host="elsewhere")
    assert read_progress(store, "k").is_alive  # nobody here can know
    with pytest.raises(ConfigurationError, match="elsewhere"):
        verdict_progress.stop(store, "k")


def test_only_a_process_at_work_is_stopped(store, diary, monkeypatch):
    stopped = []
    monkeypatch.setattr(psutil.Process, "terminate", lambda self: stopped.append(self.pid))
    verdict_progress.stop(store, "k")
    diary.say("training")
    rewrite(diary, process=2**22 + 1)
    verdict_progress.stop(store, "k")
    assert stopped == []
    rewrite(diary, process=os.getpid())
    verdict_progress.stop(store, "k")
    assert stopped == [os.getpid()]


def test_a_process_that_ended_and_was_not_waited_for_is_not_alive(store, diary, monkeypatch):
    diary.say("training")
    monkeypatch.setattr(psutil.Process, "status", lambda self: psutil.STATUS_ZOMBIE)
    assert not read_progress(store, "k").is_alive


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"lines": []}', '{"lines": [{"state": "training"}]}'])
def test_what_cannot_be_read_is_no_progress(store, diary, content):
    diary.path.write_text(content)
    assert read_progress(store, "k") is None
