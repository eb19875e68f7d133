"""Universes on disk in pieces: more texts or functions than memory holds, on any number of workers.

The work is handed to a `concurrent.futures.Executor`: threads by default, processes, or a cluster's (Dask:
``Client(...).get_executor()``). Workers on other machines must see the store's folder under the same path,
and need synthlab installed in the same version; nothing else is shared. What was committed before an
interruption is kept, and running the same call again finishes it with an identical result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import cpu_count

from synthlab.errors import ArtifactError, BudgetExceeded, ConfigurationError
from synthlab.language.grammar import Grammar, get_grammar
from synthlab.language.identity import FINGERPRINT_SEED, check_coefficients, identity_algebra
from synthlab.language.measure import check_measure, max_length, smallest_size
from synthlab.store import Store, read_payload, read_shard_manifest
from synthlab.universe import sharding
from synthlab.universe.building import SCHEMA, STAGE, Build, Enumeration, Pool
from synthlab.universe.corpus import function_table
from synthlab.universe.counting import rank
from synthlab.universe.enumeration import with_functions
from synthlab.universe.functions import FunctionTable, terminal_table
from synthlab.universe.planning import SHARE, Limits, Plan, free_disk, plan_functions, plan_texts

_SHARD_BYTES = 128e6
_MOST_PIECES = 4096


@dataclass(frozen=True, eq=False)
class ShardedUniverse:
    """All texts, or all functions, of a universe, in committed pieces.

    Attributes
    ----------
    grammar, folder
        The language, and where the pieces are.
    manifest
        What it was made from, and the pieces with their checksums.
    """

    grammar: Grammar
    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def load(cls, store: Store, key: str) -> ShardedUniverse:
        """Open a finished universe by key.

        Raises
        ------
        ArtifactError
            If there is none, if it is damaged or unfinished, or if its grammar or version is not today's.
        """
        folder = store.folder(STAGE, key)
        if not (folder / "manifest.json").exists():
            raise ArtifactError(f"{folder} is unfinished: run the same enumeration again to finish it")
        manifest = store.manifest(STAGE, key)
        if manifest["schema"] != SCHEMA:
            raise ArtifactError(f"{folder} has schema {manifest['schema']}, not {SCHEMA}: enumerate it again")
        grammar = get_grammar(manifest["identity"]["grammar"])
        if grammar.digest != manifest["identity"]["digest"]:
            raise ArtifactError(f"{folder} was made with another grammar {grammar.name!r}: enumerate it again")
        return cls(grammar, folder, manifest)

    @property
    def key(self) -> str:
        """Content key."""
        return str(self.manifest["key"])

    @property
    def what(self) -> str:
        """Texts or functions."""
        return str(self.manifest["identity"]["what"])

    def frame(self) -> pd.DataFrame:
        """One row a piece: name and number of rows. Sizes merged for later work repeat the rows of their parts."""
        shards = [self._piece(name) for name in self.manifest["shards"]]
        return pd.DataFrame({"shard": [s["shard"] for s in shards], "rows": [s["rows"] for s in shards]})

    def __len__(self) -> int:
        return int(self.manifest["rows"])

    def shards(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Names and arrays of the pieces, one at a time."""
        for name in self.manifest["shards"]:
            yield name, read_payload(self.folder / name, self._piece(name))

    def texts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of texts in the order of their ids: tokens (n, L), and class rows (n,), -1 where undefined.

        Raises
        ------
        ConfigurationError
            If this universe holds functions.
        """
        self._require("texts")
        for name, payload in self.shards():
            if name != sharding.CLASSES:
                yield payload["prefix"], payload["class_index"]

    def functions(self) -> FunctionTable:
        """All functions as one table, if it fits in memory.

        Raises
        ------
        ConfigurationError
            If this universe holds texts.
        """
        self._require("functions")
        identity = self.manifest["identity"]
        job = sharding.Job.of(
            self.grammar, self.folder, identity["max_size"], identity["measure"], identity["seed"]
        )  # fmt: skip
        algebra = identity_algebra(self.grammar, job.seed)
        table = terminal_table(self.grammar, algebra, job.measure)
        for size in range(smallest_size(job.measure) + 1, job.max_size + 1):
            names = [sharding.part_name(size, p) for p in range(identity["partitions"])]
            for name in names:
                self._piece(name)
            table = with_functions(table, algebra, size, sharding.read_functions(job, names))
        return table

    def _piece(self, name: str) -> dict[str, Any]:
        """Manifest of one piece, if it is the one that was made for this universe."""
        digest = self.manifest["shards"].get(name)
        if digest is None:
            raise ArtifactError(f"{self.folder} does not list piece {name}: enumerate it again")
        return read_shard_manifest(self.folder / name, digest)

    def _require(self, what: str) -> None:
        if self.what != what:
            raise ConfigurationError(f"this universe holds {self.what}, not {what}: enumerate its {what}")

    def __repr__(self) -> str:
        identity = self.manifest["identity"]
        size = f"<= {identity['max_size']} {identity['measure']}"
        content = f"{len(self):,} {self.what}, {len(self.manifest['shards'])} shards"
        return f"ShardedUniverse({self.grammar.name}, {size}: {content})"


def enumerate_texts(
    grammar: Grammar,
    max_size: int,
    *,
    measure: str = "leaves",
    store: Store | None = None,
    seed: int = FINGERPRINT_SEED,
    limits: Limits | None = None,
    rows_per_shard: int | None = None,
    executor: Executor | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> ShardedUniverse:
    """Stream every text up to a size, with the class of each, to disk.

    Parameters
    ----------
    grammar, max_size, measure, seed
        What to enumerate.
    store
        Where to; the default store.
    limits
        Memory that all workers of this machine together may take, and disk; 80 % of what is free by default.
    rows_per_shard
        Texts a piece; by default what the memory allows, at most 128 MB.
    executor, num_workers
        Where pieces are made, and how many at a time; threads of all cores by default.
    progress
        Show a progress bar.

    Raises
    ------
    BudgetExceeded
        Before any work, if the texts would not fit on the disk, or their functions in memory.
    """
    store, limits, workers = store or Store(), limits or Limits(), _checked("num_workers", num_workers) or cpu_count()
    check_coefficients(grammar, max_size, measure)
    universe = Enumeration(grammar, max_size, measure, seed, store, "texts")
    build = universe.begun(_checked("rows_per_shard", rows_per_shard))
    if build is not None and build.finished:
        return _opened(build)
    plan = plan_texts(grammar, max_size, measure, seed)
    _require_disk(plan, store, limits)
    if build is None:
        length, copies = max_length(grammar, max_size, measure), _copies(executor, workers)
        rows = _rows_per_shard(limits, workers, length, copies * plan.functions)
        build = universe.begin(rows_per_shard or rows)
    table = function_table(grammar, max_size, measure=measure, seed=seed, limits=limits)
    if not build.job.is_done(sharding.CLASSES):
        ids = rank(grammar, table.text(), max_size, measure)
        build.job.write(sharding.CLASSES, {"keys": table.keys, "class_id": ids})
    rows, total = build.pieces, plan.programs
    starts = range(0, total, rows)
    jobs = [(sharding.write_texts, build.job, k, start, min(start + rows, total)) for k, start in enumerate(starts)]
    with Pool(executor, workers) as pool:
        names = pool.run(jobs, "texts", progress)
    build.commit([sharding.CLASSES, *names], total)
    return _opened(build)


def _opened(build: Build) -> ShardedUniverse:
    return ShardedUniverse(build.universe.grammar, build.folder, build.manifest())


def _checked(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ConfigurationError(f"{name} {value}: use at least 1")
    return value


def _copies(executor: Executor | None, workers: int) -> int:
    """How many workers hold classes of their own: threads share them."""
    return 1 if executor is None or isinstance(executor, ThreadPoolExecutor) else workers


def _rows_per_shard(limits: Limits, workers: int, length: int, num_functions: float) -> int:
    """Texts a piece, so that all workers together stay within the memory."""
    # tokens and their encoded copy, ids, fingerprints, class rows; beside the classes and their hash table
    per_row, shared = 4 * length + 64, 100.0 * num_functions
    rows = int(min(_SHARD_BYTES, (limits.memory_bytes - shared) / workers) / per_row)
    if rows < 1:
        raise BudgetExceeded(
            f"{limits.memory_bytes / 1e6:,.0f} MB leave no room for texts beside {num_functions:,.0f} functions "
            f"({shared / 1e6:,.0f} MB): allow more memory or fewer workers"
        )
    return rows


def enumerate_functions_on_disk(
    grammar: Grammar,
    max_size: int,
    *,
    measure: str = "leaves",
    store: Store | None = None,
    seed: int = FINGERPRINT_SEED,
    limits: Limits | None = None,
    partitions: int | None = None,
    executor: Executor | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> ShardedUniverse:
    """Enumerate all functions up to a size, partitioned by the prefix of their fingerprints.

    Every piece looks at all candidates of a size and keeps those of its partition, so its memory is that of
    the smaller functions and of one partition's hash table.

    Parameters
    ----------
    grammar, max_size, measure, seed, store, executor, num_workers, progress
        As in `enumerate_texts`; by leaves or nodes.
    limits
        Memory that all workers of this machine together may take, and disk.
    partitions
        Pieces per size; by default what the memory asks for.

    Raises
    ------
    BudgetExceeded
        Before any work, if it would not fit on the disk, or the operands not in memory.
    """
    store, limits, workers = store or Store(), limits or Limits(), _checked("num_workers", num_workers) or cpu_count()
    check_measure(grammar, measure, max_size)
    if measure == "depth":
        raise ConfigurationError("functions by depth are enumerated in memory: use function_table, leaves or nodes")
    check_coefficients(grammar, max_size, measure)
    universe = Enumeration(grammar, max_size, measure, seed, store, "functions")
    build = universe.begun(_checked("partitions", partitions))
    if build is not None and build.finished:
        return _opened(build)
    if build is None:
        plan = plan_functions(grammar, max_size, measure, seed)
        _require_disk(plan, store, limits)
        build = universe.begin(partitions or _num_partitions(plan, limits, workers))
    with Pool(executor, workers) as pool:
        names = _write_sizes(build, pool, progress)
    leaves = len(terminal_table(grammar, identity_algebra(grammar, seed), measure))
    parts = [n for n in names if sharding.holds_rows(n)]
    build.commit(names, leaves + sum(read_shard_manifest(build.job.shard(n))["rows"] for n in parts))
    return _opened(build)


def _write_sizes(build: Build, pool: Pool, progress: bool) -> list[str]:
    """All pieces, size by size; a size is merged where the next one needs its functions."""
    names: list[str] = []
    job, pieces = build.job, build.pieces
    for size in range(smallest_size(job.measure) + 1, job.max_size + 1):
        parts = [(sharding.write_functions, job, size, p, pieces) for p in range(pieces)]
        names += pool.run(parts, f"{size} {job.measure}", progress)
        if size < job.max_size:
            names += pool.run([(sharding.merge_size, job, size, pieces)], "merge", False)
    return names


def _require_disk(plan: Plan, store: Store, limits: Limits) -> None:
    """Refuse what the disk cannot hold; memory is a question of pieces."""
    disk = min(limits.disk_bytes, SHARE * free_disk(store.root))
    plan.require(Limits(memory_bytes=math.inf, disk_bytes=max(disk, 1.0), seconds=limits.seconds))


def _num_partitions(plan: Plan, limits: Limits, workers: int) -> int:
    """Pieces per size so that every worker's tables fit its share of the memory."""
    if plan.max_size == smallest_size(plan.measure):
        return workers
    below = plan.smaller(plan.max_size - 1)
    operands = (2 * plan.row_bytes + 16) * below.functions
    share = limits.memory_bytes / workers - operands
    pieces = math.ceil(max(0.0, plan.memory_bytes - below.memory_bytes) / share) if share > 0 else _MOST_PIECES + 1
    if pieces > _MOST_PIECES:
        raise BudgetExceeded(
            f"{workers} workers need {workers * operands / 1e6:,.1f} MB for the operands alone, "
            f"{limits.memory_bytes / 1e6:,.1f} MB are allowed: allow more memory or fewer workers"
        )
    return max(workers, pieces)
