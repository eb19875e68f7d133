"""The folder of an enumeration on disk, from its first piece to its manifest, and the pool that fills it."""

from __future__ import annotations

import functools
import hashlib
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthlab.durable import explained, remove_leftovers, sealed, write_atomically
from synthlab.language.grammar import Grammar
from synthlab.store import Store, content_key
from synthlab.universe import sharding

STAGE = "universe"
SCHEMA = 1
_SETTING = {"texts": "rows_per_shard", "functions": "partitions"}


@dataclass(frozen=True)
class Enumeration:
    """What is enumerated, apart from the size of its pieces."""

    grammar: Grammar
    max_size: int
    measure: str
    seed: int
    store: Store
    what: str

    def begin(self, pieces: int) -> Build:
        """Its folder, for a number of rows a piece or of pieces a size."""
        identity = {
            "grammar": self.grammar.name, "digest": self.grammar.digest, "max_size": self.max_size,
            "measure": self.measure, "seed": self.seed, "what": self.what, _SETTING[self.what]: pieces,
        }  # fmt: skip
        key = content_key(STAGE, SCHEMA, identity)
        return Build(self, pieces, identity, key, self.store.root / STAGE / f"{self._label}-{pieces}-{key}")

    def begun(self, pieces: int | None) -> Build | None:
        """A folder that was begun with these pieces, or with any if none are given; finished ones first.

        What memory was free when a universe was begun must not decide where it goes on.
        """
        if pieces is not None:
            asked = self.begin(pieces)
            return asked if asked.folder.exists() else None
        folders = (self.store.root / STAGE).glob(f"{self._label}-*-*")
        numbers = {int(n) for f in folders if (n := f.name.removeprefix(f"{self._label}-").split("-")[0]).isdigit()}
        builds = [b for b in map(self.begin, sorted(numbers)) if b.folder.exists()]
        return next((b for b in builds if b.finished), builds[0] if builds else None)

    @property
    def _label(self) -> str:
        return f"{self.grammar.name}-{self.max_size}-{self.measure}-{self.what}"


@dataclass(frozen=True)
class Build:
    """Folder of an enumeration, from its first piece to its manifest."""

    universe: Enumeration
    pieces: int
    identity: dict[str, Any]
    key: str
    folder: Path

    @functools.cached_property
    def job(self) -> sharding.Job:
        """What its pieces share."""
        u = self.universe
        return sharding.Job.of(u.grammar, self.folder.resolve(), u.max_size, u.measure, u.seed)

    @property
    def finished(self) -> bool:
        """Whether the manifest is there, and every piece that it lists."""
        if not (self.folder / "manifest.json").exists():
            return False
        return all(self.job.is_done(n) for n in self.manifest()["shards"])

    def manifest(self) -> dict[str, Any]:
        """The manifest of a finished enumeration."""
        return self.universe.store.manifest(STAGE, self.key)

    def commit(self, names: list[str], rows: int) -> None:
        """Write the manifest that makes the pieces a universe."""
        with explained(self.folder, 0):
            self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder)
        shards = {n: hashlib.sha256((self.folder / n / "manifest.json").read_bytes()).hexdigest() for n in names}
        manifest = {
            "stage": STAGE, "schema": SCHEMA, "key": self.key, "identity": self.identity, "rows": rows, "payload": {},
            "shards": shards,
        }  # fmt: skip
        write_atomically(self.folder / "manifest.json", sealed(manifest))


class Pool:
    """Runs pieces on the given executor, or on threads of its own."""

    def __init__(self, executor: Executor | None, workers: int) -> None:
        self.own = None if executor is not None else ThreadPoolExecutor(workers)
        self.executor = executor or self.own

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self.own is not None:
            self.own.shutdown(wait=True, cancel_futures=True)

    def run(self, jobs: list[tuple[Any, ...]], what: str, progress: bool) -> list[str]:
        """Run functions with their arguments; names of the pieces in order.

        The first failure cancels what has not begun, and is raised when what has begun is done.
        """
        from tqdm.auto import tqdm

        assert self.executor is not None
        futures: list[Future[str]] = [self.executor.submit(*job) for job in jobs]
        try:
            for future in tqdm(as_completed(futures), total=len(futures), desc=what, disable=not progress):
                future.result()
        except BaseException:
            wait([future for future in futures if not future.cancel()])  # nothing is written after the error
            raise
        return [future.result() for future in futures]
