"""Training that runs out of memory, for real: what it held returns, and the batch that is suggested works.

The limit is the process's own (RLIMIT_AS), and a tensor that no machine could hold. A GPU's allocator is not run here:
its error has the same type and takes the same way.
"""

import gc
import re
import sys
import weakref

import pytest
import torch
from faults import deeds
from faults.children import shared

from synthlab.errors import ConfigurationError
from synthlab.learning import training
from synthlab.learning.guards import within_memory
from synthlab.learning.run import Run
from synthlab.store import Store

MESSAGE = r"out of device memory with batches of (\d+): use batch_size=(\d+), or a smaller model"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")


@pytest.fixture(scope="module")
def children():
    return shared()


@pytest.mark.fault("out of memory while training")
def test_the_batch_that_is_suggested_works_in_the_same_process(children, tmp_path, fired):
    corpus, split = deeds.store_with_split(tmp_path / "store")
    status, child = children.run("starve", store=tmp_path / "store", corpus=corpus, split=split, batch_size=1200)
    assert status == 0, child.printed
    messages = child.found["messages"]
    assert messages
    asked = 1200
    for message in messages:  # what is suggested is followed, until it works
        had, smaller = map(int, re.fullmatch(MESSAGE, message).groups())
        assert had == asked and smaller == asked // 2
        asked = smaller
    assert child.found["steps"] == 2 and child.found["batch_size"] == asked >= 1
    fired(len(messages))


@pytest.mark.fault("out of memory while training")
def test_memory_returns_after_every_failure_while_the_errors_are_kept(children, tmp_path, fired):
    """A notebook keeps the last traceback; here all of them are kept, and none may hold a tensor."""
    corpus, split = deeds.store_with_split(tmp_path / "store")
    status, child = children.run("fail_and_succeed", store=tmp_path / "store", corpus=corpus, split=split, times=6)
    assert status == 0, child.printed
    sizes, held = child.found["bytes"], child.found["held"]
    assert len(sizes) == 6 and held == [0] * 6  # no model, data or optimizer of a run that failed is alive
    # allocators keep some of what was freed; a failure that kept what it held would add all of it every time
    assert child.found["one"] > 50e6 and sizes[-1] - sizes[0] < 5 * child.found["one"] / 2, sizes
    fired(6)


@pytest.mark.fault("out of memory while training")
def test_what_no_machine_could_hold_is_one_line_and_the_checkpoint_stays(corpus3, split3, tmp_path, monkeypatch, fired):
    original, seen = training.program_loss, []

    def watched(*arguments):
        seen.append(1)
        if len(seen) == 8:
            torch.empty(1 << 50)
        return original(*arguments)

    keeper = training.Keeper.__init__
    monkeypatch.setattr(training.Keeper, "__init__", lambda self, folder, _: keeper(self, folder, 5))
    monkeypatch.setattr(training, "program_loss", watched)
    about = (corpus3, split3, deeds.MODEL, deeds.SHORT)
    with pytest.raises(ConfigurationError, match=f"^{MESSAGE}$") as refused:
        training.train(*about, store=Store(tmp_path / "one"), progress=False)
    assert refused.value.__cause__ is None and refused.value.__context__ is None
    run = training.train(*about, store=Store(tmp_path / "one"), progress=False)
    assert isinstance(run, Run) and len(seen) == 8 + deeds.SHORT.num_steps - 5  # went on from the fifth step
    monkeypatch.setattr(training, "program_loss", original)
    assert run.weights == training.train(*about, store=Store(tmp_path / "two"), progress=False).weights
    fired()


@pytest.mark.fault("out of memory while training")
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("std::bad_alloc"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory"),
    ],
    ids=lambda error: str(error)[:30] or "MemoryError",
)  # fmt: skip
def test_however_it_is_said_the_frames_of_the_failed_work_are_let_go(fired, error):
    class Held:
        pass

    alive = []

    def work():
        held = Held()
        alive.append(weakref.ref(held))
        raise error

    with pytest.raises(ConfigurationError, match="batches of 8: use batch_size=4") as refused:
        within_memory(8, work)
    error.__traceback__ = None  # this test holds the error itself, which nobody else does
    gc.collect()
    assert alive[0]() is None and refused.value.__context__ is None
    with pytest.raises(ConfigurationError, match="batches of 1: use a smaller model"):
        within_memory(1, work)
    fired()


def test_other_errors_pass_as_they_are():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    def work():
        raise error

    with pytest.raises(RuntimeError) as passed:
        within_memory(8, work)
    assert passed.value is error
