"""Whatever cuts a run off, and however often: it ends with the batches and weights of one that nothing happened to."""

import itertools
import json
import shutil
import signal

import numpy as np
import pytest
from faults import deeds
from faults.children import shared

from synthlab.learning.run import Run
from synthlab.splits.split import RANDOM_TEXT, Split
from synthlab.store import Store

STEPS, BATCH = deeds.SHORT.num_steps, deeds.SHORT.batch_size
STATUS = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 0, "SIGINT": 0, "error": 1}
"""How a child ends; a scheduler's or a user's wish to stop is one that it fulfils."""


@pytest.fixture(scope="module")
def children():
    return shared()


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """By policy of the targets: a store with a universe and a split, and what an uninterrupted run does there."""
    found = {}
    for policy in (None, RANDOM_TEXT):
        root = tmp_path_factory.mktemp("begun")
        corpus, split = deeds.store_with_split(root / "store", policy)
        found[policy] = root / "store", {"corpus": corpus, "split": split}
    return found


@pytest.fixture(scope="module")
def undisturbed(begun, children, tmp_path_factory):
    """Batches and run of every policy, where nothing happens."""
    found = {}
    for policy, (store, keys) in begun.items():
        copy = tmp_path_factory.mktemp("undisturbed") / "store"
        shutil.copytree(store, copy)
        status, child = children.run("train", store=copy, **keys)
        assert status == 0, child.printed
        found[policy] = batches(child), Run.load(Store(copy), child.found["key"])
    return found


def batches(child):
    """Items and hash of every step that a child took."""
    path = child.folder / "batches"
    return [tuple(map(str, json.loads(line))) for line in path.read_text().splitlines()] if path.exists() else []


def checkpointed(store):
    """Step of the newest checkpoint; 0 before the first."""
    return max((int(p.stem.removeprefix("step-")) for p in store.rglob("step-*.ckpt")), default=0)


def per_epoch(store, keys):
    return len(Split.load(Store(store), keys["split"]).train) // BATCH


def assert_same(run, expected):
    assert run.weights == expected.weights and run.key == expected.key
    assert run.history.equals(expected.history) and run.answers.equals(expected.answers)
    assert run.cost["tokens"] == expected.cost["tokens"] and run.cost["samples"] == expected.cost["samples"]


def survive(children, begun, undisturbed, tmp_path, cuts, *, policy=None, every=4, streamed=(None,)):
    """Cut a run off again and again, then let it end; every step that is taken is the one that would have been."""
    store, keys = begun[policy]
    expected, whole = undisturbed[policy]
    shutil.copytree(store, copy := tmp_path / "store")
    taken = []
    for number, (moment, what) in enumerate((*cuts, (None, None))):
        first = checkpointed(copy)
        how = {"moment": moment, "what": what, "every": every, "streamed": streamed[number % len(streamed)]}
        child = children.start("train", store=copy, **how, **keys)
        assert child.wait() == (STATUS[what] if what else 0), child.printed
        assert (child.folder / "happened").exists() == (what is not None)
        done = batches(child)
        assert [content for _, content in done] == [content for _, content in expected[first : first + len(done)]]
        assert all(items in ("[]", expected[first + k][0]) for k, (items, _) in enumerate(done))
        taken.append((first, len(done)))
    assert taken[-1][0] + taken[-1][1] == STEPS
    assert_same(Run.load(Store(copy), whole.key), whole)
    return taken


def test_an_epoch_shows_every_item_once_and_the_next_one_in_another_order(begun, undisturbed):
    """What the other tests compare with is itself right."""
    store, keys = begun[None]
    length, items = per_epoch(store, keys), [json.loads(items) for items, _ in undisturbed[None][0]]
    assert len(items) == STEPS and 3 * length <= STEPS
    epochs = [np.concatenate(items[k * length : (k + 1) * length]) for k in range(3)]
    assert all(len(np.unique(epoch)) == length * BATCH for epoch in epochs)
    assert all((one != other).any() for one, other in itertools.pairwise(epochs))


@pytest.mark.fault("resuming twice")
@pytest.mark.parametrize("what", ["SIGKILL", "SIGTERM"])
def test_a_run_that_is_cut_off_in_its_first_step_begins_anew(children, begun, undisturbed, tmp_path, fired, what):
    taken = survive(children, begun, undisturbed, tmp_path, [("step 1", what)] * 2)
    # one that is asked to stop ends its step, whatever kills it does not
    assert [first for first, _ in taken] == ([0, 1, 2] if what == "SIGTERM" else [0, 0, 0])
    fired(2)


@pytest.mark.fault("resuming twice")
@pytest.mark.parametrize(
    ("place", "what"), [("boundary", "SIGKILL"), ("boundary", "SIGINT"), ("middle", "SIGTERM"), ("middle", "error")]
)
def test_a_run_resumes_at_the_edge_of_an_epoch_and_within_one(
    children, begun, undisturbed, tmp_path, fired, what, place
):
    length = per_epoch(*begun[None])
    every = length if place == "boundary" else length // 2 + 1
    # one step behind a checkpoint, so that what a kill leaves and what a wish to stop leaves are that checkpoint
    step = every + 1 if what in ("SIGKILL", "error") else every
    taken = survive(children, begun, undisturbed, tmp_path, [(f"step {step}", what)], every=every)
    assert taken[1][0] == every and (every % length == 0) == (place == "boundary")
    fired()


@pytest.mark.fault("resuming twice")
@pytest.mark.parametrize(
    "cuts",
    [
        [("step 15", "SIGKILL"), ("step 6", "SIGKILL")],
        [("step 8", "SIGKILL"), ("step 8", "SIGKILL"), ("step 8", "SIGKILL")],
        [("saved", "SIGKILL"), ("saved", "SIGKILL"), ("step 1", "SIGKILL")],
        [("check", "SIGKILL"), ("check", "error"), ("check", "SIGKILL")],
        [("step 6", "SIGTERM"), ("step 1", "SIGKILL"), ("step 7", "SIGTERM")],
        [("step 13", "error"), ("check", "SIGINT"), ("saved", "SIGKILL")],
    ],
    ids=["twice", "thrice", "after checkpoints", "in checks", "asked and killed", "everything"],
)
def test_a_run_that_is_cut_off_again_and_again_takes_every_step_as_if_it_never_was(
    children, begun, undisturbed, tmp_path, fired, cuts
):
    survive(children, begun, undisturbed, tmp_path, cuts)
    fired(len(cuts))


@pytest.mark.fault("resuming twice")
@pytest.mark.parametrize("streamed", [(True,), (True, False), (False, True)], ids=["stream", "to device", "to stream"])
def test_streamed_data_goes_on_where_it_was_and_so_does_data_on_the_device(
    children, begun, undisturbed, tmp_path, fired, streamed
):
    cuts = [("step 10", "SIGKILL"), ("step 9", "SIGTERM")]
    survive(children, begun, undisturbed, tmp_path, cuts, streamed=streamed)
    fired(2)


@pytest.mark.fault("resuming twice")
def test_texts_that_are_drawn_anew_every_epoch_are_those_that_would_have_been_drawn(
    children, begun, undisturbed, tmp_path, fired
):
    expected = undisturbed[RANDOM_TEXT][0]
    assert expected != undisturbed[None][0]
    cuts = [("step 15", "SIGKILL"), ("step 6", "error"), ("step 2", "SIGTERM")]
    survive(children, begun, undisturbed, tmp_path, cuts, policy=RANDOM_TEXT)
    fired(3)
