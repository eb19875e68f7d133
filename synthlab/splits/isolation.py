"""Isolating a shift: train and test drawn so that the *other* space cannot tell them apart.

A syntactic split usually shifts what programs compute as well. Here training programs and tests are
resampled to equal shares in strata of the log-odds that a classifier of the other space gives (propensity
strata: Rosenbaum and Rubin, Biometrika 70, 1983), again and again on what is left, until a fresh classifier fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold

from synthlab.errors import SplitError
from synthlab.spaces.space import SEMANTIC, Space
from synthlab.splits.cells import quotas
from synthlab.splits.separability import classifier_auc
from synthlab.universe.corpus import Corpus

MAX_AUC = 0.55
"""Separability up to which a split counts as isolated (see the definitions of splits)."""
_ROUNDS = 20
_DAMPING = 0.5
_NOISE = 0.03
_FOLDS = 4
_FIT_ITEMS = 8_000
_POOL_ITEMS = 200_000
_MIN_TASKS = 30
_TASKS_PER_STRATUM = 15
_MAX_STRATA = 24


@dataclass(frozen=True, eq=False)
class Isolated:
    """Parts of a split with one distribution in the other space.

    Attributes
    ----------
    train
        Positions in the pool.
    tests, strata
        Per test set, positions among its classes, and the stratum of each.
    auc
        Largest separability of training and a test set in the other space, cross-validated.
    """

    train: np.ndarray
    tests: dict[str, np.ndarray]
    strata: dict[str, np.ndarray]
    auc: float


@dataclass(frozen=True, eq=False)
class _Items:
    """Rows of the other space, the vectors there, and the class of each."""

    places: np.ndarray
    vectors: np.ndarray
    classes: np.ndarray

    def take(self, rows: np.ndarray) -> _Items:
        return _Items(self.places[rows], self.vectors[rows], self.classes[rows])


def isolate(
    corpus: Corpus, space: Space, texts: np.ndarray, tests: Mapping[str, np.ndarray], num_train: int | None, seed: int
) -> Isolated:
    """Choose training programs and tests with equal shares in the strata of another space.

    All test sets get the same number of classes in every stratum, and training proportional numbers.

    Parameters
    ----------
    corpus, space
        The universe, and the space that must not tell the parts apart.
    texts
        Ids of the texts that the pool would teach (P,).
    tests
        Class rows per test set.
    num_train
        Training programs; None takes as many as leave half of the tasks.
    seed
        Decides every draw.

    Raises
    ------
    SplitError
        If the parts overlap too little, with what was reached.
    """
    generator = np.random.default_rng([seed, 8])
    candidates = np.sort(generator.permutation(len(texts))[: max(_POOL_ITEMS, 4 * (num_train or 0))])
    pool = _items(corpus, space, texts[candidates], corpus.class_index[texts[candidates]])
    parts = {name: _items(corpus, space, corpus.class_id[rows], rows) for name, rows in tests.items()}
    everything = [pool, *parts.values()]
    odds = [np.zeros(len(items.classes)) for items in everything]
    weights = [np.ones(len(items.classes)) for items in everything]
    best: Isolated | None = None
    for turn in range(_ROUNDS):
        added = _log_odds(everything, weights, generator)
        step = 1.0 if turn < 2 else _DAMPING
        odds = [one + step * other for one, other in zip(odds, added, strict=True)]
        strata = _strata(odds, min(len(rows) for rows in tests.values()))
        numbers = _matched(strata, num_train)
        weights = [_weights(labels, per) for labels, per in zip(strata, numbers, strict=True)]
        chosen = [_draw(labels, per, generator) for labels, per in zip(strata, numbers, strict=True)]
        tested = chosen[1:]
        if len(tested[0]) < _MIN_TASKS or not len(chosen[0]):
            break
        sides = [(pool.take(chosen[0]), items.take(rows)) for items, rows in zip(parts.values(), tested, strict=True)]
        auc = _separability(sides, seed)
        if auc <= MAX_AUC + _NOISE:  # a try that seems to pass is judged by other folds than those that chose it
            auc = float(np.mean([_separability(sides, seed + again) for again in (1, 2, 3)]))
        if best is None or auc < best.auc:
            named = dict(zip(tests, tested, strict=True))
            bins = {name: strata[k + 1][rows] for k, (name, rows) in enumerate(named.items())}
            best = Isolated(candidates[chosen[0]], named, bins, auc)
        if auc <= MAX_AUC:
            return best
    raise SplitError(_problem(best, space, tests, len(texts)))


def _problem(best: Isolated | None, space: Space, tests: Mapping[str, np.ndarray], num_pool: int) -> str:
    counts = ", ".join(f"{name} {len(rows):,}" for name, rows in tests.items())
    reached = "too few tasks overlap"
    if best is not None:
        left = len(next(iter(best.tests.values())))
        reached = f"the lowest separability is AUC {best.auc:.2f} with {left:,} tasks and {len(best.train):,} programs"
    return (
        f"the split cannot be isolated in the {space.kind} space: {reached} (pool {num_pool:,}, {counts}); "
        "lower num_train, reserve more classes, or choose another region"
    )


def _items(corpus: Corpus, space: Space, texts: np.ndarray, classes: np.ndarray) -> _Items:
    rows = classes if space.kind == SEMANTIC else texts
    return _Items(rows, space.coordinates[rows], np.asarray(classes, dtype=np.int64))


def _separability(sides: list[tuple[_Items, _Items]], seed: int) -> float:
    """Largest AUC of training against a test."""
    return max(
        classifier_auc(train.vectors, test.vectors, train.classes, test.classes, seed=seed).value
        for train, test in sides
    )


def _log_odds(everything: list[_Items], weights: list[np.ndarray], generator: np.random.Generator) -> list[np.ndarray]:
    """Log-odds of being tested rather than trained on, by classifiers that have not seen the item's class.

    Items are drawn by their share in the matched parts, so that many stand for the few that a match keeps.
    """
    sampled = [
        generator.choice(len(shares), size=min(_FIT_ITEMS, 4 * len(shares)), p=shares / shares.sum())
        for shares in weights
    ]
    fitted = [items.take(rows) for items, rows in zip(everything, sampled, strict=True)]
    vectors = np.concatenate([items.vectors for items in fitted])
    classes = np.concatenate([items.classes for items in fitted])
    tested = np.repeat([0] + [1] * (len(fitted) - 1), [len(items.classes) for items in fitted])
    folds = GroupKFold(_FOLDS, shuffle=True, random_state=int(generator.integers(1 << 30)))
    total = [np.zeros(len(items.classes)) for items in everything]
    unseen = [np.zeros(len(items.classes)) for items in everything]
    for seen, hidden in folds.split(vectors, tested, classes):
        model = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=15, learning_rate=0.1, l2_regularization=1.0, random_state=0
        ).fit(vectors[seen], tested[seen])
        left_out = np.unique(classes[hidden])
        known = np.unique(classes[seen])
        for k, items in enumerate(everything):
            fair = np.isin(items.classes, left_out) | ~np.isin(items.classes, known)
            _, first, inverse = np.unique(items.places[fair], return_index=True, return_inverse=True)
            total[k][fair] += model.decision_function(items.vectors[fair][first])[inverse]
            unseen[k][fair] += 1
    return [value / np.maximum(1, num) for value, num in zip(total, unseen, strict=True)]


def _strata(odds: list[np.ndarray], num_tasks: int) -> list[np.ndarray]:
    """Strata by quantiles of the tests' log-odds; finer where there are many tasks."""
    num_strata = int(np.clip(num_tasks // _TASKS_PER_STRATUM, 4, _MAX_STRATA))
    ends = np.quantile(np.concatenate(odds[1:]), np.linspace(0, 1, num_strata + 1)[1:-1])
    return [np.searchsorted(ends, one) for one in odds]


def _matched(strata: list[np.ndarray], num_train: int | None) -> list[np.ndarray]:
    """Numbers per part and stratum: equal ones of every test, proportional ones of training programs."""
    num_strata = 1 + max(int(labels.max()) for labels in strata)
    trained, *tested = (np.bincount(labels, minlength=num_strata).astype(np.float64) for labels in strata)
    common = np.min(tested, axis=0)
    ratio = _ratio(common, trained, num_train)
    tasks = np.floor(np.minimum(common, trained / ratio) + 1e-9).astype(np.int64)
    wanted = num_train if num_train is not None else int(ratio * tasks.sum())
    programs = np.minimum(trained.astype(np.int64), quotas(tasks, max(wanted, 0)) if tasks.any() else 0 * tasks)
    room = np.where(tasks > 0, trained.astype(np.int64) - programs, 0)
    programs = programs + quotas(room, min(int(room.sum()), max(0, wanted - int(programs.sum()))))
    return [programs, *[tasks] * len(tested)]


def _weights(labels: np.ndarray, per_stratum: np.ndarray) -> np.ndarray:
    """Chance of every item to be kept."""
    present = np.bincount(labels, minlength=len(per_stratum))
    return (per_stratum / np.maximum(present, 1))[labels]


def _ratio(tasks: np.ndarray, programs: np.ndarray, num_train: int | None) -> float:
    """Programs per task so that min(ratio * tasks, programs) sums to the training set."""
    low, high = 1e-6, float(programs.sum() + 1)
    for _ in range(60):
        ratio = np.sqrt(low * high)
        if num_train is None:
            enough = np.minimum(tasks, programs / ratio).sum() < 0.5 * np.minimum(tasks, programs / 1e-6).sum()
        else:
            enough = np.minimum(ratio * tasks, programs).sum() >= num_train
        low, high = (low, ratio) if enough else (ratio, high)
    return high


def _draw(labels: np.ndarray, per_stratum: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    parts = [generator.permutation(np.flatnonzero(labels == stratum))[:num] for stratum, num in enumerate(per_stratum)]
    return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
