"""The benchmark: a frozen, checksummed set of tasks that any system can be graded on.

A task shows the exact outputs of a hidden function on the grid; the answer is one program of at most N leaves that
is the same function. Tasks belong to parts of a support split (`splits.support`), and every split says which programs
a system may learn from. What only the checker may read lies in a file of its own. `freezing` draws it, `prompts`
shows it to systems that read text, `scoring` grades what they answer.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthlab.assessment.tasks import Tasks
from synthlab.durable import write_atomically
from synthlab.errors import ArtifactError, ConfigurationError, GrammarError, SplitError
from synthlab.language.grammar import get_grammar
from synthlab.language.residues import residue
from synthlab.spaces.space import Space
from synthlab.splits.split import Split
from synthlab.splits.support import support_split
from synthlab.store import project_root
from synthlab.study.tables import parquet
from synthlab.universe.corpus import Corpus

SCHEMA = 1
_MEND = "check it out again"


def benchmark_folder() -> Path:
    """Where the committed benchmark lies."""
    return project_root() / "data" / "results" / "benchmark"


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Tasks, their hidden answers, and what may be learned from.

    Attributes
    ----------
    manifest
        As JSON: ``domains`` (grammar, digest, bound, grid), ``splits`` (settings, key, counts), ``parts`` (counts).
    tasks
        What a solver may read: task, grammar, region, part, split, bound, leaves (least number of leaves of a right
        answer), outputs (G texts, whole numbers or ``num/den``, in the order of the grid).
    answers
        For the checker only: task, class_id, fingerprint_0, fingerprint_1.
    training
        Per split, the programs that a system may learn from, as packed bits over program ids.
    """

    manifest: dict[str, Any]
    tasks: pd.DataFrame
    answers: pd.DataFrame
    training: dict[str, np.ndarray]

    # ------------------------------------------------------------ splits and what they teach

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """What is said of every split, by name: grammar, region, isolated, settings, key, programs, functions."""
        splits: dict[str, dict[str, Any]] = self.manifest["splits"]
        return splits

    def split(self, name: str) -> dict[str, Any]:
        """What is said of one split.

        Raises
        ------
        ConfigurationError
            For an unknown name.
        """
        if name not in self.splits:
            raise ConfigurationError(f"the benchmark has no split {name!r}: choose from {', '.join(self.splits)}")
        return self.splits[name]

    def domain(self, split: str) -> dict[str, Any]:
        """What is said of the universe of a split: grammar, digest, max_size, measure, seed, grid, programs, ..."""
        domain: dict[str, Any] = self.manifest["domains"][self.split(split)["grammar"]]
        return domain

    def training_ids(self, split: str) -> np.ndarray:
        """Ids of all programs that a system may learn from, ascending, int64 (P,).

        `universe.counting.unrank` turns them into texts without a corpus.
        """
        num_programs = self.domain(split)["programs"]
        return np.flatnonzero(np.unpackbits(self.training[split], count=num_programs))

    def require_allowed(self, split: str, program_ids: np.ndarray) -> None:
        """Refuse texts that were taught although the split does not allow it.

        Raises
        ------
        SplitError
            With their number.
        """
        taught = np.unique(program_ids)
        strangers = int((~np.isin(taught, self.training_ids(split))).sum())
        if strangers:
            raise SplitError(
                f"{strangers:,} of {len(taught):,} texts taught may not be learned for split {split}: "
                "train on its own training set"
            )

    def draw_training(self, split: str, corpus: Corpus, spaces: Mapping[str, Space]) -> Split:
        """The split itself, drawn again from its settings: what a model of synthlab trains on.

        Parameters
        ----------
        split
            Name of the split.
        corpus, spaces
            Its universe, and the spaces that its settings read.

        Raises
        ------
        ArtifactError
            If this machine draws another training set than the frozen one, as rounding may cause.
        """
        about = self.split(split)
        drawn = support_split(corpus, spaces, about["settings"])
        if drawn.key != about["key"] or not np.array_equal(np.unique(drawn.train), self.training_ids(split)):
            raise ArtifactError(f"split {split} comes out otherwise here: train on the texts of its training ids")
        return drawn

    # ------------------------------------------------------------ tasks

    def select(self, split: str, parts: Sequence[str] | None = None) -> pd.DataFrame:
        """Tasks of a split, all of them or those of some parts.

        Raises
        ------
        ConfigurationError
            For an unknown split or part.
        """
        self.split(split)
        rows = self.tasks[self.tasks["split"] == split]
        known = rows["part"].unique().tolist()
        unknown = [part for part in parts or () if part not in known]
        if unknown:
            raise ConfigurationError(f"split {split} has no part {unknown[0]!r}: choose from {', '.join(known)}")
        return rows if parts is None else rows[rows["part"].isin(parts)]

    @cached_property
    def _answers(self) -> pd.DataFrame:
        return self.answers.set_index("task")

    def hidden(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Answers of some rows of `tasks`, in their order; for the checker only."""
        return self._answers.loc[rows["task"]]

    def checkable(self, rows: pd.DataFrame) -> Tasks:
        """Rows of `tasks`, all of one grammar, in the form that solvers and the checker of `assessment` take.

        Outputs are the published ones, rounded to the nearest float where they are not whole.
        """
        (name,) = rows["grammar"].unique()
        about, grammar = self.manifest["domains"][name], get_grammar(name)
        exact = [[Fraction(v) for v in outputs] for outputs in rows["outputs"]]
        hidden = self.hidden(rows)
        return Tasks(
            grammar, about["max_size"], about["measure"], about["seed"],
            np.array(exact, dtype=np.int64 if grammar.integral else np.float64),
            np.array([[residue(v) for v in outputs] for outputs in exact], dtype=np.uint64),
            hidden["class_id"].to_numpy(), rows["leaves"].to_numpy(),
            hidden[["fingerprint_0", "fingerprint_1"]].to_numpy(np.uint64), np.ones(len(rows), dtype=np.int64),
        )  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """Parts: grammar, region, part, split, tasks, ambiguous_on_grid, best_possible (see `assessment.ceiling`)."""
        return pd.DataFrame(self.manifest["parts"])

    # ------------------------------------------------------------ files

    def contents(self) -> dict[str, str]:
        """SHA-256 of what every file says, whatever library wrote it."""
        tables = {"tasks": self.tasks, "answers": self.answers}
        bits = b"".join(name.encode() + b"\0" + self.training[name].tobytes() for name in sorted(self.training))
        digests = {name: content_digest(table) for name, table in tables.items()}
        return {**digests, "training": hashlib.sha256(bits).hexdigest()}

    def save(self, folder: Path | str) -> Path:
        """Write all files, the manifest with their checksums last; other files of the folder stay as they are."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "tasks.parquet": parquet(self.tasks), "answers.parquet": parquet(self.answers),
            "training.npz": _packed(self.training),
        }  # fmt: skip
        entries = {n: {"sha256": hashlib.sha256(b).hexdigest(), "bytes": len(b)} for n, b in files.items()}
        for name, content in files.items():
            write_atomically(folder / name, content)
        about = {**self.manifest, "contents": self.contents(), "files": entries}
        write_atomically(folder / "manifest.json", (json.dumps(about, indent=1) + "\n").encode())
        return folder

    def __repr__(self) -> str:
        return f"Benchmark({len(self.tasks):,} tasks of {len(self.splits)} splits: {', '.join(self.splits)})"


def content_digest(table: pd.DataFrame) -> str:
    """SHA-256 of a table's columns as JSON."""
    columns = {name: [_plain(value) for value in table[name]] for name in table}
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def json_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as JSON; numbers that do not exist are None."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def load_benchmark(folder: Path | str | None = None) -> Benchmark:
    """The committed benchmark, or one saved elsewhere; every file is checked against the manifest.

    Raises
    ------
    ArtifactError
        If a file is missing or damaged, or a grammar has another meaning by now.
    """
    folder = benchmark_folder() if folder is None else Path(folder)
    path = folder / "manifest.json"
    try:
        manifest = json.loads(_bytes_of(path))
        if manifest["schema"] != SCHEMA:
            raise ArtifactError(f"{path} has schema {manifest['schema']}, not {SCHEMA}: build the benchmark again")
        files = {name: _checked(folder / name, entry["sha256"]) for name, entry in manifest["files"].items()}
        _require_grammars(path, manifest["domains"])
        tasks, answers = (pd.read_parquet(io.BytesIO(files[f"{name}.parquet"])) for name in ("tasks", "answers"))
        with np.load(io.BytesIO(files["training.npz"]), allow_pickle=False) as packed:
            training = {name: packed[name] for name in manifest["splits"]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} is damaged: {_MEND}") from error
    return Benchmark(manifest, tasks, answers, training)


def _require_grammars(path: Path, domains: Mapping[str, Mapping[str, Any]]) -> None:
    for name, about in domains.items():
        try:
            known = get_grammar(name).digest
        except GrammarError as error:
            raise ArtifactError(f"{path} has tasks of an unknown grammar {name!r}: register it first") from error
        if known != about["digest"]:
            raise ArtifactError(f"{path} was made with another grammar {name!r}: build the benchmark again")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}): {_MEND}") from error


def _checked(path: Path, digest: str) -> bytes:
    content = _bytes_of(path)
    if hashlib.sha256(content).hexdigest() != digest:
        raise ArtifactError(f"{path} is damaged: {_MEND}")
    return content
