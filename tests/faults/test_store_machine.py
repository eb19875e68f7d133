"""A store under everything at once: enumerate, commit, name, kill, corrupt, resume, verify, load, in any order.

Hypothesis chooses the order; a model remembers what is committed and what is damaged. `SYNTHLAB_SOAK` is a factor on
the number of runs, such as 50 for a night.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from faults.killing import Inline, killed, tree
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from synthlab.errors import ArtifactError
from synthlab.language.grammar import POLYNOMIAL
from synthlab.store import Carrier, Store
from synthlab.universe.shards import ShardedUniverse, enumerate_functions_on_disk, enumerate_texts

SOAK = int(os.environ.get("SYNTHLAB_SOAK", "1"))


@dataclass(frozen=True, eq=False)
class Page(Carrier):
    """An array and some bytes that follow from a number."""

    stage: ClassVar[str] = "page"
    number: int

    @property
    def identity(self):
        return {"number": self.number}

    def payload(self):
        return {"values": np.arange(self.number + 3), "text": str(self.number).encode() * 9}

    @classmethod
    def restore(cls, identity, payload):
        return cls(identity["number"])

    def frame(self):
        raise NotImplementedError


def texts(store):
    return enumerate_texts(POLYNOMIAL, 2, store=store, rows_per_shard=60, executor=Inline())


def functions(store):
    return enumerate_functions_on_disk(POLYNOMIAL, 2, store=store, partitions=2, executor=Inline())


DEEDS = {
    "texts": texts, "functions": functions,
    **{f"page {n}": lambda store, n=n: Page(n).save(store) for n in range(2)},
    **{f"name {n}": lambda store, n=n: store.name(Page(n), f"name{n}") for n in range(2)},
}  # fmt: skip


def undisturbed():
    """What every deed leaves when nothing happens: files by name."""
    found = {}
    for name, deed in DEEDS.items():
        with tempfile.TemporaryDirectory() as folder:
            deed(Store(folder))
            found[name] = tree(Path(folder))
    return found


class Machine(RuleBasedStateMachine):
    """One store, what was committed in it, and what was damaged."""

    wanted: ClassVar[dict] = {}
    injected = 0
    wounds = Bundle("wounds")

    def __init__(self):
        super().__init__()
        self.store = Store(Path(tempfile.mkdtemp()) / "store")
        self.done, self.begun, self.damaged = set(), set(), {}

    def teardown(self):
        """Whatever happened: the mends that are named, and running again, end as if nothing had."""
        self.mend()
        for name in DEEDS:
            DEEDS[name](self.store)
        expected = {}
        for files in self.wanted.values():
            expected |= files
        assert [str(p) for p in self.store.verify()] == []
        assert tree(self.store.root) == expected
        shutil.rmtree(self.store.root.parent)

    @rule(name=st.sampled_from(sorted(DEEDS)))
    def do(self, name):
        """Run a deed, or run it again; what is damaged is refused or left alone, never built upon."""
        try:
            DEEDS[name](self.store)
        except ArtifactError as error:
            assert self.damaged and "\n" not in str(error)
            return
        self.done.add(name)
        self.begun.discard(name)
        self.damaged = {path: how for path, how in self.damaged.items() if not self.healed(path, name)}

    @rule(name=st.sampled_from(sorted(DEEDS)), moment=st.integers(1, 40))
    def kill(self, name, moment):
        """Kill a deed on its way."""
        if self.damaged:
            return
        if killed(lambda: DEEDS[name](self.store), moment):
            type(self).injected += 1
            self.begun.add(name)
        else:
            self.done.add(name)

    @rule(target=wounds, number=st.integers(0, 10**6), how=st.sampled_from(["truncate", "flip", "delete", "add"]))
    def corrupt(self, number, how):
        """Damage a file of what is committed, of things that are whole."""
        files = [
            p for p in sorted(self.store.root.rglob("*"))
            if p.is_file() and ".tmp-" not in str(p) and self.owner(p) not in {self.owner(d) for d in self.damaged}
        ] if self.store.root.exists() and not self.begun else []  # fmt: skip
        if not files:
            return None
        path = files[number % len(files)]
        content = path.read_bytes()
        if how == "add":
            path = path.with_name("stray.npy")
            path.write_bytes(b"stray")
        elif how == "delete":
            path.unlink()
        elif how == "truncate":
            path.write_bytes(content[: number % len(content)])
        else:
            at = number % len(content)
            path.write_bytes(content[:at] + bytes([content[at] ^ (1 << number % 8)]) + content[at + 1 :])
        type(self).injected += 1
        self.damaged[path] = how
        return path

    @rule()
    def mend(self):
        """Delete what the problems say, and run what they say."""
        for problem in self.store.verify():
            if problem.delete is not None and problem.delete.exists():
                shutil.rmtree(problem.delete) if problem.delete.is_dir() else problem.delete.unlink()
        self.damaged.clear()
        for name in sorted(self.done | self.begun, key=lambda name: (name.startswith("name"), name)):
            DEEDS[name](self.store)
        self.done |= self.begun
        self.begun.clear()
        assert [str(p) for p in self.store.verify()] == []

    @rule(wound=consumes(wounds))
    def notice(self, wound):
        """Verify names what was damaged."""
        if wound in self.damaged and not self.is_forgotten(wound):
            assert any(
                wound == p.path or p.path in wound.parents or wound in p.path.parents for p in self.store.verify()
            )

    @invariant()
    def verify_names_exactly_what_is_wrong(self):
        problems = self.store.verify()
        wounded = {self.owner(path) for path in self.damaged}
        for problem in problems:
            hurt = self.owner(problem.path) in wounded
            dangling = problem.path.parent.name == "names" and wounded
            unfinished = self.begun and problem.wrong in (
                "has no manifest, so it is unfinished", "was left by a killed writer"
            )  # fmt: skip
            assert hurt or dangling or unfinished, str(problem)
        for path, how in self.damaged.items():
            found = any(self.owner(p.path) == self.owner(path) for p in problems)
            assert found or self.is_forgotten(path), f"{how} of {path} was not found"

    @invariant()
    def what_is_healthy_has_the_bytes_of_the_undisturbed_and_can_be_loaded(self):
        wounded = {self.owner(path) for path in self.damaged}
        for name in self.done:
            if name in self.begun:
                continue
            for file, content in self.wanted[name].items():
                if self.owner(self.store.root / file) not in wounded:
                    assert (self.store.root / file).read_bytes() == content
        for folder in self.store.artifacts():
            if self.owner(folder) in wounded:
                continue
            key = folder.name[-16:]
            if folder.parent.name == "page":
                assert Page.load(self.store, key).key == key
            else:
                assert all(payload for _, payload in ShardedUniverse.load(self.store, key).shards())

    def is_forgotten(self, path):
        """Whether a name is gone, which is like one that was never given."""
        return self.damaged[path] == "delete" and path.parent.name == "names"

    def healed(self, path, name):
        """Whether a deed wrote again what a damaged file belongs to: a name, or an artifact without manifest."""
        owner = self.owner(path)
        written = {f: c for f, c in self.wanted[name].items() if self.owner(self.store.root / f) == owner}
        present = {f: c for f, c in tree(self.store.root).items() if self.owner(self.store.root / f) == owner}
        return bool(written) and written == present

    def owner(self, path):
        """The artifact, or the name, that a file belongs to."""
        parts = path.relative_to(self.store.root).parts
        return parts[:3] if len(parts) > 1 and parts[1] == "names" else parts[:2]


@pytest.mark.fault("kill -9 at any operation of the store")
def test_no_order_of_work_deaths_and_damage_loses_or_changes_anything(fired):
    """In a fresh process, since a fork of one with threads may wait for ever for a lock that nobody holds."""
    tests = Path(__file__).resolve().parents[1]
    answer = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=600 * SOAK,
        env=os.environ | {"PYTHONPATH": str(tests), "OMP_NUM_THREADS": "1", "SYNTHLAB_WORKERS": "1"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    injected = int(answer.stdout.splitlines()[-1])
    assert injected > 5
    fired(injected)


if __name__ == "__main__":
    Machine.wanted = undisturbed()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12 * SOAK, stateful_step_count=12, deadline=None, derandomize=SOAK == 1,
            suppress_health_check=list(HealthCheck), database=None,
        ),
    )  # fmt: skip
    print(Machine.injected)
