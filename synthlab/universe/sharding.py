"""The pieces of an enumeration that does not fit in memory; each can run anywhere and is written at once.

A piece is a pure function of its job, and its result is committed by one rename. So pieces may run in
threads, processes or on other machines that see the same folder, may be killed at any moment, and may even
run twice: the result is the same.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from synthlab.errors import SynthlabError
from synthlab.language.grammar import Grammar
from synthlab.language.identity import fingerprints, identity_algebra
from synthlab.language.measure import smallest_size
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.store import read_payload, read_shard_manifest, write_folder
from synthlab.universe.counting import unrank
from synthlab.universe.enumeration import new_functions, operand_order, with_functions
from synthlab.universe.functions import FunctionTable, NewFunctions, merged_order, terminal_table
from synthlab.universe.hashing import HashIndex


@dataclass(frozen=True)
class Job:
    """What all pieces of one enumeration share; travels to workers.

    Attributes
    ----------
    grammar
        The grammar, pickled by value because its operators are functions of the user's notebook.
    folder
        Where pieces are written; every worker must see it.
    max_size, measure, seed
        The bound, and the seed of the identity test.
    """

    grammar: bytes
    folder: str
    max_size: int
    measure: str
    seed: int

    @classmethod
    def of(cls, grammar: Grammar, folder: Path, max_size: int, measure: str, seed: int) -> Job:
        """Job of a grammar object."""
        return cls(packed(grammar), str(folder), max_size, measure, seed)

    def load_grammar(self) -> Grammar:
        """The grammar, one object per process, so that what is cached for it is shared."""
        return unpacked(self.grammar)

    def shard(self, name: str) -> Path:
        """Folder of one piece."""
        return Path(self.folder) / name

    def is_done(self, name: str) -> bool:
        """Whether a piece is committed."""
        return (self.shard(name) / "manifest.json").exists()

    def write(self, name: str, payload: dict[str, np.ndarray]) -> str:
        """Commit a piece."""
        rows = len(next(iter(payload.values())))
        write_folder(self.shard(name), {"shard": name, "rows": rows}, payload)
        return name

    def read(self, name: str) -> dict[str, Any]:
        """Payload of a committed piece."""
        return read_payload(self.shard(name), read_shard_manifest(self.shard(name)))


def packed(grammar: Grammar) -> bytes:
    """A grammar by value, for a worker: its operators may be functions of the user's notebook."""
    return cloudpickle.dumps(grammar)


@functools.lru_cache(maxsize=8)
def unpacked(content: bytes) -> Grammar:
    """The grammar of `packed`, one object per process; only ever of bytes that this program itself hands over."""
    return cloudpickle.loads(content)


# ---------------------------------------------------------------- texts


CLASSES = "classes"


def text_shard_name(number: int) -> str:
    """Name of a block of texts."""
    return f"texts-{number:06d}"


def write_texts(job: Job, number: int, start: int, stop: int) -> str:
    """Write the texts with ids from `start` to `stop`, and the class of each."""
    name = text_shard_name(number)
    if job.is_done(name):
        return name
    grammar = job.load_grammar()
    prefix = unrank(grammar, np.arange(start, stop), job.max_size, job.measure)
    with _LOADING:
        index = _class_index(job)
    keys = fingerprints(grammar, prefix, job.seed)
    class_index = index.find(keys)
    if ((class_index < 0) & (keys[:, 0] != UNDEFINED_RESIDUE)).any():
        raise SynthlabError(
            "a text computes no enumerated function: an operator that runs as NumPy only jumps between values that "
            "count as equal; declare it integral, on a whole grid"
        )
    return job.write(name, {"prefix": prefix, "class_index": class_index.astype(np.int32)})


@functools.lru_cache(maxsize=2)
def _class_index(job: Job) -> HashIndex:
    return HashIndex(job.read(CLASSES)["keys"])


# ---------------------------------------------------------------- functions


def holds_rows(name: str) -> bool:
    """Whether a piece holds texts or functions of its own, not a copy for later work."""
    return name.startswith("texts-") or "-part-" in name


def part_name(size: int, partition: int) -> str:
    """Name of one partition of the functions of one size."""
    return f"size-{size:02d}-part-{partition:04d}"


def size_name(size: int) -> str:
    """Name of all functions of one size, merged in text order."""
    return f"size-{size:02d}"


def write_functions(job: Job, size: int, partition: int, num_partitions: int) -> str:
    """Write the new functions of one size whose fingerprints lie in one partition."""
    name = part_name(size, partition)
    if job.is_done(name):
        return name
    table, by_text = functions_below(job, size)
    algebra = identity_algebra(table.grammar, job.seed)
    order = operand_order(table, by_text, size)
    found = new_functions(table, algebra, size, order, table.keys, partition, num_partitions)
    columns = ("sequence", "tokens", "operands", "keys")
    return job.write(name, {c: getattr(found, c) for c in columns})


def merge_size(job: Job, size: int, num_partitions: int) -> str:
    """Write all functions of one size in text order, for use as operands of the next."""
    name = size_name(size)
    if not job.is_done(name):
        found = read_functions(job, [part_name(size, p) for p in range(num_partitions)])
        job.write(name, {"tokens": found.tokens, "operands": found.operands, "keys": found.keys})
    return name


def read_functions(job: Job, names: list[str]) -> NewFunctions:
    """Partitions of one size, back in text order."""
    parts = [job.read(name) for name in names]
    return NewFunctions.merged([NewFunctions(**part, executed=0) for part in parts])


_LOADING = threading.Lock()


def functions_below(job: Job, size: int) -> tuple[FunctionTable, np.ndarray]:
    """All functions smaller than `size`, and their rows by text alone; read once per process."""
    with _LOADING:
        return _functions_below(job, size)


@functools.lru_cache(maxsize=1)
def _functions_below(job: Job, size: int) -> tuple[FunctionTable, np.ndarray]:
    grammar = job.load_grammar()
    algebra = identity_algebra(grammar, job.seed)
    table = terminal_table(grammar, algebra, job.measure)
    order = np.argsort(table.tokens, kind="stable")
    for smaller in range(smallest_size(job.measure) + 1, size):
        part = job.read(size_name(smaller))
        found = NewFunctions(np.empty(0, dtype=np.int64), **part, executed=0)
        table = with_functions(table, algebra, smaller, found)
        order = merged_order(table, order)
    return table, order
