"""A trained model as an artifact: weights, history and cost, tied to grammar, universe and split."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import pandas as pd
import safetensors.torch
import torch

from synthlab.errors import ArtifactError
from synthlab.language.grammar import get_grammar
from synthlab.learning.networks import Synthesizer, network_identity
from synthlab.presets import RUN_SCHEMA, ModelConfig, TrainingConfig
from synthlab.splits.split import Split
from synthlab.store import Carrier, content_key
from synthlab.universe.corpus import Corpus

_MEND = "delete its folder in the store and train again"


@dataclass(frozen=True, eq=False)
class Run(Carrier):
    """A trained model with what it was trained on and what that took.

    Attributes
    ----------
    corpus, split_key
        Identity of the universe and key of the split.
    model_config, training, steps_done
        Settings, and how far it got (fewer steps than asked if it was interrupted).
    weights
        The model as safetensors.
    history
        Table of (step, name, value): the loss, and pass@1 of samples of the test sets.
    answers
        Table of (step, part, class_id, written, status): what it answered to a few tasks as it learned.
    cost
        Parameters, FLOPs, seconds, samples, tokens, device, versions.
    """

    stage: ClassVar[str] = "run"
    schema: ClassVar[int] = RUN_SCHEMA

    corpus: dict[str, Any]
    split_key: str
    model_config: ModelConfig
    training: TrainingConfig
    steps_done: int
    weights: bytes
    history: pd.DataFrame
    answers: pd.DataFrame
    cost: dict[str, Any]

    @staticmethod
    def describe(
        corpus: dict[str, Any],
        split_key: str,
        model: ModelConfig,
        training: TrainingConfig,
        steps_done: int | None = None,
    ) -> dict[str, Any]:
        """Identity of a run before it is trained; finished unless `steps_done` says otherwise."""
        steps = training.num_steps if steps_done is None else steps_done
        described = {
            "corpus": corpus, "split": split_key, "model": asdict(model), "training": asdict(training), "steps": steps
        }  # fmt: skip
        source = network_identity(model)
        return {**described, "network_source": source} if source else described

    @property
    def identity(self) -> dict[str, Any]:
        return self.describe(self.corpus, self.split_key, self.model_config, self.training, self.steps_done)

    @property
    def label(self) -> str:
        return f"{self.model_config.width}x{self.model_config.layers}"

    def payload(self) -> dict[str, bytes | pd.DataFrame]:
        return {
            "weights": self.weights, "history": self.history, "answers": self.answers,
            "cost": json.dumps(self.cost).encode(),
        }  # fmt: skip

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        model = ModelConfig(**identity["model"])
        if identity.get("network_source", "") != network_identity(model):
            raise ArtifactError(f"the run has another network {model.network!r}: restore it, or train again")
        try:
            cost = json.loads(payload["cost"])
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"cost.bin of the run is damaged ({type(error).__name__}): {_MEND}") from error
        return cls(
            identity["corpus"], identity["split"], model, TrainingConfig(**identity["training"]), identity["steps"],
            payload["weights"], payload["history"], payload["answers"], cost,
        )  # fmt: skip

    def model(self) -> Synthesizer:
        """The trained model, in evaluation mode on the CPU.

        Raises
        ------
        ArtifactError
            If the grammar of the checkpoint is not the one known by its name now, or the weights do not fit.
        """
        grammar = get_grammar(self.corpus["grammar"])
        if grammar.digest != self.corpus["digest"]:
            raise ArtifactError(
                f"the checkpoint was trained with grammar {self.corpus['digest']}, not {grammar.digest}: train again"
            )
        model = Synthesizer(self.model_config, grammar, self.corpus["max_size"], self.corpus["measure"])
        return model.load_weights({n: w.float() for n, w in self._tensors().items()}).eval()

    def half_weights(self) -> bytes:
        """The weights as safetensors in half precision."""
        return safetensors.torch.save({n: w.half() for n, w in self._tensors().items()})

    def _tensors(self) -> dict[str, torch.Tensor]:
        try:
            return safetensors.torch.load(self.weights)
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
            reason = f"{error}".splitlines()[0]
            raise ArtifactError(f"weights.bin of the run are no safetensors ({reason}): {_MEND}") from error

    def require_corpus(self, corpus: Corpus) -> None:
        """Refuse to evaluate on another universe than the run was trained on."""
        if self.corpus != corpus.identity:
            raise ArtifactError(
                f"the run belongs to {self.corpus['grammar']} <= {self.corpus['max_size']} {self.corpus['measure']} "
                f"({self.corpus['digest']}), not to {corpus!r}: load that corpus, or train again"
            )

    def require_split(self, split: Split) -> None:
        """Refuse to evaluate on another split than the run was trained on: what it tests may have been taught."""
        if split.key != self.split_key:
            raise ArtifactError(
                f"the run was trained on split {self.split_key}, and this is {split.key}, whose tests it may have been "
                "taught: load its own split, or train on this one"
            )

    @property
    def finished(self) -> bool:
        """Whether it was trained to the end."""
        return self.steps_done == self.training.num_steps

    def frame(self) -> pd.DataFrame:
        """History of the training."""
        return self.history

    def __repr__(self) -> str:
        state = "" if self.finished else " (interrupted)"
        return f"Run({self.model_config.name}, {self.cost['parameters']:,} weights, {self.steps_done} steps{state})"


def run_key(corpus: Corpus, split: Split, model: ModelConfig, training: TrainingConfig) -> str:
    """Key under which a finished run is stored."""
    return content_key(Run.stage, Run.schema, Run.describe(corpus.identity, split.key, model, training))
