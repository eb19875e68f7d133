"""One experiment as a value: one split, one model, one seed, and what is asked of it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

import pandas as pd

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import get_grammar
from synthlab.presets import NETWORKS, RUN_SCHEMA, ModelConfig, TrainingConfig
from synthlab.spaces.space import Space
from synthlab.splits.density import density_spaces, density_split, training_diversity
from synthlab.splits.mcd import mcd_split
from synthlab.splits.split import Split, with_spaces
from synthlab.splits.support import support_spaces, support_split
from synthlab.store import Carrier, Store, content_key
from synthlab.study.workspace import SPACES, Universe, Workspace
from synthlab.universe.corpus import Corpus


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What is asked of a trained model, beside its greedy answers and its loss.

    Parameters
    ----------
    num_samples
        Independent samples a task at temperature 1, for pass@k; 0 for none.
    extra_size
        How much larger than the bound an answer may be; at most the model's `room`.
    details
        Per task: its degree, texts and distances to training, whether the answer was copied, and whether it is
        right when the root token is handed over.
    """

    num_samples: int = 0
    extra_size: int = 0
    details: bool = False


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One experiment.

    Parameters
    ----------
    tags
        What distinguishes it in tables and figures (group, region, regime, ...); they do not decide its results.
    universe
        Which programs there are.
    kind, settings
        The split, from `density_settings`, `support_settings` or `mcd_settings`.
    model, training
        What is trained, and how.
    measures
        What is asked of it.

    Raises
    ------
    ConfigurationError
        If answers may be larger than the model has room for.
    """

    tags: Mapping[str, Any]
    universe: Universe
    kind: str
    settings: dict[str, Any]
    model: ModelConfig
    training: TrainingConfig
    measures: Measures = field(default_factory=Measures)

    def __post_init__(self) -> None:
        extra, room = self.measures.extra_size, self.model.room
        if not 0 <= extra <= room:
            raise ConfigurationError(f"answers of {extra} more than the bound: the model has room for {room}")

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the results, as JSON."""
        described = {
            "universe": {**asdict(self.universe), "digest": get_grammar(self.universe.grammar).digest},
            "corpus": self.universe.corpus_key, "spaces": {name: self.universe.space_key(name) for name in SPACES},
            "split": {"schema": Split.schema, "kind": self.kind, "settings": self.settings},
            "model": asdict(self.model), "training": {"schema": RUN_SCHEMA, **asdict(self.training)},
            "measures": asdict(self.measures),
        }  # fmt: skip
        if self.model.network not in NETWORKS:
            from synthlab.learning.networks import network_identity

            described["network_source"] = network_identity(self.model)
        return described

    @property
    def key(self) -> str:
        """Key of its outcomes."""
        return content_key(Outcomes.stage, Outcomes.schema, self.identity)

    def __str__(self) -> str:
        return ", ".join(str(value) for name, value in self.tags.items() if name != "group")


@dataclass(frozen=True, eq=False)
class Outcomes(Carrier):
    """Per-class results of one trial, and what it took.

    Attributes
    ----------
    description
        Identity of the trial.
    results
        One row per part and class: part, class_id, leaves, weight, solved, status, log_probability, test_loss,
        num_correct, num_samples, and with details those of `measures.measured`.
    cost
        One row: keys of split, run and corpus, parameters, flops, seconds, final_loss, samples, tokens, device,
        versions; for density splits also the diversity of the training set.
    """

    stage: ClassVar[str] = "outcomes"
    schema: ClassVar[int] = 3

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
        return self.results


_KINDS: dict[str, tuple[Callable[..., Split], Callable[[dict[str, Any]], tuple[str, ...]]]] = {
    "density": (density_split, density_spaces),
    "support": (support_split, support_spaces),
    "mcd": (lambda corpus, _spaces, settings: mcd_split(corpus, settings), lambda _settings: ()),
}


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


def run_trial(workspace: Workspace, trial: Trial, *, progress: bool = False) -> Outcomes:
    """Draw the split, train the model, measure it; each step is loaded if it was done before.

    Raises
    ------
    KeyboardInterrupt
        If the training was interrupted: what was learned is kept, and half a run is no result.
    """
    from synthlab.learning.evaluation import train_cached

    store = workspace.store

    def work() -> Outcomes:
        corpus = workspace.corpus(trial.universe)
        spaces = workspace.spaces(trial.universe, spaces_read(trial.kind, trial.settings))
        split = draw_split(corpus, spaces, store, trial.kind, trial.settings)
        run = train_cached(corpus, split, trial.model, trial.training, store=store, progress=progress)
        if not run.finished:
            raise KeyboardInterrupt
        from synthlab.study.measures import measured

        results = measured(workspace, trial, split, run)
        about: dict[str, Any] = {
            "split": split.key, "run": run.key, "corpus": corpus.key, "num_train": len(split.train),
            "final_loss": final_loss(run.history), **run.cost,
        }  # fmt: skip
        if trial.kind == "density":
            diversity = training_diversity(corpus, workspace.spaces(trial.universe), split)
            kept = diversity.drop(columns=["regime", "programs", "classes"])
            about |= {str(name): kept[name].iloc[0] for name in kept}
        return Outcomes(trial.identity, results, pd.DataFrame([about]))

    return store.cached(Outcomes, trial.key, work)


def final_loss(history: pd.DataFrame) -> float:
    """Mean training loss over the last tenth of a run; NaN if none was written down."""
    losses = history.loc[history["name"] == "loss", "value"]
    return float(losses.tail(max(1, len(losses) // 10)).mean()) if len(losses) else float("nan")
