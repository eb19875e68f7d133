"""Processes that die by SIGKILL at the n-th operation on the file system, for n = 1, 2, ..., as SQLite is tested.

`killed` forks a child for one deed; `survived` kills it at one moment after another and checks what is left. Run as a
program (``python killing.py SCENARIO FOLDER EVERY OFFSET``) it does so in a fresh process, in which no other test has
started threads; imports and compiled kernels are then paid for once, and every child is a fork.
"""

import itertools
import json
import os
import random
import shutil
import signal
import sys
import traceback
from concurrent.futures import Executor, Future
from pathlib import Path

from synthlab.store import Store, read_manifest

OPERATIONS = ("fsync", "rename", "replace", "unlink", "link", "mkdir", "rmdir")
"""What a store does to a disk; each is two moments, before and after."""
UNFINISHED = (
    "has no manifest, so it is unfinished",
    "was left by a killed writer",
    "belongs to a run that is finished",
)
"""What may be wrong after a death."""


class Inline(Executor):
    """Runs a piece where it is submitted, so that a fork takes all of it along; looks at the world before each."""

    def __init__(self, before=lambda number: None):
        self.number, self.before = 0, before

    def submit(self, function, /, *arguments, **keywords):
        future = Future()
        try:
            self.before(self.number)
            future.set_result(function(*arguments, **keywords))
        except BaseException as error:
            future.set_exception(error)
        self.number += 1
        return future


def tree(folder):
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def stamps(folder):
    """What a rewritten file could not keep."""
    found = {str(p.relative_to(folder)): p.stat() for p in folder.rglob("*") if p.is_file() and ".tmp-" not in str(p)}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def universes(store):
    """Folders of finished and unfinished universes."""
    return sorted((store.root / "universe").glob("*")) if store.root.exists() else []


def unfinished(store):
    """Folders that are begun and not committed; nothing else may be wrong."""
    problems = store.verify()
    assert all((p.wrong, p.delete) == ("has no manifest, so it is unfinished", None) for p in problems), problems
    return [p.path for p in problems]


def die_at(moment):
    """Let this process kill itself at a moment; returns the list that grows with the moments that have passed."""
    passed = []

    def watched(name, original):
        def operation(*arguments, **options):
            for when in ("before", "after"):
                found = original(*arguments, **options) if when == "after" else None
                passed.append((name, when))
                if len(passed) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
            return found

        return operation

    for name in OPERATIONS:
        setattr(os, name, watched(name, getattr(os, name)))
    return passed


def killed(deed, moment):
    """Whether a child that does a deed was killed at a moment; it may also have ended before."""
    child = os.fork()
    if not child:
        code = 1
        signal.alarm(300)  # one that waits for ever is a failure
        try:
            die_at(moment)
            deed()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), f"the child failed by itself ({code})"
    return code == -signal.SIGKILL


def survived(deed, folder, *, prepare=lambda root: None, found=tree, every=1, offset=0):
    """Kill a deed at every moment (or every k-th) until it completes; after each death look, go on, and compare.

    Parameters
    ----------
    deed, prepare
        Functions of a folder: what is killed, and what was committed there before.
    folder
        Where to work.
    found
        From the folder to what must be equal in the end, by default every byte.
    every, offset
        Which moments: ``1 + offset``, and every so many after it.

    Returns
    -------
    int
        How many were killed.
    """
    before, expected = folder / "before", folder / "expected"
    before.mkdir(parents=True)
    prepare(before)
    shutil.copytree(before, expected)
    deed(expected)
    old, want, content = tree(before), found(expected), tree(expected)
    for number in itertools.count():
        root = folder / "killed" / str(number)
        shutil.copytree(before, root)
        died = killed(lambda root=root: deed(root), 1 + offset + every * number)
        if died:
            left = tree(root)
            if found is tree:
                assert all(left[n] in (old[n], content.get(n)) for n in old), "what was committed has changed"
            elif old:
                assert found(root) in (found(before), want), "what was committed cannot be read"
            for problem in Store(root / "store").verify():
                assert problem.wrong in UNFINISHED, str(problem)
            assert_readable(root / "store", content, found is tree)
            deed(root)
        assert found(root) == want, f"killed at moment {1 + offset + every * number}"
        for problem in Store(root / "store").verify():  # what is safe elsewhere and only takes room
            assert problem.wrong in UNFINISHED[1:] and not problem.again, str(problem)
            shutil.rmtree(problem.delete) if problem.delete.is_dir() else problem.delete.unlink()
        assert [str(p) for p in Store(root / "store").verify()] == []
        shutil.rmtree(root)
        if not died:
            return number
    raise AssertionError


def assert_readable(root, content, exact):
    """Every artifact that is committed reads, and has the content of the undisturbed one."""
    store = Store(root)
    for folder in store.artifacts():
        manifest = read_manifest(folder)
        if not manifest.get("shards"):
            store.read(manifest["stage"], manifest["key"])
        for name, found in tree(folder).items() if exact else ():
            assert content[f"store/{folder.relative_to(root)}/{name}"] == found, f"{folder} {name}"


# ---------------------------------------------------------------- deeds


def texts():
    """A universe of texts in pieces."""
    from synthlab.language.grammar import POLYNOMIAL
    from synthlab.universe.shards import enumerate_texts

    def deed(root):
        enumerate_texts(POLYNOMIAL, 2, store=Store(root / "store"), rows_per_shard=40, executor=Inline())

    return {"deed": deed}


def functions():
    """A universe of functions in partitions."""
    from synthlab.language.grammar import POLYNOMIAL
    from synthlab.universe.shards import enumerate_functions_on_disk

    def deed(root):
        enumerate_functions_on_disk(
            POLYNOMIAL, 3, store=Store(root / "store"), partitions=1, executor=Inline()
        )  # fmt: skip

    return {"deed": deed}


def embedding():
    """A corpus and both of its spaces."""
    from synthlab.language.grammar import POLYNOMIAL
    from synthlab.spaces.semantic import fit_semantic
    from synthlab.spaces.syntactic import fit_syntactic
    from synthlab.universe.corpus import build_corpus

    corpus = build_corpus(POLYNOMIAL, 2)
    made = [corpus, fit_syntactic(corpus, num_axes=4), fit_semantic(corpus, num_axes=4)]

    def deed(root):
        for carrier in made:
            carrier.save(Store(root / "store"))

    return {"deed": deed, "prepare": lambda root: build_corpus(POLYNOMIAL, 1).save(Store(root / "store"))}


def split():
    """A split that takes the name of another."""
    from synthlab.language.grammar import POLYNOMIAL
    from synthlab.splits.regions import Region
    from synthlab.splits.support import support_settings, support_split
    from synthlab.universe.corpus import build_corpus

    corpus, products = build_corpus(POLYNOMIAL, 3), Region(rule="root", root="*")
    old, new = (support_split(corpus, {}, support_settings(products, num_test=9, seed=s)) for s in (0, 1))
    return {
        "prepare": lambda root: Store(root / "store").name(old, "mine"),
        "deed": lambda root: Store(root / "store").name(new, "mine"),
    }


def _trials(seeds):
    from synthlab.presets import ModelConfig, TrainingConfig
    from synthlab.splits.density import density_settings
    from synthlab.study.trials import Trial
    from synthlab.study.workspace import Universe

    return tuple(
        Trial(
            tags={"group": "density", "regime": "random", "seed": seed}, universe=Universe(max_size=2), kind="density",
            settings=density_settings(regime="random", num_train=20, num_test=4),
            model=ModelConfig(width=8, layers=1, heads=2),
            training=TrainingConfig(num_steps=8, batch_size=8, num_checks=1, seed=seed),
        )
        for seed in seeds
    )  # fmt: skip


def training():
    """A run that saves a checkpoint every other step; what counts is its weights."""
    import torch

    from synthlab.learning import checkpoints
    from synthlab.learning.run import Run
    from synthlab.study.contests import trained
    from synthlab.study.workspace import Workspace

    torch.set_num_threads(1)
    (trial,) = _trials([0])
    original = checkpoints.Keeper.__init__

    def often(self, folder, every):
        original(self, folder, 2)

    checkpoints.Keeper.__init__ = often

    def deed(root):
        trained(Workspace(Store(root / "store")), trial)

    def weights(root):
        (key,) = [f.name[-16:] for f in (root / "store" / "run").glob("*-*")]
        return Run.load(Store(root / "store"), key).weights

    return {"deed": deed, "found": weights}


def study():
    """Two trials and their published tables, without what the clock says."""
    import pandas as pd
    import torch

    from synthlab.study.study import Study
    from synthlab.study.tables import StudyTables, read_tables, write_tables
    from synthlab.study.workspace import Workspace

    torch.set_num_threads(1)
    two = Study("two", _trials([0, 1]))

    def publish(root, tables):
        write_tables(tables, root / "tables", {})

    def deed(root):
        publish(root, two.run(Workspace(Store(root / "store")), workers=1, progress=False))

    def prepare(root):
        """Another study was published there."""
        row = {"trial": "0" * 16, "group": "density"}
        publish(root, StudyTables(pd.DataFrame([row]), {"density": pd.DataFrame([row])}, pd.DataFrame({"trial": []})))

    def found(root):
        tables = read_tables(root / "tables")
        clock = [c for c in ("seconds", "tokens_per_second") if c in tables.trials]
        return tables.trials.drop(columns=clock).to_json() + tables.results["density"].to_json()

    return {"deed": deed, "prepare": prepare, "found": found}


def tables():
    """Published tables of a study that take the place of others."""
    import pandas as pd

    from synthlab.study.tables import StudyTables, read_tables, write_tables

    def publish(root, loss):
        row = pd.DataFrame({"trial": ["0" * 16], "group": ["density"], "loss": [loss]})
        write_tables(StudyTables(row, {"density": row}, row[:0]), root / "tables", {})

    def found(root):
        tables = read_tables(root / "tables")
        return tables.trials.to_json() + tables.results["density"].to_json() + repr(tables.provenance)

    return {"deed": lambda root: publish(root, 2.0), "prepare": lambda root: publish(root, 1.0), "found": found}


SCENARIOS = {f.__name__: f for f in (texts, functions, embedding, split, tables, training, study)}


if __name__ == "__main__":
    names, place, every, seed = sys.argv[1].split(","), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    offsets = random.Random(seed)
    counts = {
        name: survived(**SCENARIOS[name](), folder=place / name, every=every, offset=offsets.randrange(every))
        for name in names
    }
    print(json.dumps(counts))
