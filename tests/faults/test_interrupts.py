"""Ctrl-C at any moment, in processes and as in a notebook: they live, and what is asked again comes out the same.

Moments are drawn with a seed; where a moment is a line of the package, all of its lines are tried.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch
from faults import deeds
from faults.children import TESTS, shared
from learning.runs import MODEL, SHORT, run, spy
from llvmlite.binding import executionengine
from numba.core import caching, codegen, dispatcher
from torch.nn import attention as attention_module
from torch.utils import flop_counter

from synthlab import durable
from synthlab import store as store_module
from synthlab.compiling import numba
from synthlab.durable import exclusive
from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.interpreter import evaluate_exact
from synthlab.language.program import parse
from synthlab.learning import checkpoints
from synthlab.learning.costs import step_flops
from synthlab.learning.decoding import decoding_flops
from synthlab.learning.networks import Synthesizer
from synthlab.search.best_first import BestFirst
from synthlab.search.budget import Budget
from synthlab.search.problem import FOUND, INTERRUPTED, Problem
from synthlab.search.symbolic import Enumeration
from synthlab.store import Carrier, Store
from synthlab.universe.counting import unrank
from synthlab.universe.sampling import PCFG


@pytest.fixture(scope="module")
def children():
    return shared()


def interrupted(function, seconds):
    """What a function returns, or None if the SIGINT that this process gets after some seconds ends it."""
    listens = [True]

    def interrupt(number, frame):
        if listens[0]:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        return function()
    except KeyboardInterrupt:
        return None
    finally:
        listens[0] = False
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------- everything that takes long


@pytest.mark.fault("Ctrl-C at any moment")
@pytest.mark.parametrize("what", [work.__name__ for work in deeds.WORK])
def test_whatever_is_interrupted_in_a_process_of_its_own_goes_on_there(children, tmp_path, fired, what):
    status, calm = children.run("worked", store=tmp_path / "calm", what=what)
    assert status == 0 and calm.found["interrupted"] == 0, calm.printed
    generator, total = np.random.default_rng(len(what)), 0
    for attempt in range(6):
        child = children.start("worked", store=tmp_path / str(attempt), what=what)
        for number in range(2):
            child.await_file(f"begins-{number}")
            time.sleep(generator.uniform(0, 0.8) * calm.found["seconds"])
            child.signal(signal.SIGINT)
            if number == 0 and generator.random() < 0.5:  # an impatient user
                time.sleep(0.01)
                child.signal(signal.SIGINT)
            time.sleep(0.05)
            if not (child.folder / "begins-1").exists():
                break
        assert child.wait() == 0, child.printed
        assert child.found["found"] == calm.found["found"]
        # a second Ctrl-C can come while the first one tidies up: what is staged then is named, and is never read
        assert [p for p in Store(tmp_path / str(attempt)).verify() if not durable.is_staged(p.path)] == []
        total += child.found["interrupted"]
        if total >= 3:
            break
    assert total, "no interrupt came in time"
    fired(total)


@pytest.mark.fault("Ctrl-C at any moment")
@pytest.mark.parametrize("work", [deeds.enumerate_on_disk, deeds.draw, deeds.learn], ids=lambda work: work.__name__)
def test_whatever_is_interrupted_in_a_notebook_leaves_it_alive_and_goes_on_there(tmp_path, fired, work):
    work(tmp_path / "first")  # loads and compiles
    start = time.perf_counter()
    expected = work(tmp_path / "calm")
    seconds, total = time.perf_counter() - start, 0
    for attempt, moment in enumerate(np.random.default_rng(1).uniform(0, 0.9, size=6)):
        total += interrupted(lambda root=tmp_path / str(attempt): work(root), moment * seconds) is None
        assert work(tmp_path / str(attempt)) == expected
        assert Store(tmp_path / str(attempt)).verify() == []
        if total >= 3:
            break
    assert total
    fired(total)


@pytest.mark.fault("Ctrl-C at any moment")
def test_an_interrupt_inside_a_compiled_kernel_waits_for_its_end_and_harms_nothing(fired):
    ids = np.arange(400_000) % 130_000
    unrank(POLYNOMIAL, ids[:10], 5, "leaves")
    start = time.perf_counter()
    expected = unrank(POLYNOMIAL, ids, 5, "leaves")
    seconds = time.perf_counter() - start
    results = [interrupted(lambda: unrank(POLYNOMIAL, ids, 5, "leaves"), seconds * k) for k in (0.2, 0.5, 0.8)]
    assert any(found is None for found in results)
    for found in (*(r for r in results if r is not None), unrank(POLYNOMIAL, ids, 5, "leaves")):
        np.testing.assert_array_equal(found, expected)
    fired(sum(found is None for found in results))


@pytest.mark.fault("Ctrl-C at any moment")
@pytest.mark.parametrize("name", ["enumeration", "best first"])
def test_an_interrupted_search_hands_in_its_best_and_searches_on(fired, name):
    solver = Enumeration() if name == "enumeration" else BestFirst(PCFG.of(POLYNOMIAL, dict.fromkeys("xy123+-*", 1.0)))
    far = parse(POLYNOMIAL, "x*x*x*y*y*(x-y)*(x+3)*(y-3)*x+y*y")
    near = parse(POLYNOMIAL, "x*y+3")
    problems = [problem_of(near, 12), problem_of(far, 12)]
    calm = solver.solve(problems[0], Budget(seconds=20))
    assert calm.found
    solver.solve(problems[1], Budget(seconds=0.5))  # compiles what only a long search needs
    soon = solver.solve(problems[0], Budget(seconds=20)).cost.seconds
    moments = 4 * soon + np.random.default_rng(2).uniform(0.2, 0.5, size=3)
    for moment in moments:
        results = interrupted(lambda: solver.solve_all(problems, Budget(seconds=20)), moment)
        assert results is not None and [r.stopped for r in results] == [FOUND, INTERRUPTED]
        assert results[0].program == calm.program and not results[1].found
        assert all(r.cost.programs > 0 and r.cost.seconds < 10 for r in results)
        assert solver.solve(problems[0], Budget(seconds=20)).program == calm.program
    fired(len(moments))


def problem_of(program, max_size):
    points = [dict(zip("xy", point, strict=True)) for point in POLYNOMIAL.grid.points]
    outputs = [evaluate_exact(program, point) for point in points]
    return Problem.from_outputs(POLYNOMIAL, outputs, max_size=max_size)


# ---------------------------------------------------------------- between any two lines


class Note(Carrier):
    stage = "note"

    def __init__(self, number):
        self.number = number

    @property
    def identity(self):
        return {"number": self.number}

    def payload(self):
        return {"table": self.frame(), "array": np.arange(self.number)}

    @classmethod
    def restore(cls, identity, payload):
        assert payload["array"].tolist() == list(range(identity["number"]))
        return cls(identity["number"])

    def frame(self):
        return pd.DataFrame({"a": range(self.number)})


def at_line(number, function, modules=(durable, store_module)):
    """Send Ctrl-C before a line of these modules, 1 being the first reached; whether it arrived."""
    files, count = {module.__file__ for module in modules}, [0]

    def lines(frame, event, argument):
        count[0] += event == "line"
        if event == "line" and count[0] == number:
            signal.raise_signal(signal.SIGINT)
        return lines

    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: lines if frame.f_code.co_filename in files else None)
    try:
        function()
        assert count[0] < number, "it was lost"
        return False
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)


def every_line(function):
    """`function(number)` for every line there is, which is told as it returns False."""
    number = 1
    while function(number):
        number += 1
    return number - 1


@pytest.mark.fault("Ctrl-C at any moment")
def test_an_interrupt_at_any_line_of_a_commit_leaves_all_of_an_artifact_or_nothing(tmp_path, fired):
    Store(tmp_path / "before").name(Note(3), "mine")

    def attempt(number):
        shutil.copytree(tmp_path / "before", tmp_path / str(number))
        store = Store(tmp_path / str(number))
        hit = at_line(number, lambda: store.name(Note(5), "mine"))
        if store.has("note", Note(5).key):
            assert Note.load(store, Note(5).key).number == 5
        assert Note.load(store, "mine").number in ((3, 5) if hit else (5,))
        assert store.verify() == []
        store.name(Note(5), "mine")
        assert Note.load(store, "mine").number == 5 and store.verify() == []
        return hit

    num = every_line(attempt)
    assert num > 50
    fired(num)


@pytest.mark.fault("Ctrl-C at any moment")
def test_an_interrupt_at_any_line_of_taking_a_lock_leaves_none_that_this_process_would_wait_for(tmp_path, fired):
    def hold(folder):
        with exclusive(folder):
            pass

    def attempt(number):
        folder = tmp_path / str(number)
        hit = at_line(number, lambda: hold(folder), (durable,))
        hold(folder)  # would be refused
        assert not (folder / "running.json").exists()
        return hit

    num = every_line(attempt)
    assert num > 15
    fired(num)


@pytest.mark.fault("Ctrl-C at any moment")
def test_an_interrupt_at_a_line_of_the_compiler_waits_for_the_kernel_and_is_not_lost(tmp_path, monkeypatch, fired):
    """In callbacks of LLVM an exception is printed and forgotten: lost there, or an error of the compiler later."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def attempt(number):
        kernel = numba.njit(cache=True)(halves)
        hit = at_line(number, lambda: kernel(np.arange(9)), (executionengine, caching, codegen, dispatcher))
        assert kernel(np.arange(9)) == 16
        shutil.rmtree(tmp_path)
        return hit

    numba.njit(cache=True)(halves)(np.arange(9))  # loads the compiler
    shutil.rmtree(tmp_path)
    hits = 0
    for number in range(1, 100_000, 29):  # a prime, to meet different lines of loops
        if not attempt(number):
            break
        hits += 1
    assert hits > 30
    fired(hits)


def halves(numbers):
    total = 0
    for number in numbers:
        total += number // 2
    return total


# ---------------------------------------------------------------- a real kernel

FIRST = """
import sys, torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
from dataclasses import replace
from faults import deeds
from synthlab.learning.evaluation import train_cached
workspace = deeds.Workspace(deeds.Store({root!r}))
settings = (*deeds._drawn(workspace), deeds.MODEL, replace(deeds.SHORT, num_steps=120))
"""
TRAIN = "run = train_cached(*settings, store=workspace.store, progress=False)"
SAY = "import hashlib; print(run.steps_done, hashlib.sha256(run.weights).hexdigest())"


@pytest.mark.fault("Ctrl-C at any moment")
def test_a_jupyter_kernel_that_is_interrupted_while_it_trains_lives_and_goes_on(tmp_path, fired):
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=str(TESTS.parent))

    def execute(code, meanwhile=lambda: None):
        printed = []
        thread = threading.Thread(target=meanwhile)
        thread.start()
        reply = client.execute_interactive(
            code, timeout=240, output_hook=lambda m: printed.append(m["content"].get("text", ""))
        )
        thread.join()
        return reply["content"]["status"], "".join(printed)

    def interrupt():
        end = time.monotonic() + 120
        while not list((tmp_path / "one").rglob("step-*.ckpt")) and time.monotonic() < end:
            time.sleep(0.005)
        manager.interrupt_kernel()

    try:
        pid = manager.provisioner.pid
        assert execute(FIRST.format(tests=str(TESTS), root=str(tmp_path / "one")))[0] == "ok"
        status, printed = execute(TRAIN, interrupt)
        assert status == "ok" and "kept, run the same again to go on" in printed
        status, printed = execute(SAY)
        steps, early = printed.split()
        assert 0 < int(steps) < 120
        assert execute(TRAIN)[0] == "ok"
        steps, resumed = execute(SAY)[1].split()
        assert (
            execute("workspace = deeds.Workspace(deeds.Store({!r}))\n".format(str(tmp_path / "two")) + TRAIN)[0] == "ok"
        )
        again, expected = execute(SAY)[1].split()
        assert int(steps) == int(again) == 120 and resumed == expected != early
        assert manager.is_alive() and manager.provisioner.pid == pid
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    fired()


@pytest.mark.fault("Ctrl-C at any moment")
@pytest.mark.parametrize("left", [torch.no_grad, torch.inference_mode], ids=["no gradients", "inference"])
def test_a_training_has_gradients_whatever_an_interrupt_left_behind(left, corpus3, split3, tmp_path, fired):
    calm = run(corpus3, split3, tmp_path / "calm")
    mode = left()
    mode.__enter__()  # what is left when Ctrl-C strikes before the block that it belongs to
    try:
        assert not torch.is_grad_enabled()
        assert run(corpus3, split3, tmp_path / "left").weights == calm.weights
    finally:
        mode.__exit__(None, None, None)
    fired()


@pytest.mark.fault("Ctrl-C at any moment")
@pytest.mark.parametrize("count", [lambda model: step_flops(model, 4), decoding_flops], ids=["step", "decoding"])
def test_an_interrupt_while_operations_are_counted_leaves_no_mode_of_pytorch_behind(count, fired):
    """What counts them puts itself between PyTorch and its kernels, and chooses those of attention."""
    model = Synthesizer(MODEL, POLYNOMIAL, 3)
    expected, attention = count(model), attention_kernels()

    def attempt(number):
        hit = at_line(number, lambda: count(model), (flop_counter, attention_module, contextlib))
        assert attention_kernels() == attention and torch.is_grad_enabled()
        assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()
        return hit

    hits = 0
    while attempt(1 + 67 * hits):  # a prime, to meet different lines of loops
        hits += 1
    assert hits > 5 and count(model) == expected
    fired(hits)


def attention_kernels():
    cuda = torch.backends.cuda
    return cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()


@pytest.mark.fault("Ctrl-C at any moment")
def test_two_interrupts_at_once_end_a_training_and_cost_no_more_than_its_last_checkpoint(children, tmp_path, fired):
    calm = children.run("worked", store=tmp_path / "calm", what="learn")[1]
    child = children.start("worked", store=tmp_path / "store", what="learn")
    end = time.monotonic() + 60
    while not list((tmp_path / "store").rglob("metrics.csv")) and time.monotonic() < end:
        time.sleep(0.001)
    child.signal(signal.SIGINT)
    child.signal(signal.SIGINT)
    assert child.wait() == 0, child.printed
    assert child.found["interrupted"] == 1 and child.found["found"] == calm.found["found"]
    assert not list((tmp_path / "store").rglob("running.json"))
    fired(2)


@pytest.mark.fault("Ctrl-C at any moment")
@pytest.mark.parametrize("place", ["last step", "last checkpoint"])
def test_a_ctrl_c_that_comes_too_late_for_a_run_stops_what_comes_next(
    place, corpus3, split3, tmp_path, monkeypatch, fired
):
    """The run is done and nothing of it is lost; who presses Ctrl-C does not mean that a study goes on."""
    whole = run(corpus3, split3, tmp_path / "whole")
    save = checkpoints.Keeper.save

    def struck(keeper, trainer):
        if trainer.global_step == SHORT.num_steps:
            signal.raise_signal(signal.SIGINT)
        return save(keeper, trainer)

    with monkeypatch.context() as patch:
        if place == "last step":
            seen = spy(patch, at=SHORT.num_steps, do=lambda: signal.raise_signal(signal.SIGINT))
        else:
            seen = spy(patch)
            patch.setattr(checkpoints.Keeper, "save", struck)
        with pytest.raises(KeyboardInterrupt):
            run(corpus3, split3, tmp_path / "late")
    assert len(seen) == SHORT.num_steps
    with monkeypatch.context() as patch:
        seen = spy(patch)
        again = run(corpus3, split3, tmp_path / "late")
    assert seen == [] and again.finished and again.weights == whole.weights and again.history.equals(whole.history)
    fired()
