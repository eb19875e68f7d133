"""Results of a study as tidy tables: in memory, and as Parquet files that say what made them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from synthlab.durable import write_atomically
from synthlab.errors import ArtifactError
from synthlab.presets import RUN_SCHEMA, Preset, tuned_learning_rate
from synthlab.store import content_key

SCHEMA = 1
"""Version of the columns; tables of another one are refused."""
_COSTS = ("split", "run", "corpus", "final_loss", "seconds", "samples", "tokens", "tokens_per_second", "device",
          "processes", "precision", "torch", "lightning")  # fmt: skip
"""Columns of trials that no table of a group needs; all others are tags."""


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

    Parameters
    ----------
    tables, folder
        What to write, and where.
    about
        Provenance beside the tables.
    """
    frames = {"trials": tables.trials, "failures": tables.failures, **tables.results}
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"study-{name}.parquet" for name in frames]
    for path, frame in zip(paths, frames.values(), strict=True):
        write_atomically(path, parquet(frame))
    text = json.dumps({**about, "schema": SCHEMA, "groups": list(tables.results)}, indent=1)
    write_atomically(folder / "study.json", text.encode())
    return paths


def read_tables(folder: Path) -> StudyTables:
    """Read what `write_tables` wrote.

    Raises
    ------
    ArtifactError
        If there is nothing, something is missing or damaged, or the tables have another schema.
    """
    path = folder / "study.json"
    if not path.exists():
        raise ArtifactError(f"no study in {folder}: run `python -m synthlab study {folder.name}`")
    try:
        about = json.loads(path.read_bytes())
        schema = about["schema"]
        names = ["trials", "failures", *about["groups"]] if schema == SCHEMA else []
        frames = {name: pd.read_parquet(folder / f"study-{name}.parquet") for name in names}
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


def parquet(frame: pd.DataFrame) -> bytes:
    """A table as Parquet, small."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()
