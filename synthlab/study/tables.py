"""Results of a study as tidy tables: in memory, and as Parquet files that say what made them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from synthlab.durable import explained, remove_leftovers, sealed, sync_folder, unsealed, write_atomically
from synthlab.errors import ArtifactError
from synthlab.presets import RUN_SCHEMA, Preset, tuned_learning_rate
from synthlab.store import content_key
from synthlab.verification import Problem, hashed

SCHEMA = 1
"""Version of the columns; tables of another one are refused."""
_COSTS = ("split", "run", "corpus", "final_loss", "seconds", "samples", "tokens", "tokens_per_second", "device",
          "processes", "precision", "torch", "lightning")  # fmt: skip
"""Columns of trials that no table of a group needs; all others are tags."""
_ABOUT, _NEXT = "study.json", ".next"


@dataclass(frozen=True, eq=False)
class StudyTables:
    """What the finished trials of a study found.

    Attributes
    ----------
    trials
        One row per finished trial: trial (its key), tags, cost.
    results
        By group, one row per trial, part and class (columns of `Outcomes.results`).
    failures
        One row per trial that failed: trial, tags, reason.
    provenance
        What made them: preset, versions, machine.
    """

    trials: pd.DataFrame
    results: Mapping[str, pd.DataFrame]
    failures: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)

    def table(self, group: str) -> pd.DataFrame:
        """Results of a group with the tags of their trials as columns; empty if there are none."""
        if group not in self.results:
            return pd.DataFrame()
        trials = self.of(group)
        return self.results[group].merge(trials.drop(columns=[c for c in _COSTS if c in trials]), on="trial",
                                         validate="many_to_one")  # fmt: skip

    def of(self, group: str) -> pd.DataFrame:
        """Trials of a group, without the columns of others."""
        chosen = self.trials[self.trials["group"] == group] if len(self.trials) else self.trials
        return chosen.dropna(axis=1, how="all").reset_index(drop=True)

    def joined(self, other: StudyTables) -> StudyTables:
        """Tables of two studies as one; of a trial that both hold, one copy, and what one has done has not failed."""
        trials = pd.concat([self.trials, other.trials], ignore_index=True).drop_duplicates("trial", ignore_index=True)
        failures = pd.concat([self.failures, other.failures], ignore_index=True)
        failures = failures[~failures["trial"].isin(trials["trial"])].drop_duplicates("trial", ignore_index=True)
        results = dict(self.results)
        for group, table in other.results.items():
            have = set(results[group]["trial"]) if group in results else set()
            more = table[~table["trial"].isin(have)]
            results[group] = pd.concat([results[group], more], ignore_index=True) if group in results else more
        return StudyTables(trials, results, failures, self.provenance or other.provenance)


def preset_key(preset: Preset) -> str:
    """Key of all that decides a preset's study but its seeds, so that more seeds belong to the same study."""
    described = asdict(preset)
    for name in ("name", "seeds", "exploratory", "needs_gpu", "contests"):
        del described[name]
    described["rates"] = {model.name: tuned_learning_rate(model.width) for model in preset.scaling_models}
    described["run"] = RUN_SCHEMA
    return content_key("preset", SCHEMA, described)


def write_tables(tables: StudyTables, folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write ``study-trials``, ``study-failures`` and ``study-<group>`` as Parquet, and ``study.json`` about them.

    All are written beside those of before; `study.json` with their SHA-256 makes them the study, in one step.

    Parameters
    ----------
    tables, folder
        What to write, and where.
    about
        Provenance beside the tables.

    Raises
    ------
    ArtifactError
        If the disk has no room for them, or the folder cannot be written; the tables of before stay.
    """
    frames = {"trials": tables.trials, "failures": tables.failures, **tables.results}
    contents = {name: parquet(frame) for name, frame in frames.items()}
    with explained(folder, 0):
        folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    _settle(folder)
    for name, content in contents.items():
        write_atomically(_path(folder, name, _NEXT), content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    described = {**about, "schema": SCHEMA, "groups": list(tables.results), "tables": digests}
    write_atomically(folder / _ABOUT, sealed(described))
    _settle(folder)
    return [_path(folder, name) for name in frames]


def _settle(folder: Path) -> None:
    """Move the tables that `study.json` describes to their places; drop those of a writer that did not get so far."""
    try:
        digests = _digests(_about(folder))
    except (OSError, ValueError, KeyError, TypeError):
        digests = {}
    for coming in folder.glob(f"study-*.parquet{_NEXT}"):
        path = coming.with_suffix("")
        if hashed(coming) == digests.get(path.stem.removeprefix("study-")):
            coming.replace(path)
        else:
            coming.unlink()
    sync_folder(folder)


def _path(folder: Path, name: str, suffix: str = "") -> Path:
    return folder / f"study-{name}.parquet{suffix}"


def read_tables(folder: Path) -> StudyTables:
    """Read what `write_tables` wrote.

    Raises
    ------
    ArtifactError
        If there is nothing, something is missing or damaged, or the tables have another schema.
    """
    if not (folder / _ABOUT).exists():
        raise ArtifactError(f"no study in {folder}: run `python -m synthlab study {folder.name}`")
    try:
        about = _about(folder)
        schema = about["schema"]
        digests = _digests(about) if schema == SCHEMA else {}
        frames = {name: pd.read_parquet(io.BytesIO(_whole(folder, name, d))) for name, d in digests.items()}
        found = {name: set(frame["trial"]) for name, frame in frames.items()}
    except Exception as error:  # Parquet has many ways to be broken
        reason = " ".join(str(error).split())
        raise ArtifactError(f"the tables in {folder} are damaged ({reason}): run the study again") from error
    if schema != SCHEMA:
        raise ArtifactError(f"{folder} holds tables of schema {schema}, not {SCHEMA}: run the study again")
    trials, failures = frames.pop("trials"), frames.pop("failures")
    if found["trials"] != set().union(*(found[group] for group in frames)):
        raise ArtifactError(f"the tables in {folder} are of different runs of the study: run the study again")
    return StudyTables(trials, frames, failures, about)


def _about(folder: Path) -> dict[str, Any]:
    """The description of tables, whole; a checkout may have given it other line ends."""
    return unsealed((folder / _ABOUT).read_bytes().replace(b"\r\n", b"\n"))


def _digests(about: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of every table that a description names."""
    return {name: about["tables"][name] for name in ("trials", "failures", *about["groups"])}


def _whole(folder: Path, name: str, digest: str) -> bytes:
    """A table as it was described; the next one, if it was to take its place when the writer ended."""
    content = b""
    for path in (_path(folder, name), _path(folder, name, _NEXT)):
        if path.exists():
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == digest:
                return content
    state = "is not what was written" if content else "is missing or empty"
    raise ValueError(f"{_path(folder, name).name} {state}")


def table_problems(folder: Path) -> Iterator[Problem]:
    """What is wrong with the published tables of a study, if there are any."""
    again = f"`python -m synthlab study {folder.name}`"

    def problem(path: Path, wrong: str) -> Problem:
        return Problem(stage="study tables", artifact=folder.name, path=path, wrong=wrong, again=again)

    try:
        about = _about(folder)
        digests = _digests(about) if about["schema"] == SCHEMA else {}
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield problem(folder / _ABOUT, f"is damaged ({' '.join(str(error).split())})")
        return
    if about["schema"] != SCHEMA:
        yield problem(folder / _ABOUT, f"has schema {about['schema']}, not {SCHEMA}")
        return
    for name, digest in digests.items():
        path, coming = _path(folder, name), _path(folder, name, _NEXT)
        if not any(p.exists() and hashed(p) == digest for p in (path, coming)):
            yield problem(path, "is not what was written" if path.exists() else "is missing")
        elif coming.exists() and path.exists() and hashed(path) == digest:
            yield replace(problem(coming, "was never finished"), delete=coming, again="")


def parquet(frame: pd.DataFrame) -> bytes:
    """A table as Parquet, small."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()
