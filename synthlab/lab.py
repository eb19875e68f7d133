"""The lab: one preset, one store, and every stage a call away. What is done is loaded, never repeated."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from synthlab.durable import write_atomically
from synthlab.errors import ArtifactError
from synthlab.language.grammar import get_grammar
from synthlab.presets import ModelConfig, Preset, TrainingConfig, get_preset
from synthlab.spaces.projection import Projection, map_frame, program_strata, project, umap_settings
from synthlab.spaces.semantic import fit_semantic, semantic_settings
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.spaces.syntactic import fit_syntactic, syntactic_settings
from synthlab.splits.audit import audit_corpus
from synthlab.splits.regions import SHAPE, Region
from synthlab.splits.split import Split
from synthlab.store import Store, content_key, project_root
from synthlab.study.claims import Claim, claims_table, density_claim, forced_claim, scaling_claim
from synthlab.study.runs import (
    Trial,
    density_trials,
    draw_split,
    flagship_trial,
    region_settings,
    run_study,
    scaling_trials,
    spaces_read,
    support_trials,
)
from synthlab.study.scaling import scaling_points
from synthlab.study.tuning import VARIANTS, learning_rate_trials, tuning_table, variant_trials
from synthlab.universe.corpus import Corpus, build_corpus

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

    # ------------------------------------------------------------ universe and spaces

    @cached_property
    def corpus(self) -> Corpus:
        """The enumerated universe."""
        grammar = get_grammar(self.preset.grammar)
        size, measure = self.preset.max_size, self.preset.measure
        key = content_key(Corpus.stage, Corpus.schema, Corpus.describe(grammar, size, measure))
        return self.store.cached(Corpus, key, lambda: build_corpus(grammar, size, measure=measure))

    @cached_property
    def spaces(self) -> dict[str, Space]:
        """Syntactic and semantic space of the universe."""
        return {
            SYNTACTIC: self._space(SYNTACTIC, syntactic_settings(), fit_syntactic),
            SEMANTIC: self._space(SEMANTIC, semantic_settings(), fit_semantic),
        }

    @cached_property
    def shape_space(self) -> Space:
        """The syntactic space without labels: what regions of space ``shape`` are cut in."""
        settings = syntactic_settings(labels="shape")
        return self._space(SYNTACTIC, settings, lambda corpus: fit_syntactic(corpus, labels="shape"))

    def spaces_of(self, names: Iterable[str]) -> dict[str, Space]:
        """Spaces by name; those that take no part are not fitted."""
        return {name: self.shape_space if name == SHAPE else self.spaces[name] for name in names}

    def _space(self, kind: str, settings: dict[str, Any], fit: Any) -> Space:
        key = content_key(Space.stage, Space.schema, Space.describe(kind, self.corpus.key, settings))
        return self.store.cached(Space, key, lambda: fit(self.corpus))

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
        """Audit a split and save it under a name; returns the name.

        Raises
        ------
        SplitError
            If it leaks.
        """
        audit_corpus(split, self.corpus, self.spaces_of(split.settings.get("spaces", ()))).require()
        self.store.name(split, name)
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
        """Train, or load what was trained before; `watch` is shown the history so far at every check."""
        from synthlab.learning.evaluation import train_cached

        return train_cached(self.corpus, split, model, training, store=self.store, progress=self.progress, watch=watch)

    def metrics(self, split: Split, model: ModelConfig, training: TrainingConfig) -> pd.DataFrame:
        """What a run under way says of itself so far: step, name, value, seconds; from any process."""
        from synthlab.learning.progress import read_metrics
        from synthlab.learning.training import run_folder

        return read_metrics(run_folder(self.corpus, split, model, training, self.store))

    def study(self, name: str, trials: Sequence[Trial]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """All trials of a study: results per class, and costs per trial; both are published.

        A preset that needs a GPU shows the committed results where there is none.
        """
        if self.preset.needs_gpu and not has_gpu():
            return self.published(name)[0], self.published(f"{name}-costs")[0]
        results, costs = run_study(self.corpus, self.spaces, self.store, trials, progress=self.progress)
        self.publish(name, results)
        self.publish(f"{name}-costs", costs)
        return results, costs

    def tune(self, *, rates: bool = True, variants: Sequence[str] = tuple(VARIANTS)) -> dict[str, pd.DataFrame]:
        """Measure learning rates by model size, and variants of the model; tables are published.

        Returns
        -------
        dict
            ``learning-rates`` and ``variants``, from `study.tuning.tuning_table`; for another grammar than the
            polynomial one the names end with it.
        """
        asked: dict[str, tuple[list[Trial], tuple[str, ...], tuple[str, ...]]] = {}
        if rates:
            asked["learning-rates"] = (
                learning_rate_trials(self.preset), ("model", "width", "learning_rate"), ()
            )  # fmt: skip
        if variants:
            asked["variants"] = variant_trials(self.preset, variants), ("variant",), ("seed",)
        tables = {}
        for name, (trials, by, levels) in asked.items():
            found = run_study(self.corpus, self.spaces, self.store, trials, progress=self.progress)
            tables[name] = tuning_table(*found, by, levels)
            suffix = "" if self.preset.grammar == "polynomial" else f"-{self.preset.grammar}"
            self.publish(name + suffix, tables[name])
        return tables

    def claims(self) -> list[Claim]:
        """Density, support and scaling studies of the preset, and the claims they test."""
        density, _ = self.study("density", density_trials(self.preset))
        support, _ = self.study("support", support_trials(self.preset))
        results, costs = self.study("scaling", scaling_trials(self.preset))
        return [
            density_claim(density),
            forced_claim(support, SYNTACTIC),
            forced_claim(support, SEMANTIC),
            scaling_claim(scaling_points(results, costs), "matched_id"),
        ]

    # ------------------------------------------------------------ results

    def publish(self, name: str, frame: pd.DataFrame) -> Path:
        """Write a result table with its provenance below `build/results` or ``$SYNTHLAB_RESULTS``."""
        path = self.output_folder / f"{name}.parquet"
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False, compression="zstd")
        write_atomically(path, buffer.getvalue())
        write_atomically(path.with_suffix(".json"), json.dumps(self.provenance(), indent=1).encode())
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
            path = project_root() / "data" / "results" / preset / file_name
            if path.exists():
                return path
        raise ArtifactError(f"no committed result {file_name!r}: run the notebook that makes it")

    def provenance(self) -> dict[str, Any]:
        """What made a result: preset, corpus key, versions, machine."""
        packages = ("synthlab", "numpy", "torch", "pytorch-lightning", "scikit-learn")
        return {
            "preset": self.preset.name, "corpus": self.corpus.key, "grammar": self.corpus.grammar.digest,
            "identity": self.corpus.identity_method,
            "python": platform.python_version(), "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "versions": {p: version(p) for p in packages},
        }  # fmt: skip

    def collect_claims(self) -> pd.DataFrame:
        """All claims that the notebooks of this preset have published so far, as one published table."""
        tables = [pd.read_parquet(path) for path in sorted(self.output_folder.glob("claims-*.parquet"))]
        claims = pd.concat([claims_table([]), *tables], ignore_index=True)
        self.publish("claims", claims)
        return claims

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
