"""Whatever dies by SIGKILL, and whenever: what was committed stays, and the next run ends with the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.killing import stamps, tree, universes

from synthlab.language.grammar import POLYNOMIAL
from synthlab.store import Store
from synthlab.universe.shards import enumerate_functions_on_disk, enumerate_texts

ROOT = Path(__file__).resolve().parents[2]
SEED = 7
"""Where a sequence of every k-th moment begins follows from it."""


def kill_one_by_one(scenarios, folder, every):
    """How many children of a fresh process were killed, by scenario; it checks what they leave."""
    program = [sys.executable, ROOT / "tests" / "faults" / "killing.py", ",".join(scenarios), folder, every, SEED]
    answer = subprocess.run(
        [str(word) for word in program], capture_output=True, text=True, cwd=ROOT, timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1", "SYNTHLAB_WORKERS": "1"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.fault("kill -9 at any operation of the store")
def test_a_kill_before_and_after_every_operation_of_the_store_is_survived(tmp_path, fired):
    """Texts and functions on disk, a corpus with its spaces, a split and tables that replace others."""
    counts = kill_one_by_one(["texts", "functions", "embedding", "split", "tables"], tmp_path, 1)
    files = {"texts": 15, "functions": 16, "embedding": 20, "split": 9, "tables": 7}
    assert all(counts[name] > 2 * number for name, number in files.items()), counts  # each is synced, twice a moment
    fired(sum(counts.values()))


@pytest.mark.fault("kill -9 at any operation of the store")
def test_a_training_and_a_published_study_survive_a_kill_at_every_kth_operation(tmp_path, fired):
    """Every moment would take minutes: every k-th from a seeded start, on a run with a checkpoint every other step."""
    counts = kill_one_by_one(["training", "study"], tmp_path, 53)
    assert min(counts.values()) >= 2, counts
    fired(sum(counts.values()))


# ---------------------------------------------------------------- threads, and the clock

NAMES = {
    "POLYNOMIAL": POLYNOMIAL, "enumerate_texts": enumerate_texts,
    "enumerate_functions_on_disk": enumerate_functions_on_disk,
}  # fmt: skip
CALLS = {
    "texts": "enumerate_texts(POLYNOMIAL, 4, store=store, rows_per_shard=1000, num_workers=2)",
    "functions": "enumerate_functions_on_disk(POLYNOMIAL, 5, store=store, partitions=6, num_workers=2)",
}
PROGRAM = """
import os, sys, time
from synthlab.store import Store
from synthlab.language.grammar import POLYNOMIAL
from synthlab.universe.shards import enumerate_functions_on_disk, enumerate_texts

sync = os.fsync
def slow(descriptor):
    time.sleep(0.005)
    sync(descriptor)
os.fsync = slow

store = Store(sys.argv[1])
{call}
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Stores of the runs that nobody kills."""
    stores = {}
    for what, call in CALLS.items():
        stores[what] = Store(tmp_path_factory.mktemp("undisturbed") / "store")
        eval(call, NAMES | {"store": stores[what]})
    return stores


def committed(store):
    """Pieces that are there, while others are written."""
    return [p for p in store.root.glob("universe/*/*/manifest.json") if not p.parent.name.startswith(".tmp-")]


def stop_after(store, what, num_pieces, how):
    """Run an enumeration in a process of its own, and stop it when so many pieces are committed."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(call=CALLS[what]), str(store.root)], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while len(committed(store)) < num_pieces:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
            time.sleep(0.002)
        process.send_signal(how)
        return process.wait(timeout=120), process.stderr.read()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.fault("kill -9 at any operation of the store")
@pytest.mark.parametrize(
    ("num_pieces", "how"),
    [(13, signal.SIGKILL), (3, signal.SIGINT)],
    ids=["13 kill -9", "3 Ctrl-C"],
)
@pytest.mark.parametrize("what", CALLS)
def test_an_enumeration_by_threads_that_is_stopped_goes_on_where_it_was(
    store, undisturbed, what, num_pieces, how, fired
):
    code, errors = stop_after(store, what, num_pieces, how)
    assert code == -how and (how == signal.SIGKILL or errors.rstrip().endswith("KeyboardInterrupt"))
    (folder,) = universes(store)
    expected = tree(undisturbed[what].root / "universe" / folder.name)
    assert folder in [p.path for p in store.verify()]
    assert {p.wrong for p in store.verify()} <= {"has no manifest, so it is unfinished", "was left by a killed writer"}
    kept = {name: c for name, c in tree(folder).items() if ".tmp-" not in name}
    assert num_pieces <= sum(name.endswith("manifest.json") for name in kept) < len(expected) / 3
    assert all(expected[name] == content for name, content in kept.items())
    before = stamps(folder)
    eval(CALLS[what], NAMES | {"store": store})
    assert {name: s for name, s in stamps(folder).items() if name in before} == before
    assert {name: c for name, c in tree(folder).items() if ".tmp-" not in name} == expected
    assert store.verify() == [] and tree(folder) == expected  # no litter of the killed writers either
    fired()
