"""The lab: one preset, one store, and every stage a call away. What is done is loaded, never repeated."""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from joblib import cpu_count

from synthlab.durable import write_atomically
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.presets import ModelConfig, Preset, TrainingConfig, get_preset
from synthlab.spaces.projection import Projection, map_frame, program_strata, project, umap_settings
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.splits.audit import audit_corpus
from synthlab.splits.regions import SHAPE, Region
from synthlab.splits.split import Split
from synthlab.store import Store, content_key, project_root
from synthlab.study.designs import flagship_trial, region_settings, study_of, universe_of
from synthlab.study.study import Study
from synthlab.study.tables import StudyTables, parquet, preset_key, read_tables, write_tables
from synthlab.study.trials import draw_split, spaces_read
from synthlab.study.tuning import VARIANTS, learning_rate_study, tuning_table, variant_study
from synthlab.study.workspace import Workspace
from synthlab.universe.corpus import Corpus

if TYPE_CHECKING:
    from synthlab.learning.run import Run


def has_gpu() -> bool:
    """Whether PyTorch finds a CUDA device."""
    import torch

    return torch.cuda.is_available()


class Lab:
    """Entry point of the notebooks and of the command line.

    Parameters
    ----------
    preset
        Settings, or their name; the environment variable ``SYNTHLAB_PRESET`` overrides a name.
    store
        Where artifacts are kept; ``data/store`` by default.
    progress
        Show progress bars.
    """

    def __init__(self, preset: Preset | str = "quick", *, store: Store | None = None, progress: bool = True) -> None:
        name = os.environ.get("SYNTHLAB_PRESET", preset) if isinstance(preset, str) else preset
        self.preset = get_preset(name) if isinstance(name, str) else name
        self.store = store or Store()
        self.progress = progress
        self.workspace = Workspace(self.store)

    # ------------------------------------------------------------ universe and spaces

    @property
    def corpus(self) -> Corpus:
        """The enumerated universe."""
        return self.workspace.corpus(universe_of(self.preset))

    @property
    def spaces(self) -> dict[str, Space]:
        """Syntactic and semantic space of the universe."""
        return self.spaces_of((SYNTACTIC, SEMANTIC))

    @property
    def shape_space(self) -> Space:
        """The syntactic space without labels: what regions of space ``shape`` are cut in."""
        return self.spaces_of((SHAPE,))[SHAPE]

    def spaces_of(self, names: Iterable[str]) -> dict[str, Space]:
        """Spaces by name; those that take no part are not fitted."""
        return self.workspace.spaces(universe_of(self.preset), names)

    @cached_property
    def projections(self) -> dict[str, Projection]:
        """UMAP pictures of both spaces; the first on a machine waits half a minute for UMAP to be compiled."""
        return {kind: self._projection(space) for kind, space in self.spaces.items()}

    def _projection(self, space: Space) -> Projection:
        num_points, strata = self.preset.map_points, program_strata(self.corpus, space)
        settings = umap_settings(num_points, strata=strata)
        key = content_key(Projection.stage, Projection.schema, Projection.describe(space.key, settings))

        def draw() -> Projection:
            return project(space, num_points=num_points, strata=strata, store=self.store, progress=self.progress)

        return self.store.cached(Projection, key, draw)

    def map(self, kind: str) -> pd.DataFrame:
        """Points of one map with text, size, root, class size and leading axes."""
        return map_frame(self.corpus, self.spaces[kind], self.projections[kind])

    # ------------------------------------------------------------ splits and runs

    def split(self, kind: str, settings: dict[str, Any]) -> Split:
        """Split of a kind (density, support, mcd) and settings (from the functions ``<kind>_settings``)."""
        return draw_split(self.corpus, self.spaces_of(spaces_read(kind, settings)), self.store, kind, settings)

    def support(self, region: Region, **settings: Any) -> Split:
        """Support split around a region, with the preset's shares."""
        return self.split("support", region_settings(self.preset, region, **settings))

    def flagship_split(self) -> Split:
        """The split of the preset's longest run."""
        trial = flagship_trial(self.preset)
        return self.split(trial.kind, trial.settings)

    def save_split(self, split: Split, name: str) -> str:
        """Audit a split and save it under a name; returns the name, and warns if that meant another split.

        Raises
        ------
        SplitError
            If it leaks.
        """
        audit_corpus(split, self.corpus, self.spaces_of(split.settings.get("spaces", ()))).require()
        if replaced := self.store.name(split, name):
            warnings.warn(f"{name!r} meant split {replaced!r} before: it is stored under its key still", stacklevel=2)
        return name

    def named_split(self, name: str) -> Split:
        """Split saved under a name; the preset's flagship split if nothing has that name yet.

        Raises
        ------
        ArtifactError
            If it was drawn on another universe.
        """
        if name not in self.store.names(Split.stage):
            return self.flagship_split()
        split = Split.load(self.store, name)
        if split.corpus != self.corpus.identity:
            raise ArtifactError(f"split {name!r} belongs to another universe: draw it with preset {self.preset.name!r}")
        return split

    def train(
        self, split: Split, model: ModelConfig, training: TrainingConfig,
        watch: Callable[[pd.DataFrame], None] | None = None,
    ) -> Run:  # fmt: skip
        """Audit, train or load what was trained before; `watch` is shown the history so far at every check."""
        from synthlab.learning.evaluation import train_cached

        return train_cached(self.corpus, split, model, training, store=self.store, progress=self.progress, watch=watch)

    def metrics(self, split: Split, model: ModelConfig, training: TrainingConfig) -> pd.DataFrame:
        """What a run under way says of itself so far: step, name, value, seconds; from any process."""
        from synthlab.learning.progress import read_metrics
        from synthlab.learning.training import run_folder

        return read_metrics(run_folder(self.corpus, split, model, training, self.store))

    # ------------------------------------------------------------ studies

    @cached_property
    def trials(self) -> Study:
        """All trials of the preset, in order of importance."""
        return study_of(self.preset, self.workspace)

    def study(
        self, *groups: str, rerun: bool = False, minutes: float | None = None, retry: bool = False,
        workers: int | None = None, executor: Executor | None = None,
    ) -> StudyTables:  # fmt: skip
        """Results of the preset's study: the committed ones, or else what is not done yet is run and published.

        Parameters
        ----------
        *groups
            What to run: density, support, scaling; all by default.
        rerun
            Run even if results of the same settings are committed.
        minutes, retry, workers, executor
            As in `Study.run`.

        Returns
        -------
        StudyTables
            All that is done, of every group. A preset that needs a GPU shows the committed results of `quick` where
            there is neither a GPU nor results of its own; their `provenance` says so.

        Raises
        ------
        ArtifactError
            If there are no results to show, or they are damaged or of another version.
        """
        if not rerun and (found := self._committed_study()) is not None:
            return found
        if self.preset.needs_gpu and not has_gpu() and not rerun:
            return read_tables(self._results_folder("quick"))
        study = self.trials.of(*groups) if groups else self.trials
        study.run(
            self.workspace, executor=executor, workers=workers, minutes=minutes, retry=retry, progress=self.progress
        )
        tables = self.trials.tables(self.store)
        tables = replace(tables, provenance=self._about_study(tables))
        write_tables(tables, self.output_folder, tables.provenance)
        return tables

    def contests(self, *, rerun: bool = False) -> dict[str, pd.DataFrame]:
        """Tables of the contests between model and search: the committed ones, or else held now and published.

        Parameters
        ----------
        rerun
            Hold them even if tables of the same settings are committed; what is in the store is not repeated.

        Returns
        -------
        dict
            By the names in `study.search_study.TABLES`. A preset that needs a GPU shows those of `quick` where there
            is neither a GPU nor tables of its own.
        """
        from synthlab.study.search_study import search_key, search_tables

        found = None if rerun else self._known_contests()
        if found is None and self.preset.needs_gpu and not has_gpu() and not rerun:
            found = self._published_contests(self._results_folder("quick"))
        if found is not None:
            return found[0]
        tables = search_tables(self.preset, self.workspace, progress=self.progress)
        for name, frame in tables.items():
            self.publish(name, frame, made_from=search_key(self.preset))
        return tables

    def known_contests(self) -> dict[str, pd.DataFrame]:
        """Tables of the contests as far as they were held, here or in the commit; empty without any."""
        found = self._known_contests()
        return {} if found is None else found[0]

    def _known_contests(self) -> tuple[dict[str, pd.DataFrame], dict[str, Any]] | None:
        """Tables of contests of these settings, from where results are written or were committed."""
        from synthlab.study.search_study import search_key

        key = search_key(self.preset)
        for folder in (self.output_folder, self._results_folder(self.preset.name)):
            found = self._published_contests(folder)
            if found is not None and found[1].get("made_from") == key:
                return found
        return None

    @staticmethod
    def _published_contests(folder: Path) -> tuple[dict[str, pd.DataFrame], dict[str, Any]] | None:
        """Tables of a folder and what made them; None unless all are there, of one making."""
        from synthlab.study.search_study import TABLES

        paths = [folder / f"{name}.parquet" for name in TABLES]
        if not all(path.exists() and path.with_suffix(".json").exists() for path in paths):
            return None
        about = [json.loads(path.with_suffix(".json").read_bytes()) for path in paths]
        if len({note.get("made_from") for note in about}) > 1:
            return None
        return {name: pd.read_parquet(path) for name, path in zip(TABLES, paths, strict=True)}, about[0]

    def _committed_study(self) -> StudyTables | None:
        """Committed tables of this preset, if they come from the same settings."""
        folder = self._results_folder(self.preset.name)
        if not (folder / "study.json").exists():
            return None
        tables = read_tables(folder)
        return tables if tables.provenance.get("preset_key") == preset_key(self.preset) else None

    def _results_folder(self, preset: str) -> Path:
        return project_root() / "data" / "results" / preset

    def _about_study(self, tables: StudyTables) -> dict[str, Any]:
        """What made the tables of the study, and on which devices."""
        devices = sorted(tables.trials["device"].unique()) if len(tables.trials) else []
        return self.provenance() | {"preset_key": preset_key(self.preset), "devices": devices}

    def tune(self, *, rates: bool = True, variants: Sequence[str] = tuple(VARIANTS)) -> dict[str, pd.DataFrame]:
        """Measure learning rates by model size, and variants of the model; tables are published.

        Returns
        -------
        dict
            ``learning-rates`` and ``variants``, from `study.tuning.tuning_table`; for another grammar than the
            polynomial one the names end with it.
        """
        asked: dict[str, tuple[Study, tuple[str, ...], tuple[str, ...]]] = {}
        if rates:
            asked["learning-rates"] = learning_rate_study(self.preset), ("model", "width", "learning_rate"), ()
        if variants:
            asked["variants"] = variant_study(self.preset, variants), ("variant",), ("seed",)
        published = {}
        for name, (study, by, levels) in asked.items():
            tables = study.run(self.workspace, progress=self.progress)
            if len(tables.failures):
                raise ConfigurationError(f"{tables.failures['reason'].iloc[0]} ({len(tables.failures)} trials failed)")
            results = tables.results[name].merge(study.frame().drop(columns="group"), on="trial")
            published[name] = tuning_table(results, tables.of(name), by, levels)
            suffix = "" if self.preset.grammar == "polynomial" else f"-{self.preset.grammar}"
            self.publish(name + suffix, published[name])
        return published

    def claims(self, tables: StudyTables | None = None) -> pd.DataFrame:
        """The family of claims on a study (this preset's by default) and on its contests; published."""
        from synthlab.study import claims

        tables = self.study() if tables is None else tables
        searches, note = self._known_contests() or ({}, {})
        about = {
            "exploratory": self.preset.exploratory, "trials": sorted(tables.trials["trial"]),
            "contests": [note.get("made_from"), {name: len(frame) for name, frame in searches.items()}],
        }  # fmt: skip
        made_from = content_key("claims", claims.SCHEMA, about)
        for folder in (self.output_folder, self._results_folder(self.preset.name)):
            path = folder / "claims.json"
            if path.exists() and json.loads(path.read_bytes()).get("made_from") == made_from:
                return pd.read_parquet(path.with_suffix(".parquet"))
        table = claims.judged(tables, searches=searches, exploratory=self.preset.exploratory)
        self.publish("claims", table, made_from=made_from)
        return table

    # ------------------------------------------------------------ results

    def publish(self, name: str, frame: pd.DataFrame, **about: Any) -> Path:
        """Write a result table and what made it below `build/results` or ``$SYNTHLAB_RESULTS``."""
        path = self.output_folder / f"{name}.parquet"
        write_atomically(path, parquet(frame))
        write_atomically(path.with_suffix(".json"), json.dumps(self.provenance() | about, indent=1).encode())
        return path

    @property
    def output_folder(self) -> Path:
        """Where results of this preset are written: below `build/results`, or ``$SYNTHLAB_RESULTS``."""
        folder = project_root() / os.environ.get("SYNTHLAB_RESULTS", "build/results") / self.preset.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def published(self, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Committed result table of this preset, or of `quick` where it has none, and its provenance.

        Raises
        ------
        ArtifactError
            If there is no such table.
        """
        path = self._published_path(f"{name}.parquet")
        return pd.read_parquet(path), json.loads(path.with_suffix(".json").read_bytes())

    def _published_path(self, file_name: str) -> Path:
        for preset in (self.preset.name, "quick"):
            path = self._results_folder(preset) / file_name
            if path.exists():
                return path
        raise ArtifactError(f"no committed result {file_name!r}: run the notebook that makes it")

    def provenance(self) -> dict[str, Any]:
        """What made a result: preset, corpus key, versions, machine."""
        packages = ("synthlab", "numpy", "torch", "pytorch-lightning", "scikit-learn")
        return {
            "preset": self.preset.name, "corpus": self.corpus.key, "grammar": self.corpus.grammar.digest,
            "identity": self.corpus.identity_method,
            "python": platform.python_version(), "machine": f"{platform.machine()}, {cpu_count()} cores",
            "versions": {p: version(p) for p in packages},
        }  # fmt: skip

    def publish_checkpoint(self, run: Run) -> Path:
        """Write a run's weights in half precision beside the results, small enough to commit."""
        folder = self.output_folder
        write_atomically(folder / "checkpoint.safetensors", run.half_weights())
        about = {"identity": run.identity, "cost": run.cost, "provenance": self.provenance()}
        write_atomically(folder / "checkpoint.json", json.dumps(about, indent=1).encode())
        return folder / "checkpoint.safetensors"

    def published_checkpoint(self) -> Run:
        """The committed run of this preset, or of `quick`.

        Raises
        ------
        ArtifactError
            If there is none.
        """
        from synthlab.learning.run import Run

        path = self._published_path("checkpoint.safetensors")
        about = json.loads(path.with_suffix(".json").read_bytes())
        history = pd.DataFrame({"step": [], "name": [], "value": []})
        answers = pd.DataFrame(columns=["step", "part", "class_id", "written", "status"])
        payload = {
            "weights": path.read_bytes(), "history": history, "answers": answers, "cost": json.dumps(about["cost"])
        }  # fmt: skip
        return Run.restore(about["identity"], payload)

    def __repr__(self) -> str:
        return f"Lab({self.preset.name!r}: {self.preset.grammar}, <= {self.preset.max_size} {self.preset.measure})"
