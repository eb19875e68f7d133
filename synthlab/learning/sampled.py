"""Training on programs drawn from a universe that nobody can enumerate.

There is no corpus and no split: the training texts are rows of a sample (`universe.sampling`), and the tests are
given. What a split's audit proves from ids is proven here from the texts themselves: no training program computes
the function of a test, neither by fingerprint nor by its values on the audit's other hidden inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synthlab.assessment.tasks import Tasks
from synthlab.errors import ConfigurationError, SplitError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.identity import (
    FINGERPRINT_SEED,
    ResiduePoints,
    check_coefficients,
    fingerprints,
    grid_codes,
    hidden_inputs,
    keys_of,
)
from synthlab.language.interpreter import evaluate, grid_outputs, in_range, number_algebra
from synthlab.language.measure import check_measure, sizes_of
from synthlab.language.program import prefix_lengths
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.learning.batches import DeviceData
from synthlab.learning.encoding import LARGEST
from synthlab.learning.networks import Synthesizer
from synthlab.learning.run import Run
from synthlab.learning.training import fit, folder_of, forget
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.audit import AuditReport
from synthlab.splits.evidence import NUM_NAMED, finding
from synthlab.store import Store, content_key
from synthlab.universe.corpus import Corpus
from synthlab.universe.counting import unrank
from synthlab.universe.hashing import HashIndex, KeyNumbers

LEFT_OUT = ("out of range", "undefined", "no value on the grid")
"""Why a program is not trained on: a value is not exact, or none that an encoding can show; it is no function; it has
a pole on the grid."""
_OUT_OF_RANGE, _UNDEFINED, _NO_VALUE, _KEPT = range(len(LEFT_OUT) + 1)
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class Sample:
    """Programs that can be trained on.

    Attributes
    ----------
    grammar, seed
        The language, and the fingerprint seed.
    prefix
        Texts (Q, L), in the order drawn and as often as drawn.
    fingerprints
        Their functions (Q, 2).
    left_out
        How many of the drawn programs were left out, by reason (`LEFT_OUT`).
    """

    grammar: Grammar
    seed: int
    prefix: np.ndarray
    fingerprints: np.ndarray
    left_out: Mapping[str, int]

    def data(self, model: Synthesizer, seed: int = 0) -> DeviceData:
        """Training items for a model; all texts of a function show the outputs of the first one."""
        rows, first = KeyNumbers().number(np.ascontiguousarray(self.fingerprints), UNDEFINED_RESIDUE)
        return DeviceData(model, self.prefix, rows, grid_outputs(self.grammar, self.prefix[first]), seed=seed)


def trainable(grammar: Grammar, prefix: np.ndarray, seed: int = FINGERPRINT_SEED) -> Sample:
    """The programs of a token matrix (P, L) that can be trained on, and how many cannot."""
    reasons, keys = np.full(len(prefix), _OUT_OF_RANGE), np.empty((len(prefix), 2), dtype=np.uint64)
    for start in range(0, len(prefix), _ROWS_AT_ONCE):
        block = prefix[start : start + _ROWS_AT_ONCE]
        rows, found = in_range(lambda texts: fingerprints(grammar, texts, seed), block)
        keys[start + rows] = found
        shown, outputs = in_range(lambda texts: grid_outputs(grammar, texts), block[rows])
        poles = (grid_codes(grammar, block[rows[shown]]) == UNDEFINED_RESIDUE).any(axis=1)
        fits = (np.abs(np.nan_to_num(outputs, nan=np.inf)) <= LARGEST).all(axis=1)
        reasons[start + rows[shown]] = np.where(poles, _NO_VALUE, np.where(fits, _KEPT, _OUT_OF_RANGE))
        reasons[start + rows[found[:, 0] == UNDEFINED_RESIDUE]] = _UNDEFINED
    counts = np.bincount(reasons, minlength=len(LEFT_OUT) + 1).tolist()
    kept = reasons == _KEPT
    return Sample(grammar, seed, prefix[kept], keys[kept], dict(zip(LEFT_OUT, counts, strict=False)))


# ---------------------------------------------------------------- leaks


def audit_sample(sample: Sample, tests: Mapping[str, Tasks], texts: Mapping[str, np.ndarray]) -> AuditReport:
    """Look for training programs that compute the function of a test.

    Parameters
    ----------
    sample
        What is trained on.
    tests, texts
        Tasks by part, and a text of every task (T, L), in their order.
    """
    hidden, findings = _HiddenInputs(sample.grammar, sample.seed + 1), []
    known = hidden.keys(sample.prefix)
    for part, tasks in tests.items():
        checks = [
            (f"{part} function in training", sample.fingerprints, tasks.fingerprints),
            (f"{part} function on hidden inputs in training", known, hidden.keys(texts[part])),
        ]
        for check, keys, few in checks:
            rows = _among(keys, few)
            findings.append(finding(check, sample.grammar, len(rows), sample.prefix[rows[:NUM_NAMED]]))
    return AuditReport(tuple(findings))


class _HiddenInputs:
    """Values on 64 inputs that do not decide identity: modulo a prime where that is exact, else as numbers."""

    def __init__(self, grammar: Grammar, seed: int) -> None:
        points = hidden_inputs(grammar, seed)
        self.grammar = grammar
        self.algebra = ResiduePoints(grammar, points) if grammar.exact else number_algebra(grammar, points)

    def keys(self, prefix: np.ndarray) -> np.ndarray:
        """Keys (P, 2) of the values; 2^61 - 1 twice where there is none, or none that is exact."""
        found = np.full((len(prefix), 2), UNDEFINED_RESIDUE)
        for start in range(0, len(prefix), _ROWS_AT_ONCE):
            rows, keys = in_range(self._keys, prefix[start : start + _ROWS_AT_ONCE])
            found[start + rows] = keys
        return found

    def _keys(self, prefix: np.ndarray) -> np.ndarray:
        return keys_of(self.algebra, evaluate(self.grammar, prefix, self.algebra))


def _among(keys: np.ndarray, few: np.ndarray) -> np.ndarray:
    """Rows of keys (n, 2) that are among a few; missing ones equal nothing."""
    few = np.unique(few[few[:, 0] != UNDEFINED_RESIDUE], axis=0)
    return np.flatnonzero(HashIndex(few).find(keys) >= 0)


def _texts(part: str, tasks: Tasks, given: Mapping[str, np.ndarray]) -> np.ndarray:
    """A text of every task of a part (T, L): given, or the minimal one of a class of an enumerated universe."""
    if part not in given:
        if (tasks.class_id < 0).any():
            raise ConfigurationError(
                f"tests {part!r} belong to no enumerated universe: give their texts, for the second leak check"
            )
        return unrank(tasks.grammar, tasks.class_id, tasks.max_size, tasks.measure)
    if (
        len(given[part]) != len(tasks)
        or (fingerprints(tasks.grammar, given[part], tasks.seed) != tasks.fingerprints).any()
    ):
        raise ConfigurationError(f"the texts given for tests {part!r} compute other functions: give one text per task")
    return given[part]


# ---------------------------------------------------------------- training


def train_on_samples(
    grammar: Grammar, prefix: np.ndarray, *, max_size: int, model_config: ModelConfig, training: TrainingConfig,
    tests: Mapping[str, Tasks], store: Store, measure: str = "leaves", texts: Mapping[str, np.ndarray] | None = None,
    progress: bool = True, **trainer_flags: Any,
) -> Run:  # fmt: skip
    """Load a finished run of these settings, or train and save it, going on where an earlier call was cut off.

    Parameters
    ----------
    grammar, prefix
        The language, and the training programs (P, L), in the order drawn. Those that cannot be shown are left out
        (`LEFT_OUT`) and counted in ``run.cost["left_out"]``.
    max_size, measure
        Bound on the training programs; answers may be larger by ``model_config.room``.
    model_config, training, progress, **trainer_flags
        As in `learning.training.train`.
    tests
        Tasks by part, which must not be taught; samples of them are looked at as the model learns.
    store
        Where the run is kept, and its checkpoints while it goes on.
    texts
        A text of every task (T, L), by part, for parts that belong to no enumerated universe. The leak check alone
        reads them.

    Returns
    -------
    Run
        Its `corpus` is the universe that was sampled, its `split_key` stands for the training texts and the tests.

    Raises
    ------
    SplitError
        If a training program computes the function of a test, or no program is left.
    ConfigurationError
        For programs beyond the bound, tests that the model has no room for, or what `train` refuses.
    BudgetExceeded
        If identity is not exact at so large a size.
    """
    prefix = _checked(grammar, prefix, max_size, measure)
    seed = _seed(grammar, measure, max_size, model_config.room, tests)
    universe = Corpus.describe(grammar, max_size, measure, seed)
    key = sample_key(prefix, tests)
    described = Run.describe(universe, key, model_config, training)
    stored = content_key(Run.stage, Run.schema, described)
    if store.has(Run.stage, stored):
        return Run.load(store, stored)
    sample = trainable(grammar, prefix, seed)
    if not len(sample.prefix):
        raise SplitError(f"none of {len(prefix):,} programs can be trained on ({sample.left_out}): draw others")
    audit_sample(sample, tests, {part: _texts(part, tasks, texts or {}) for part, tasks in tests.items()}).require()
    run = fit(
        universe, key, model_config, training, grammar=grammar, tests={n: t for n, t in tests.items() if len(t)},
        data=lambda model: sample.data(model, training.seed), store=store, progress=progress, **trainer_flags,
    )  # fmt: skip
    run = replace(run, cost={**run.cost, "programs": len(sample.prefix), "left_out": dict(sample.left_out)})
    if run.finished:
        run.save(store)
        forget(folder_of(described, store))  # not before the run is safe
    return run


def sample_key(prefix: np.ndarray, tests: Mapping[str, Tasks]) -> str:
    """Key of training texts (P, L), in their order, and of the functions that are tested."""
    about = {"texts": [len(prefix), _digest([prefix])]}
    about |= {
        f"test-{part}": [tasks.max_size, _digest([tasks.fingerprints, tasks.class_id, tasks.weight])]
        for part, tasks in tests.items()
    }
    return content_key("sample", 1, about)


def _digest(arrays: Iterable[np.ndarray]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _seed(grammar: Grammar, measure: str, max_size: int, room: int, tests: Mapping[str, Tasks]) -> int:
    """The fingerprint seed of the tests, all of which must suit grammar, measure and bound on answers."""
    check_coefficients(grammar, max([max_size, *(tasks.max_size for tasks in tests.values())]), measure)
    seeds = {tasks.seed for tasks in tests.values()} or {FINGERPRINT_SEED}
    others = [p for p, t in tests.items() if t.grammar.digest != grammar.digest or t.measure != measure]
    if others or len(seeds) > 1:
        raise ConfigurationError(
            f"tests {', '.join(others or tests)} are of another grammar, measure or fingerprint seed: draw them anew"
        )
    for part, tasks in tests.items():
        if tasks.max_size > max_size + room:
            raise ConfigurationError(
                f"tests {part!r} allow {tasks.max_size} {measure}, the model {max_size} + {room}: raise its room"
            )
    return seeds.pop()


def _checked(grammar: Grammar, prefix: np.ndarray, max_size: int, measure: str) -> np.ndarray:
    """Token rows without columns of padding, all of them programs within the bound."""
    check_measure(grammar, measure, max_size)
    texts = np.ascontiguousarray(prefix, dtype=np.uint8)
    lengths, used = prefix_lengths(grammar, texts), (texts != PAD).sum(axis=1)
    wrong = np.flatnonzero((lengths <= 0) | (lengths != used))
    if len(wrong):
        raise ConfigurationError(f"{len(wrong):,} of {len(texts):,} rows are no programs: give prefix texts")
    large = int((sizes_of(grammar, texts, measure) > max_size).sum())
    if large:
        raise ConfigurationError(f"{large:,} training programs exceed {max_size} {measure}: raise max_size")
    return np.ascontiguousarray(texts[:, : used.max(initial=0)])
