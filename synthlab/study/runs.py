"""Grids of experiments as values: each trial is one split, one model, one seed; all of it resumable.

Every finished trial is an artifact of its own, so a study that is cut off goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import pandas as pd

from synthlab.errors import ConfigurationError
from synthlab.presets import ModelConfig, Preset, TrainingConfig, tuned_learning_rate
from synthlab.spaces.space import Space
from synthlab.splits.density import REGIMES, density_settings, density_spaces, density_split
from synthlab.splits.mcd import mcd_split
from synthlab.splits.regions import Region
from synthlab.splits.split import Split, with_spaces
from synthlab.splits.support import support_settings, support_spaces, support_split
from synthlab.store import Carrier, Store, content_key
from synthlab.universe.corpus import Corpus


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One experiment.

    Parameters
    ----------
    tags
        What distinguishes it in tables and figures (region, train_regime, model, ...).
    kind, settings
        The split, from `density_settings` or `support_settings`.
    model, training
        What is trained.
    num_samples, temperature
        Decoding: greedy for 1 sample, else independent samples.
    """

    tags: dict[str, Any]
    kind: str
    settings: dict[str, Any]
    model: ModelConfig
    training: TrainingConfig
    num_samples: int = 1
    temperature: float = 0.0


@dataclass(frozen=True, eq=False)
class Outcomes(Carrier):
    """Per-class results of one trial, and what the run cost.

    Attributes
    ----------
    description
        Identity: keys of corpus, split and run, tags and decoding.
    results
        part, class_id, leaves, weight, solved, status, submitted, num_correct, num_samples, independent,
        log_probability.
    cost
        One row: final_loss, parameters, flops, seconds, samples, tokens, device, versions.
    """

    stage: ClassVar[str] = "outcomes"
    schema: ClassVar[int] = 2

    description: dict[str, Any]
    results: pd.DataFrame
    cost: pd.DataFrame

    @property
    def identity(self) -> dict[str, Any]:
        return self.description

    def payload(self) -> dict[str, pd.DataFrame]:
        return {"results": self.results, "cost": self.cost}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        return cls(identity, payload["results"], payload["cost"])

    def frame(self) -> pd.DataFrame:
        """Results with the trial's tags as columns."""
        return self.results.assign(**self.description["tags"])


def draw_split(corpus: Corpus, spaces: Mapping[str, Space], store: Store, kind: str, settings: dict[str, Any]) -> Split:
    """Load a split of these settings, or draw and save it.

    Raises
    ------
    ConfigurationError
        For an unknown kind of split, or if a space that it reads is not there.
    """
    resolved = with_spaces(settings, corpus, spaces, spaces_read(kind, settings))
    key = content_key(Split.stage, Split.schema, Split.describe(kind, corpus.identity, resolved))
    return store.cached(Split, key, lambda: _KINDS[kind][0](corpus, spaces, resolved))


def spaces_read(kind: str, settings: dict[str, Any]) -> tuple[str, ...]:
    """Names of the spaces that decide a split of these settings.

    Raises
    ------
    ConfigurationError
        For an unknown kind of split.
    """
    if kind not in _KINDS:
        raise ConfigurationError(f"unknown kind of split {kind!r}: choose from {', '.join(_KINDS)}")
    return _KINDS[kind][1](settings)


_KINDS: dict[str, tuple[Callable[..., Split], Callable[[dict[str, Any]], tuple[str, ...]]]] = {
    "density": (density_split, density_spaces),
    "support": (support_split, support_spaces),
    "mcd": (lambda corpus, _spaces, settings: mcd_split(corpus, settings), lambda _settings: ()),
}


def run_trial(
    corpus: Corpus, spaces: Mapping[str, Space], store: Store, trial: Trial, *, progress: bool = False
) -> Outcomes:
    """Draw the split, train the model, evaluate it; each step is loaded if it was done before."""
    from synthlab.learning.evaluation import evaluate_run, train_cached

    split = draw_split(corpus, spaces, store, trial.kind, trial.settings)
    description = {
        "corpus": corpus.key, "split": split.key, "model": asdict(trial.model), "training": asdict(trial.training),
        "tags": trial.tags, "num_samples": trial.num_samples, "temperature": trial.temperature,
    }  # fmt: skip
    key = content_key(Outcomes.stage, Outcomes.schema, description)

    def work() -> Outcomes:
        run = train_cached(corpus, split, trial.model, trial.training, store=store, progress=progress)
        if not run.finished:  # its checkpoint is kept; half a run is no result
            raise KeyboardInterrupt
        results = evaluate_run(run, corpus, split, num_samples=trial.num_samples, temperature=trial.temperature)
        final = {"final_loss": final_loss(run.history)}
        cost = pd.DataFrame([{**trial.tags, "run": run.key, "split": split.key, **final, **run.cost}])
        return Outcomes(description, results, cost)

    return store.cached(Outcomes, key, work)


def final_loss(history: pd.DataFrame) -> float:
    """Mean training loss over the last tenth of a run; NaN if none was written down."""
    losses = history.loc[history["name"] == "loss", "value"]
    return float(losses.tail(max(1, len(losses) // 10)).mean()) if len(losses) else float("nan")


def run_study(
    corpus: Corpus, spaces: Mapping[str, Space], store: Store, trials: Sequence[Trial], *, progress: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run all trials.

    Returns
    -------
    tuple
        Results of all classes of all trials with their tags, and one row of cost per trial.
    """
    from tqdm.auto import tqdm

    done = [run_trial(corpus, spaces, store, t) for t in tqdm(trials, desc="trials", disable=not progress)]
    return pd.concat([o.frame() for o in done], ignore_index=True), pd.concat([o.cost for o in done], ignore_index=True)


def density_trials(preset: Preset) -> list[Trial]:
    """One trial per training regime and seed; its parts are the test regimes."""
    return [
        Trial(
            tags={"train_regime": regime, "seed": seed},
            kind="density",
            settings=density_settings(
                regime=regime,
                num_train=preset.density_train,
                num_test=preset.num_test,
                num_cells=preset.num_cells,
                seed=seed,
            ),
            model=preset.model,
            training=replace(preset.short, seed=seed),
        )
        for seed in preset.seeds
        for regime in REGIMES
    ]


def region_settings(preset: Preset, region: Region, **settings: Any) -> dict[str, Any]:
    """Settings of a support split around a region, with the preset's shares unless given."""
    fixed: dict[str, Any] = dict(
        num_test=preset.num_test, num_cells=preset.num_cells, reserved=preset.reserved,
        regime=preset.support_regime, num_train=preset.support_train,
    )  # fmt: skip
    return support_settings(region, **(fixed | settings))


def _redrawn(region: dict[str, Any], seed: int) -> Region:
    """A seed redraws everything, the held-out clusters included."""
    return Region(**(region | {"seed": seed} if region["rule"] == "cluster" else region))


def support_trials(preset: Preset) -> list[Trial]:
    """One trial per held-out region and seed."""
    return [
        Trial(
            tags={"region": Region(**region).describe(), "space": region["space"], "seed": seed},
            kind="support",
            settings=region_settings(preset, _redrawn(region, seed), seed=seed),
            model=preset.model,
            training=replace(preset.short, seed=seed),
        )
        for seed in preset.seeds
        for region in preset.regions
    ]


def flagship_trial(preset: Preset) -> Trial:
    """The preset's longest run, on its first region."""
    region = Region(**preset.regions[0])
    return Trial(
        tags={"region": region.describe(), "space": region.space, "seed": preset.flagship.seed},
        kind="support",
        settings=region_settings(preset, region, seed=preset.flagship.seed),
        model=preset.flagship_model,
        training=preset.flagship,
    )


def scaling_trials(preset: Preset) -> list[Trial]:
    """One trial per model size and seed, on the preset's second region (clusters), at the rate of its width."""
    return [
        Trial(
            tags={"model": model.name, "seed": seed},
            kind="support",
            settings=region_settings(preset, _redrawn(preset.regions[1], seed), seed=seed),
            model=model,
            training=replace(preset.scaling, seed=seed, learning_rate=tuned_learning_rate(model.width)),
        )
        for seed in preset.seeds
        for model in preset.scaling_models
    ]
