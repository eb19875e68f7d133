"""What children do before something happens to them; `python -m faults.deeds` is the interpreter that forks them."""

import gc
import hashlib
import json
import os
import resource
import signal
import tempfile
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch

from synthlab.assessment.tasks import tasks_by_part
from synthlab.durable import exclusive
from synthlab.errors import ConfigurationError, InUseError
from synthlab.interrupts import uninterrupted
from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.identity import identity_algebra
from synthlab.learning import training
from synthlab.learning.batches import Place
from synthlab.learning.evaluation import train_cached
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.search.budget import Budget
from synthlab.search.filtering import Filtered
from synthlab.search.problem import Problem
from synthlab.search.symbolic import Enumeration
from synthlab.splits.density import density_settings
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings, support_split
from synthlab.store import Store
from synthlab.study import contests
from synthlab.study.contests import Contest
from synthlab.study.proposers import ModelProposer
from synthlab.study.study import Study
from synthlab.study.trials import Trial, draw_split
from synthlab.study.verdict import hold_verdict
from synthlab.study.workspace import Universe, Workspace
from synthlab.universe.corpus import Corpus, build_corpus
from synthlab.universe.enumeration import enumerate_functions
from synthlab.universe.shards import enumerate_functions_on_disk, enumerate_texts

MODEL = ModelConfig(width=8, layers=1, heads=2)
SHORT = TrainingConfig(num_steps=30, batch_size=128, learning_rate=4e-3, num_checks=2)
"""A few batches make an epoch of the 3-leaf universe, so that a run has three."""
CLOCK = ["seconds", "tokens_per_second"]
SETTINGS = support_settings(Region(rule="root", root="*"), num_test=30, reserved=0.25)


def store_with_split(root, policy=None):
    """A store that holds the 3-leaf universe and a split of it; their keys."""
    store = Store(root)
    corpus = build_corpus(POLYNOMIAL, 3)
    settings = SETTINGS if policy is None else SETTINGS | {"policy": policy}
    split = support_split(corpus, {}, settings)
    corpus.save(store), split.save(store)
    return corpus.key, split.key


def disturbed(folder, moment, what):
    """Do something to this process before a step (1 is the first), or as a check begins.

    Parameters
    ----------
    moment
        ``step 7``, ``check``, ``saved`` (right after a checkpoint), or None.
    what
        ``SIGKILL``, ``SIGTERM``, ``SIGINT``, or ``error``.
    """
    count = [0]

    def happen():
        (folder / "happened").touch()
        if what == "error":
            raise RuntimeError("power cut")
        os.kill(os.getpid(), getattr(signal, what))

    def before(original, when):
        def watched(*arguments, **flags):
            count[0] += 1
            if count[0] == when:
                happen()
            return original(*arguments, **flags)

        return watched

    def after(original):
        def watched(*arguments, **flags):
            found = original(*arguments, **flags)
            happen()
            return found

        return watched

    if moment is None:
        return
    if moment == "check":
        training.Progress._ask = before(training.Progress._ask, 1)
    elif moment == "saved":
        training.Keeper.save = after(training.Keeper.save)
    else:
        training.program_loss = before(training.program_loss, int(moment.split()[1]))


def note_batches(folder):
    """Write down every step that is taken, as it comes: its items where they are known, and a hash of its batch."""
    original, file = training.program_loss, (folder / "batches").open("a", buffering=1)

    def watched(model, data, fetched, *others):
        content = b"".join(tensor.contiguous().numpy().tobytes() for tensor in data.batch(fetched))
        items = fetched.items.tolist() if isinstance(fetched, Place) else []
        file.write(json.dumps([items, hashlib.sha256(content).hexdigest()]) + "\n")
        return original(model, data, fetched, *others)

    training.program_loss = watched


def train(folder, *, store, corpus, split, moment=None, what="SIGKILL", streamed=None, every=4):
    """Train, note every batch, and be cut off at a moment; the key of the run that is saved."""
    kept, original = Store(store), training.Keeper.__init__
    training.Keeper.__init__ = lambda self, place, _: original(self, place, every)
    loaded = Corpus.load(kept, corpus), Split.load(kept, split)
    note_batches(folder)
    disturbed(folder, moment, what)
    run = training.train(*loaded, MODEL, SHORT, store=kept, progress=False, streamed=streamed)
    if run.finished:
        run.save(kept)
    return {"key": run.key, "steps": run.steps_done}


def train_once(folder, *, store, corpus, split, steps=30, hold_at=None):
    """`train_cached`, as a notebook calls it; says when a step is reached, and waits there for a file ``go``."""
    kept, count = Store(store), [0]
    loaded, original = (Corpus.load(kept, corpus), Split.load(kept, split)), training.program_loss

    def watched(*arguments):
        count[0] += 1
        if count[0] == hold_at:
            (folder / "holds").touch()
            while not (folder / "go").exists():
                time.sleep(0.005)
        return original(*arguments)

    training.program_loss = watched
    (folder / "begins").touch()
    run = train_cached(*loaded, MODEL, replace(SHORT, num_steps=steps), store=kept, progress=False)
    return {"key": run.key, "steps": run.steps_done, "steps_here": count[0]}


def trial(seed, steps=12):
    """A tiny experiment."""
    return Trial(
        tags={"group": "support", "region": "product", "seed": seed}, universe=Universe(max_size=3), kind="support",
        settings=SETTINGS, model=MODEL,
        training=TrainingConfig(num_steps=steps, batch_size=16, learning_rate=1e-2, num_checks=1, seed=seed),
    )  # fmt: skip


def study(num, steps=12):
    """As many of them as are asked for."""
    return Study("many", tuple(trial(seed, steps) for seed in range(num)))


def run_study(folder, *, store, num):
    """A study in this process; how many of its trials are done."""
    (folder / "begins").touch()
    return len(study(num).run(Workspace(Store(store)), workers=1, progress=False).trials)


WIDE = ModelConfig(width=128, layers=2, heads=4)


def starve(folder, *, store, corpus, split, batch_size):
    """Train with too little memory for the batch, and again with the batch that is suggested, until it works."""
    kept, messages = Store(store), []
    loaded = Corpus.load(kept, corpus), Split.load(kept, split)

    def attempt(size):
        config = TrainingConfig(num_steps=2, batch_size=size, num_checks=0)
        return training.train(*loaded, WIDE, config, store=kept, progress=False)

    attempt(8)  # loads every library before the limit
    room = psutil.Process().memory_info().vms + (100 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    while True:
        try:
            run = attempt(batch_size)
            return {"messages": messages, "steps": run.steps_done, "batch_size": run.training.batch_size}
        except ConfigurationError as error:
            messages.append(str(error))
            batch_size = int(str(error).split("batch_size=")[1].split(",")[0])


def fail_and_succeed(folder, *, store, corpus, split, times):
    """Run out of memory and train a smaller batch, again and again; resident bytes, and what is alive afterwards."""
    kept, errors, sizes, held = Store(store), [], [], []
    loaded, original, refs, grown = (Corpus.load(kept, corpus), Split.load(kept, split)), training.program_loss, [], []

    def starving(model, data, *others):
        loss = original(model, data, *others)
        refs.extend(weakref.ref(thing) for thing in (model, data, loss[0]))
        if len(refs) > 3:  # in the second step, so that gradients and moments are there
            before = psutil.Process().memory_info().rss
            ballast = torch.ones(60 << 18)  # noqa: F841  (60 MB that this frame holds)
            grown.append(psutil.Process().memory_info().rss - before)
            torch.empty(1 << 50)
        return loss

    for number in range(times):
        refs.clear()
        training.program_loss = starving
        try:
            training.train(*loaded, WIDE, replace(SHORT, seed=2 * number), store=kept, progress=False)
        except ConfigurationError as error:
            errors.append(error)  # as a notebook does with the last one
        training.program_loss = original
        held.append(sum(ref() is not None for ref in refs))
        small = TrainingConfig(num_steps=2, batch_size=8, num_checks=0, seed=number)
        training.train(*loaded, WIDE, small, store=kept, progress=False)
        gc.collect()
        sizes.append(psutil.Process().memory_info().rss)
    assert len(errors) == times
    return {"bytes": sizes, "held": held, "one": max(grown)}


def hold(folder, *, place, gate, number):
    """Try to hold a folder, as all who wait for one gate do at once; when that was, or why it was refused."""
    (folder / "begins").touch()
    while not Path(gate).exists():
        time.sleep(0.001)
    try:
        with exclusive(Path(place)):
            start = time.monotonic()
            time.sleep(0.02)
            return {"number": number, "got": True, "from": start, "to": time.monotonic()}
    except InUseError as error:
        return {"number": number, "got": False, "said": str(error)}


def name_splits(folder, *, store, seed, times):
    """Save a split under a name that another process gives too, again and again; its key."""
    split = support_split(build_corpus(POLYNOMIAL, 3), {}, SETTINGS | {"seed": seed})
    for _ in range(times):
        Store(store).name(split, "mine")
    return split.key


# ---------------------------------------------------------------- what Ctrl-C may come into

UNIVERSE = Universe(max_size=3)


def digest(*arrays):
    """One hash of arrays, texts or tables."""
    found = hashlib.sha256()
    with uninterrupted():  # which pandas would make an error of its own
        for array in arrays:
            content = array.to_json().encode() if hasattr(array, "to_json") else np.ascontiguousarray(array).tobytes()
            found.update(content)
    return found.hexdigest()


def enumerate_in_memory(root):
    table = enumerate_functions(POLYNOMIAL, identity_algebra(POLYNOMIAL), 4, "leaves")
    corpus = Workspace(Store(root)).corpus(UNIVERSE)
    return digest(table.text(), table.keys, corpus.prefix, corpus.class_index, corpus.class_id)


def enumerate_on_disk(root):
    texts = enumerate_texts(POLYNOMIAL, 3, store=Store(root), rows_per_shard=300, num_workers=2)
    functions = enumerate_functions_on_disk(POLYNOMIAL, 3, store=Store(root), partitions=3, num_workers=2)
    return digest(*(array for pair in texts.texts() for array in pair), functions.functions().keys)


def embed(root):
    spaces = Workspace(Store(root)).spaces(UNIVERSE)
    return digest(*(space.coordinates for space in spaces.values()))


def draw(root):
    workspace = Workspace(Store(root))
    spaces = workspace.spaces(UNIVERSE)
    settings = density_settings(regime="dual", num_train=200, num_test=30, num_cells=5)
    split = draw_split(workspace.corpus(UNIVERSE), spaces, workspace.store, "density", settings)
    return digest(split.train, split.targets, *split.tests.values())


def _drawn(workspace):
    corpus = workspace.corpus(UNIVERSE)
    return corpus, draw_split(corpus, {}, workspace.store, "support", SETTINGS)


def learn(root):
    workspace = Workspace(Store(root))
    run = train_cached(*_drawn(workspace), MODEL, SHORT, store=workspace.store, progress=False)
    if not run.finished:
        raise KeyboardInterrupt
    return hashlib.sha256(run.weights).hexdigest() + digest(run.history)


def experiment(root):
    tables = study(3).run(Workspace(Store(root)), workers=1, progress=False)
    return digest(tables.results["support"], tables.trials.drop(columns=CLOCK))


def contest(root):
    workspace = Workspace(Store(root))
    corpus, split = _drawn(workspace)
    run = train_cached(corpus, split, MODEL, SHORT, store=workspace.store, progress=False)
    if not run.finished:
        raise KeyboardInterrupt
    parts = {"forced": tasks_by_part(corpus, split)["forced"].sample(4)}
    entrants = [("model", Filtered(ModelProposer(run, how="beam"), 4, name="beam")), ("symbolic", Enumeration())]

    def work():
        return Contest.held({"arena": "here", "split": split.key}, parts, entrants, Budget(seconds=np.inf))

    held = contests.cached(workspace.store, {"arena": "here", "split": split.key}, work)
    return digest(held.results[["method", "part", "class_id", "found"]])


def reach_verdict(root):
    workspace = Workspace(Store(root))
    verdict = hold_verdict(
        *_drawn(workspace), store=workspace.store, model=MODEL, training=SHORT, tasks=4, progress=False
    )
    return digest(verdict.results.query("kind == 'model'"))


WORK = (enumerate_in_memory, enumerate_on_disk, embed, draw, learn, experiment, contest, reach_verdict)


def worked(folder, *, store, what):
    """Do one of `WORK`, again after every interrupt; how often that was, what came out, and the seconds it took."""
    interrupted, listens, struck, start = 0, [False], [False], time.perf_counter()

    def interrupt(number, frame):
        if listens[0]:
            struck[0] = True
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    while True:
        try:
            listens[0] = True
            (folder / f"begins-{interrupted}").touch()
            found = globals()[what](store)
            listens[0] = False
            return {"interrupted": interrupted, "found": found, "seconds": time.perf_counter() - start}
        except (KeyboardInterrupt, TypeError) as error:
            listens[0] = False
            if isinstance(error, TypeError) and not struck[0]:
                raise  # NumPy makes one of an interrupt while it compares records, which ends the work as well
            interrupted, struck[0] = interrupted + 1, False


def warm():
    """Load what every child would load; without gradients, whose threads a fork would not survive."""
    with tempfile.TemporaryDirectory() as root:
        draw(root)
        enumerate_in_memory(root)
        corpus, split = _drawn(Workspace(Store(root)))
        tasks = tasks_by_part(corpus, split)["forced"].sample(2)
        Enumeration().solve(Problem.of(tasks, 0), Budget(seconds=1))


if __name__ == "__main__":
    from faults import children

    torch.set_num_threads(1)
    warm()
    children.serve(dict(globals()))
