"""Nothing is lost: studies that are killed, interrupted, sliced or spread find what an undisturbed one finds."""

import _thread
import os
import signal
import threading
import time
import warnings
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from synthlab import deadline
from synthlab.errors import ConfigurationError
from synthlab.language import grammar as grammars
from synthlab.language.grammar import Grammar, register
from synthlab.language.operator import ADD, Operator
from synthlab.learning import evaluation, networks, training
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.regions import Region
from synthlab.splits.support import support_settings
from synthlab.store import Store
from synthlab.study import execution, measures
from synthlab.study import study as studies
from synthlab.study.execution import Job, work
from synthlab.study.study import Study, failure
from synthlab.study.trials import Measures, Outcomes, Trial
from synthlab.study.workspace import Universe, Workspace

SETTINGS = support_settings(Region(rule="root", root="*"), num_test=30, reserved=0.25)
CLOCK = ["seconds", "tokens_per_second"]
STEPS = 60


def trial(seed, num_steps=STEPS, settings=SETTINGS, **changes):
    return Trial(
        tags={"group": "support", "region": "product", "seed": seed}, universe=Universe(max_size=3), kind="support",
        settings=settings, model=ModelConfig(width=8, layers=1, heads=2),
        training=TrainingConfig(num_steps=num_steps, batch_size=16, learning_rate=1e-2, num_checks=1, seed=seed),
    ) if not changes else replace(trial(seed, num_steps, settings), **changes)  # fmt: skip


STUDY = Study("mine", (trial(0, measures=Measures(num_samples=2)), trial(1), trial(2)))
IMPOSSIBLE = trial(3, settings=SETTINGS | {"num_train": 10**6})


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """One thread, so that sums are the same bits everywhere; one trial at a time unless told otherwise."""
    monkeypatch.setenv("SYNTHLAB_WORKERS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store in which the study was run, and nothing happened to it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    STUDY.run(Workspace(store), workers=1, progress=False)
    torch.set_num_threads(before)
    assert store.verify() == []
    return store


@pytest.fixture(scope="module")
def undisturbed(finished):
    """What the study finds when nothing happens to it."""
    tables = STUDY.tables(finished)
    assert len(tables.trials) == 3 and tables.results["support"]["solved"].any()
    return tables


@pytest.fixture
def steps(monkeypatch):
    """Number of training steps taken; `at[n]` is done before the n-th."""
    original = training.program_loss

    class Steps(list):
        def __init__(self):
            self.at = {}

    seen = Steps()

    def watched(*arguments):
        seen.append(len(seen) + 1)
        if len(seen) in seen.at:
            seen.at[len(seen)]()
        return original(*arguments)

    monkeypatch.setattr(training, "program_loss", watched)
    return seen


def run(study, store, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="synthlab")
        return study.run(Workspace(store), progress=False, **options)


def assert_same(tables, expected):
    """Equal to the last bit, but for what the clock says."""
    for one, other in ((tables.results["support"], expected.results["support"]), (tables.trials, expected.trials)):
        one, other = (t.drop(columns=[c for c in CLOCK if c in t]) for t in (one, other))
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert len(tables.failures) == len(expected.failures) == 0


# ---------------------------------------------------------------- Ctrl-C and slices


def test_a_second_run_trains_nothing(undisturbed, finished, monkeypatch):
    def never(*arguments, **flags):
        raise AssertionError("trained again")

    monkeypatch.setattr(evaluation, "train", never)
    monkeypatch.setattr(measures, "measured", never)
    assert_same(run(STUDY, finished), undisturbed)


def test_ctrl_c_keeps_the_checkpoint_and_half_an_outcome_is_none(undisturbed, store, steps):
    steps.at = {STEPS + 20: lambda: signal.raise_signal(signal.SIGINT)}
    with pytest.raises(KeyboardInterrupt):
        run(STUDY, store)
    assert len(steps) == STEPS + 20
    status = STUDY.status(store)
    assert status["state"].tolist() == ["done", "open", "open"] and set(status["reason"]) == {""}
    assert len(list((store.root / Outcomes.stage).glob("*-*"))) == len(list((store.root / "run").glob("*-*"))) == 1
    assert_same(run(STUDY, store), undisturbed)
    assert len(steps) == 3 * STEPS and store.verify() == []  # no step was taken twice


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until `up` is called, which is when the slice ends."""

    class Alarm:
        def __init__(self, at):
            clock.stop_at = at

        def start(self):
            pass

        stop = start

    class Clock:
        now, stop_at, perf_counter = 1e9, 0.0, staticmethod(time.perf_counter)

        def time(self):
            return self.now

        def up(self):
            self.now = self.stop_at
            _thread.interrupt_main()

    clock = Clock()
    clock.true_alarm = deadline.Alarm
    monkeypatch.setattr(deadline, "Alarm", Alarm)
    for module in (studies, execution, deadline):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_slices_add_up_to_one_run(undisturbed, store, steps, clock):
    last = 2 * STEPS  # of the second trial, which then is as good as done
    steps.at = dict.fromkeys((20, 45, last, last + 1), clock.up)
    done = []
    for _ in range(5):
        tables = run(STUDY, store, minutes=0.1)
        done.append((len(steps), len(tables.trials)))
        assert len(tables.failures) == 0 and not (store.root / "failures").exists()
    assert done == [(20, 0), (45, 0), (last, 2), (last + 1, 2), (3 * STEPS, 3)]  # no step was taken twice
    assert_same(tables, undisturbed)


def test_a_deadline_in_the_measuring_loses_no_training(undisturbed, store, steps, clock, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(measures, "measured", lambda *_: clock.up())
        assert len(run(STUDY, store, minutes=0.1).trials) == 0
    assert len(steps) == STEPS and set(STUDY.status(store)["state"]) == {"open"}
    assert not (store.root / "failures").exists() and not list(store.root.glob("outcomes/*"))
    assert_same(run(STUDY, store, minutes=0.1), undisturbed)
    assert len(steps) == 3 * STEPS


def test_what_takes_too_long_is_stopped(store, monkeypatch):
    def endless(*_, **__):
        while True:
            time.sleep(1e-3)

    monkeypatch.setattr(execution, "run_trial", endless)
    tables = run(STUDY, store, minutes=0.3 / 60)
    assert len(tables.trials) == len(tables.failures) == 0


def test_time_that_is_up_or_never_is(store, steps, monkeypatch):
    assert len(run(STUDY, store, minutes=1e-9).trials) == 0 and steps == []
    monkeypatch.setattr(execution, "run_trial", lambda *_, **__: time.sleep(0.05))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for minutes in (float("inf"), 1e12):
            run(STUDY, store, minutes=minutes)


def test_an_interrupt_that_comes_late_harms_nobody(store, monkeypatch):
    """Time is up just as the last trial ends, so that the interrupt can no longer be called off."""

    class Late(deadline.Alarm):
        def run(self):
            self.over.wait()
            time.sleep(0.05)
            _thread.interrupt_main()

    monkeypatch.setattr(deadline, "Alarm", Late)
    monkeypatch.setattr(execution, "run_trial", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):  # the clock says that the time is not up: as good as Ctrl-C
        run(Study("one", (trial(0),)), store, minutes=10)
    try:
        time.sleep(0.2)
    except KeyboardInterrupt:
        pytest.fail("interrupted whoever came next")


def test_an_interrupt_that_a_library_loses_is_repeated_until_it_is_heard(store, monkeypatch):
    lost = []

    def deaf(*_, **__):
        while True:
            try:
                time.sleep(1e-3)
            except BaseException:
                lost.append(1)
                if len(lost) == 3:
                    raise

    monkeypatch.setattr(deadline, "_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(execution, "run_trial", deaf)
    assert len(run(STUDY, store, minutes=0.1 / 60).failures) == 0 and len(lost) == 3
    try:
        time.sleep(0.2)
    except KeyboardInterrupt:
        pytest.fail("interrupted whoever came next")


def test_a_training_hears_the_end_of_a_slice_however_often_it_is_told_and_keeps_its_step(
    undisturbed, store, steps, clock, monkeypatch
):
    """The repetitions are no second Ctrl-C, which would lose the steps since the last checkpoint."""
    due, true_alarm = threading.Event(), clock.true_alarm

    class Told(true_alarm):
        def __init__(self, at):
            super().__init__(at)
            clock.stop_at = at

        def run(self):
            due.wait()
            super().run()

    def up():
        clock.now = clock.stop_at
        due.set()
        time.sleep(0.3)  # a long step

    monkeypatch.setattr(deadline, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(deadline, "Alarm", Told)
    steps.at = {20: up}
    assert len(run(STUDY, store, minutes=0.1).trials) == 0
    assert len(steps) == 20
    assert_same(run(STUDY, store), undisturbed)
    assert len(steps) == 3 * STEPS


def test_trainings_in_threads_end_with_the_slice_too(undisturbed, store, steps, clock):
    steps.at = {20: lambda: setattr(clock, "now", clock.now + 6)}
    with ThreadPoolExecutor(2) as executor:
        tables = run(STUDY, store, executor=executor, workers=2, minutes=0.1)
        assert len(tables.trials) == len(tables.failures) == 0 and len(steps) == 20  # the second never began
        assert_same(run(STUDY, store, executor=executor, workers=2), undisturbed)
    assert len(steps) == 3 * STEPS


def test_ctrl_c_is_no_deadline(store, monkeypatch):
    monkeypatch.setattr(execution, "run_trial", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run(STUDY, store, minutes=10)
    assert set(STUDY.status(store)["state"]) == {"open"}


# ---------------------------------------------------------------- failures


def test_what_fails_stops_nothing_else(undisturbed, store, monkeypatch):
    original = evaluation.train

    def crashes(corpus, split, model, config, **flags):
        if config.seed == 1 and not mended:
            raise RuntimeError("power cut\nin line two")
        return original(corpus, split, model, config, **flags)

    mended = []
    monkeypatch.setattr(evaluation, "train", crashes)
    both = Study("both", (IMPOSSIBLE, *STUDY.trials))
    tables = run(both, store)
    assert tables.trials["seed"].tolist() == [0, 2]
    impossible, crashed = tables.failures["reason"]
    assert "1,000,000 training programs asked of a pool of 1,225" in impossible and "lower num_train" in impossible
    assert crashed == "RuntimeError: power cut"
    assert failure(store, IMPOSSIBLE.key)["refused"] and not failure(store, STUDY.trials[1].key)["refused"]
    mended.append(True)
    monkeypatch.setattr("synthlab.study.trials.support_split", None)  # a split is not tried again
    tables = run(both, store)
    assert tables.failures["seed"].tolist() == [3] and failure(store, STUDY.trials[1].key) == {}
    assert_same(replace(tables, failures=tables.failures[:0]), undisturbed)


# ---------------------------------------------------------------- executors


class Counting(Executor):
    """Finishes jobs one by one, once as many are under way as are expected."""

    def __init__(self, expected=1, breaks=None):
        self.pool, self.full, self.pending, self.most = ThreadPoolExecutor(1), threading.Event(), [], 0
        self.expected, self.breaks = expected, breaks or {}

    def submit(self, function, job, *arguments):
        if job.trial.training.seed in self.breaks:
            broken = Future()
            broken.set_exception(self.breaks[job.trial.training.seed])
            return broken
        self.pending = [future for future in self.pending if not future.done()]
        self.pending.append(self.pool.submit(lambda: [{"state": "done"}, self.full.wait(5)][0]))
        self.most = max(self.most, len(self.pending))
        if len(self.pending) >= self.expected:
            self.full.set()
        return self.pending[-1]


def test_no_more_jobs_are_under_way_than_workers(store):
    many = Study("many", tuple(trial(seed) for seed in range(9)))
    for workers, most in ((1, 1), (3, 3), (20, 9)):
        executor = Counting(most)
        run(many, store, executor=executor, workers=workers)
        assert executor.most == most and executor.full.is_set()
    for workers in (0, -1):
        with pytest.raises(ConfigurationError, match=f"{workers} workers: use at least 1"):
            run(many, store, workers=workers)


def test_a_worker_that_is_gone_takes_its_trial_with_it_and_no_other(store):
    executor = Counting(1, {1: RuntimeError("the worker\nis gone")})
    tables = run(STUDY, store, executor=executor, workers=2)
    assert tables.failures["seed"].tolist() == [1]
    assert tables.failures["reason"].tolist() == ["RuntimeError: the worker"]
    executor = Counting(1, {2: BrokenProcessPool("terminated\nabruptly")})
    with pytest.raises(ConfigurationError, match=r"^a worker is gone, .*: run again with fewer workers; .* is kept$"):
        run(STUDY, store, executor=executor, workers=2)


def test_threads_find_the_same_however_they_meet(undisturbed, store, monkeypatch):
    original, meeting = training.Synthesizer, threading.Barrier(2)

    def met(*arguments):  # both have seeded the random numbers, which are of the process, and draw weights next
        try:
            meeting.wait(timeout=0.5)
        except threading.BrokenBarrierError:
            meeting.reset()
        return original(*arguments)

    monkeypatch.setattr(training, "Synthesizer", met)
    with ThreadPoolExecutor(2) as executor:
        assert_same(run(STUDY, store, executor=executor, workers=2), undisturbed)


def test_processes_find_the_same_and_know_the_grammars_of_this_one(undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(grammars, "_REGISTRY", dict(grammars._REGISTRY))
    weight = 3
    skew = Operator(symbol="skewed", arity=2, meaning=lambda a, b: a - weight * b)
    mine = register(Grammar(name="mine", variables=("x", "y"), constants=(1,), operators=(ADD, skew)))
    region = support_settings(Region(rule="root", root="skewed"), num_test=30, reserved=0.25)
    own = replace(trial(0, settings=region), universe=Universe(grammar=mine.name, max_size=3))
    both = Study("both", (*STUDY.trials, replace(own, tags={"group": "mine", "seed": 0}), IMPOSSIBLE))
    spread = run(both, Store(tmp_path / "spread"), workers=2)
    (failed,) = spread.failures.to_dict("records")
    assert failed["trial"] == IMPOSSIBLE.key and "lower num_train" in failed["reason"]
    of_group = spread.trials[spread.trials["group"] == "support"].reset_index(drop=True)
    assert_same(replace(spread, trials=of_group, failures=spread.failures[:0]), undisturbed)
    alone = run(both.of("mine"), Store(tmp_path / "alone"))
    pd.testing.assert_frame_equal(spread.results["mine"], alone.results["mine"], check_exact=True)
    assert spread.of("mine")["device"].tolist() == ["CPU x86_64, 1 threads"] or os.uname().machine != "x86_64"


class Mine(nn.Module):
    """A network that no other process knows."""

    def __init__(self, config, shape):
        super().__init__()
        self.embed = nn.Embedding(shape.vocabulary + 1, shape.vocabulary)
        self.start_token = shape.vocabulary

    def forward(self, patches, tokens):
        return self.embed(nn.functional.pad(tokens[:, :-1], (1, 0), value=self.start_token))


def test_networks_of_this_process_are_trained_in_it(store, monkeypatch):
    monkeypatch.setattr(networks, "_BUILDERS", dict(networks._BUILDERS))
    networks.register_network("mine", Mine)
    monkeypatch.setattr(execution, "_processes", lambda num: pytest.fail("another process does not know the network"))
    model = replace(STUDY.trials[0].model, network="mine")
    tables = run(Study("own", tuple(trial(s, 4, model=model) for s in (0, 1))), store, workers=2)
    assert len(tables.trials) == 2 and len(tables.failures) == 0


def test_a_job_says_how_it_went(store):
    (one, *_) = STUDY.trials
    job = Job.of(replace(one, settings=IMPOSSIBLE.settings), str(store.root), None)
    found = work(job)
    assert found["state"] == "failed" and found["refused"] and "lower num_train" in found["reason"]
