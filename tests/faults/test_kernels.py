"""Two kernels, two shells, two studies: of two processes that want the same one works, the other is told or waits."""

import itertools
import json
import os
import re
import signal
import socket
import time

import pandas as pd
import pytest
import torch
from faults import deeds
from faults.children import shared

from synthlab.durable import exclusive, this_process
from synthlab.errors import ConfigurationError, InUseError
from synthlab.learning import training
from synthlab.learning.evaluation import train_cached
from synthlab.learning.run import Run
from synthlab.splits.split import Split
from synthlab.store import Store
from synthlab.universe.corpus import Corpus


@pytest.fixture(scope="module")
def children():
    return shared()


@pytest.fixture
def begun(tmp_path):
    """A store with a universe and a split: for a child, and for this process."""
    corpus, split = deeds.store_with_split(tmp_path / "store")
    store = Store(tmp_path / "store")
    return {"store": store.root, "corpus": corpus, "split": split}, (
        Corpus.load(store, corpus),
        Split.load(store, split),
    )


def lock_of(root):
    (path,) = root.rglob("running.json")
    return path


def train_here(begun, **flags):
    asked, loaded = begun
    return training.train(*loaded, deeds.MODEL, deeds.SHORT, store=Store(asked["store"]), progress=False, **flags)


# ---------------------------------------------------------------- one run


@pytest.mark.fault("two processes on one run")
def test_a_second_process_is_refused_by_name_and_another_waits_for_the_run_and_trains_nothing(children, begun, fired):
    first = children.start("train_once", hold_at=10, **begun[0])
    first.await_file("holds")
    with pytest.raises(InUseError) as refused:
        train_here(begun)
    about = json.loads(lock_of(begun[0]["store"]).read_text())
    assert about["process"] == first.pid and about["host"] == socket.gethostname()
    said = f"in use by process {first.pid} on {socket.gethostname()} since {about['since']}: wait for it"
    assert said in str(refused.value) and "\n" not in str(refused.value) and refused.value.here
    second = children.start("train_once", **begun[0])
    second.await_file("begins")
    time.sleep(0.3)
    (first.folder / "go").touch()
    assert first.wait() == second.wait() == 0, second.printed
    assert first.found["steps_here"] == deeds.SHORT.num_steps and second.found["steps_here"] == 0
    assert first.found["key"] == second.found["key"] and second.printed.count(f"process {first.pid}") == 1
    assert Store(begun[0]["store"]).verify() == []
    fired(2)


@pytest.mark.fault("two processes on one run")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_who_waits_takes_over_when_the_holder_dies_and_not_while_it_sleeps(children, begun, fired, number):
    first = children.start("train_once", hold_at=10, **begun[0])
    first.await_file("holds")
    second = children.start("train_once", **begun[0])
    second.await_file("begins")
    first.signal(number)
    if number == signal.SIGSTOP:
        time.sleep(1.0)
        assert json.loads(lock_of(begun[0]["store"]).read_text())["process"] == first.pid
        first.signal(signal.SIGKILL)
    # the dead one is a zombie until somebody asks how it ended, and counts as gone all the same
    assert second.wait() == 0, second.printed
    assert second.found["steps_here"] == deeds.SHORT.num_steps and first.wait() == -signal.SIGKILL
    expected = train_cached(*begun[1], deeds.MODEL, deeds.SHORT, store=Store(begun[0]["store"]), progress=False)
    assert expected.key == second.found["key"] and not list(begun[0]["store"].rglob("running.json"))
    fired()


@pytest.mark.fault("two processes on one run")
@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"7", b"\xff\xfe\x00", b'{"process": "x"}', b'{"process": -1, "started": 0}',
        b'{"process": 1e300, "started": 1}', b'{"process": null}', b"[" * 100_000,
    ],
    ids=lambda content: repr(content[:20]),
)  # fmt: skip
def test_a_lock_that_says_nothing_holds_nobody_off(begun, fired, content):
    folder = training.run_folder(*begun[1], deeds.MODEL, deeds.SHORT, Store(begun[0]["store"]))
    folder.mkdir(parents=True)
    (folder / "running.json").write_bytes(content)
    with exclusive(folder):
        assert json.loads((folder / "running.json").read_bytes())["process"] == os.getpid()
    assert list(folder.iterdir()) == []
    fired()


@pytest.mark.fault("two processes on one run")
def test_a_number_that_another_process_was_given_since_holds_nobody_off_and_another_machine_does(
    children, begun, fired
):
    alive = children.start("train_once", hold_at=1, **begun[0])
    alive.await_file("holds")
    path = lock_of(begun[0]["store"])
    held = json.loads(path.read_text())
    path.write_text(json.dumps(held | {"started": held["started"] - 3600}))  # as one of an hour ago would have left it
    with exclusive(path.parent):
        assert json.loads(path.read_text())["process"] == os.getpid()
    path.write_text(json.dumps(held | {"host": "elsewhere"}))
    with pytest.raises(InUseError, match=rf"process {alive.pid} on elsewhere since .* delete running\.json") as refused:
        train_here(begun)
    assert not refused.value.here
    path.unlink()
    (alive.folder / "go").touch()
    assert alive.wait() == 0, alive.printed
    fired(2)


@pytest.mark.fault("two processes on one run")
def test_of_eight_who_find_a_dead_lock_one_takes_it(children, tmp_path, fired):
    folder = tmp_path / "held"
    folder.mkdir()
    dead = this_process() | {"process": 999_999_999, "since": "2026-01-01", "lock": "a"}
    (folder / "running.json").write_text(json.dumps(dead))
    racing = [children.start("hold", place=folder, gate=tmp_path / "gate", number=k) for k in range(8)]
    for child in racing:
        child.await_file("begins")
    (tmp_path / "gate").touch()
    assert [child.wait() for child in racing] == [0] * 8
    found = [child.found for child in racing]
    assert sorted(f["number"] for f in found) == list(range(8)) and sum(f["got"] for f in found) >= 1
    spans = sorted((f["from"], f["to"]) for f in found if f["got"])
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))  # never two at a time
    assert all(re.search(r"in use by process \d+", f["said"]) for f in found if not f["got"])
    assert list(folder.iterdir()) == []
    fired(8)


# ---------------------------------------------------------------- one store


@pytest.mark.fault("two processes on one run")
@pytest.mark.parametrize("what", ["enumerate_on_disk", "draw"])
def test_two_who_make_the_same_in_one_store_make_it_once(children, tmp_path, fired, what):
    calm = children.run("worked", store=tmp_path / "calm", what=what)[1]
    both = [children.start("worked", store=tmp_path / "store", what=what) for _ in range(2)]
    assert [child.wait() for child in both] == [0, 0], [child.printed for child in both]
    assert [child.found["found"] for child in both] == [calm.found["found"]] * 2
    assert Store(tmp_path / "store").verify() == []
    names = [
        sorted(str(p.relative_to(root)) for p in root.rglob("*")) for root in (tmp_path / "calm", tmp_path / "store")
    ]
    assert names[0] == names[1]
    fired()


@pytest.mark.fault("two processes on one run")
def test_two_who_give_one_name_leave_one_whole_meaning(children, tmp_path, fired):
    keys = [children.start("name_splits", store=tmp_path / "store", seed=seed, times=40) for seed in (1, 2)]
    assert [child.wait() for child in keys] == [0, 0], [child.printed for child in keys]
    store = Store(tmp_path / "store")
    assert Split.load(store, "mine").key in {child.found for child in keys} and store.verify() == []
    assert all(Split.load(store, child.found).key == child.found for child in keys)
    fired(80)


@pytest.mark.fault("two processes on one run")
def test_two_studies_in_one_store_find_what_one_finds_and_take_every_step_once(children, tmp_path, fired):
    num = 3
    calm = children.run("run_study", store=tmp_path / "calm", num=num)
    assert calm[0] == 0, calm[1].printed
    both = [children.start("run_study", store=tmp_path / "store", num=num) for _ in range(2)]
    assert [child.wait() for child in both] == [0, 0], [child.printed for child in both]
    assert [child.found for child in both] == [num, num]
    tables = [deeds.study(num).tables(Store(tmp_path / name)) for name in ("calm", "store")]
    for one, other in (
        [t.results["support"] for t in tables],
        [t.trials.drop(columns=deeds.CLOCK) for t in tables],
        [t.failures for t in tables],
    ):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert len(list((tmp_path / "store" / Run.stage).glob("*-*"))) == num
    assert Store(tmp_path / "store").verify() == [] and not list((tmp_path / "store").rglob("running.json"))
    fired()


# ---------------------------------------------------------------- several devices


@pytest.mark.fault("several devices inside a notebook")
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook"])
def test_several_devices_are_refused_before_anything_is_put_on_one(begun, monkeypatch, fired, strategy):
    def touched(*_):
        raise AssertionError("a device was touched")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # as where there are devices
    for name in ("current_device", "mem_get_info", "init", "_lazy_init"):
        monkeypatch.setattr(torch.cuda, name, touched)
    monkeypatch.setattr(training, "Synthesizer", touched)
    with pytest.raises(ConfigurationError, match=r"run `python -m synthlab train --devices \.\.\.` instead") as refused:
        train_here(begun, devices=2, accelerator="cpu", strategy=strategy)
    assert "\n" not in str(refused.value) and not list(begun[0]["store"].rglob("running.json"))
    fired()
