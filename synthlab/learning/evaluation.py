"""From a trained run to per-class results."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from synthlab.assessment.ceiling import ceiling
from synthlab.assessment.correctness import SOLVED, STATUSES, Evaluation, check
from synthlab.assessment.metrics import weighted_mean
from synthlab.assessment.tasks import Tasks, tasks_by_part
from synthlab.errors import ConfigurationError, InUseError, SplitError
from synthlab.learning.batches import written
from synthlab.learning.decoding import decode, first_token_probabilities
from synthlab.learning.encoding import IGNORED, token_targets
from synthlab.learning.networks import Synthesizer
from synthlab.learning.run import Run, run_key
from synthlab.learning.training import forget, run_folder, train
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.audit import audit_corpus
from synthlab.splits.split import Split
from synthlab.store import Store
from synthlab.universe.corpus import Corpus

_PAUSE = 0.5  # seconds between two looks at a run that another process trains


def train_cached(
    corpus: Corpus, split: Split, model: ModelConfig, training: TrainingConfig, *, store: Store, progress: bool = True,
    **trainer_flags: Any,
) -> Run:  # fmt: skip
    """Load a finished run of these settings, or train and save it; one that was interrupted is not saved.

    While another process of this machine trains the same run, as a second notebook may, it waits for that one.

    Raises
    ------
    SplitError
        If the split leaks: the key of a run says how its split was drawn, and not which ids are in it now.
    """
    key, told = run_key(corpus, split, model, training), False
    while not store.has(Run.stage, key):
        try:
            run = train(corpus, split, model, training, store=store, progress=progress, **trainer_flags)
        except InUseError as error:
            if not error.here:
                raise
            if not told:
                tqdm.write(f"synthlab: {error}")
            told = True
            time.sleep(_PAUSE)
            continue
        if run.finished:
            run.save(store)
            forget(run_folder(corpus, split, model, training, store))  # not before the run is safe
        return run
    audit_corpus(split, corpus).require()
    if (folder := run_folder(corpus, split, model, training, store)).exists():
        forget(folder)  # of who was killed after saving
    return Run.load(store, key)


def evaluate_run(run: Run, corpus: Corpus, split: Split, *, extra_size: int = 0, **decoding: Any) -> pd.DataFrame:
    """Judge a run on every test set of a split.

    Parameters
    ----------
    run, corpus, split
        What was trained, and where.
    extra_size
        How much larger than the universe's bound an answer may be and count; at most the model's `room`.
    **decoding
        Fields of `decoding.Decoding`: greedy by default.

    Returns
    -------
    pandas.DataFrame
        One row per part and class: part, class_id, leaves, weight, solved (first candidate), status,
        num_correct, num_samples, independent, submitted (solved when samples are filtered by the grid and one
        is submitted), log_probability (of the first candidate).

    Raises
    ------
    ArtifactError
        If the run was trained on another universe.
    """
    run.require_corpus(corpus)
    tables = []
    for part, evaluation in evaluations(run, corpus, split, extra_size=extra_size, **decoding).items():
        candidates = evaluation.candidates
        first = candidates.log_probability[candidates.rank == 0]
        submitted = evaluation.submitted() == SOLVED
        tables.append(evaluation.frame().assign(part=part, submitted=submitted, log_probability=first))
    if not tables:
        raise SplitError("the split has no test tasks: draw it again")
    return pd.concat(tables, ignore_index=True)


def evaluations(
    run: Run, corpus: Corpus, split: Split, *, extra_size: int = 0, **decoding: Any
) -> dict[str, Evaluation]:
    """Candidates of a run and their outcomes for every test set of a split; parameters as in `evaluate_run`."""
    run.require_corpus(corpus)
    run.require_split(split)
    if not 0 <= extra_size <= run.model_config.room:
        raise ConfigurationError(
            f"answers of {extra_size} more than the bound: the model has room for {run.model_config.room}"
        )
    model, limit = placed(run.model()), corpus.max_size + extra_size
    return {
        part: check(tasks, decode(model, tasks, **({"max_size": limit} | decoding)), max_size=limit)
        for part, tasks in tasks_by_part(corpus, split).items()
    }


def placed(model: Synthesizer) -> Synthesizer:
    """A model on the GPU, where there is one."""
    return model.to("cuda") if torch.cuda.is_available() else model


@torch.inference_mode()
def text_losses(model: Synthesizer, tasks: Tasks, prefix: np.ndarray, *, rows_at_once: int = 1024) -> np.ndarray:
    """Cross-entropy (T,) in nats of one text per task, each token given those before it.

    Parameters
    ----------
    model
        In evaluation mode, on any device.
    tasks, prefix
        What is shown, and the prefix texts (T, L) whose probability is asked.
    """
    outputs = model.look(tasks.outputs)
    texts = torch.from_numpy(written(model, prefix)).to(outputs.device)
    losses = []
    for rows in torch.arange(len(texts), device=texts.device).split(rows_at_once):
        targets = token_targets(texts[rows])
        logits = model(model.read(outputs[rows]).float(), targets.clamp(min=0)).float()
        per_token = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
        losses.append(per_token.sum(dim=1).double().cpu().numpy())
    return np.concatenate([np.empty(0), *losses])


def reachable(run: Run, corpus: Corpus, split: Split) -> pd.DataFrame:
    """What no solver that sees only what the run sees can pass, per part; see `assessment.ceiling.ceiling`."""
    run.require_corpus(corpus)
    model = run.model()

    def encoded(outputs: np.ndarray) -> np.ndarray:
        return model.read(torch.from_numpy(outputs)).flatten(1).numpy()

    return ceiling(corpus, tasks_by_part(corpus, split), encoded)


def root_given(run: Run, corpus: Corpus, split: Split, root: str) -> pd.DataFrame:
    """How much of a failure is the first token? Greedy pass@1 free and with the root token given away.

    Returns
    -------
    pandas.DataFrame
        One row per part: part, free, root_given, and the mean probability of the root as first token.

    Raises
    ------
    ConfigurationError
        For a run that writes another notation, where the root does not come first.
    """
    run.require_corpus(corpus)
    run.require_split(split)
    if root not in corpus.grammar.index:
        raise ConfigurationError(f"no token {root!r}: choose from {' '.join(corpus.grammar.tokens)}")
    if run.model_config.notation != "prefix":
        raise ConfigurationError(
            f"in {run.model_config.notation} notation the root does not come first: train in prefix"
        )
    model, token, rows = placed(run.model()), corpus.grammar.index[root], []
    for part, tasks in tasks_by_part(corpus, split).items():
        judged = [check(tasks, decode(model, tasks, first_token=given)) for given in (None, token)]
        solved = [weighted_mean(evaluation.frame()) for evaluation in judged]
        rows.append((part, *solved, first_token_probabilities(model, tasks)[:, token].mean()))
    return pd.DataFrame(rows, columns=["part", "free", "root_given", "probability_of_root"])


def failures(run: Run, corpus: Corpus, split: Split, part: str) -> pd.DataFrame:
    """Every task of a part beside the program that the run wrote for it, unsolved ones first."""
    run.require_corpus(corpus)
    run.require_split(split)
    parts = tasks_by_part(corpus, split)
    if part not in parts:
        raise ConfigurationError(f"the split has no tasks {part!r}: choose from {', '.join(parts)}")
    tasks = parts[part]
    evaluation = check(tasks, decode(placed(run.model()), tasks))
    table = corpus.frame(tasks.class_id)[["class_id", "program", "leaves"]].rename(columns={"program": "target"})
    table["written"] = evaluation.candidates.frame(corpus.grammar)["program"]
    table["status"] = np.array(STATUSES)[evaluation.first_status()]
    return table.sort_values("status", key=lambda s: s == "solved", kind="stable", ignore_index=True)
