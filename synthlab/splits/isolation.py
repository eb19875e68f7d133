"""Isolating a shift: train and test drawn so that the *other* space cannot tell them apart.

A syntactic split usually shifts what programs compute as well. Here training programs and tests are
resampled to equal shares in strata of the log-odds that a classifier of the other space gives (propensity
strata: Rosenbaum and Rubin, Biometrika 70, 1983), again and again on what is left, until a fresh classifier fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

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
_QUESTIONS = ((0, 1, 1), (None, 0, 1))
"""Labels of training, id and forced: is it tested, and which test is it?"""
_FOLDS = 4
_FIT_ITEMS = 8_000
_POOL_ITEMS = 200_000
_MIN_TASKS = 30
_TASKS_PER_STRATUM = 15
_MAX_STRATA = 24
_TEST_STRATA = 3


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
        Largest separability of any two parts in the other space, cross-validated.
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
    """Choose training programs, id and forced tests with equal shares in the strata of another space.

    Strata are of two log-odds: of being tested rather than trained on, and of being forced rather than id. Both
    tests get the same number of classes in every stratum, and training proportional numbers.

    Parameters
    ----------
    corpus, space
        The universe, and the space that must not tell the parts apart.
    texts
        Ids of the texts that the pool would teach (P,).
    tests
        Class rows of the id and the forced test.
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
    short = {name: len(items.classes) for name, items in parts.items() if len(items.classes) < _MIN_TASKS}
    if short or len(pool.classes) < _MIN_TASKS:
        raise SplitError(_problem(None, space, tests, len(texts)))
    num_tasks, best = min(len(rows) for rows in tests.values()), None
    odds = np.zeros((2, sum(len(items.classes) for items in everything)))
    weights = [np.ones(len(items.classes)) for items in everything]
    for turn in range(_ROUNDS):
        step = 1.0 if turn < 2 else _DAMPING
        odds += step * np.stack([_log_odds(everything, labels, weights, generator) for labels in _QUESTIONS])
        strata = _strata(odds, everything, num_tasks)
        numbers = _matched(strata, num_train)
        weights = [_weights(labels, per) for labels, per in zip(strata, numbers, strict=True)]
        chosen = [_draw(labels, per, generator) for labels, per in zip(strata, numbers, strict=True)]
        if len(chosen[1]) < _MIN_TASKS or len(chosen[0]) < _MIN_TASKS:
            break
        kept = [items.take(rows) for items, rows in zip(everything, chosen, strict=True)]
        auc = _separability(kept, seed)
        if auc <= MAX_AUC + _NOISE:  # a try that seems to pass is judged by other folds than those that chose it
            auc = float(np.mean([_separability(kept, seed + again) for again in (1, 2, 3)]))
        if best is None or auc < best.auc:
            named = dict(zip(tests, chosen[1:], strict=True))
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
    return _Items(rows, settled(space.coordinates[rows]), np.asarray(classes, dtype=np.int64))


def settled(vectors: np.ndarray) -> np.ndarray:
    """Vectors to four decimals: what rounding leaves of a zero depends on the machine, and trees would split there."""
    return np.round(vectors, 4)


def _separability(kept: list[_Items], seed: int) -> float:
    """Largest AUC of any two parts."""
    return max(
        classifier_auc(one.vectors, two.vectors, one.classes, two.classes, seed=seed).value
        for one, two in itertools.combinations(kept, 2)
    )


def _log_odds(
    everything: list[_Items], labels: tuple[int | None, ...], weights: list[np.ndarray], generator: np.random.Generator
) -> np.ndarray:
    """Log-odds of every item of all parts for label 1 against 0, by classifiers that have not seen the item's class.

    Items are drawn by their share in the matched parts, so that many stand for the few that a match keeps.
    """
    asked = [k for k, label in enumerate(labels) if label is not None]
    sampled = {
        k: generator.choice(len(weights[k]), size=min(_FIT_ITEMS, 4 * len(weights[k])), p=weights[k] / weights[k].sum())
        for k in asked
    }
    fitted = [everything[k].take(sampled[k]) for k in asked]
    vectors = np.concatenate([items.vectors for items in fitted])
    classes = np.concatenate([items.classes for items in fitted])
    answers = np.repeat([labels[k] for k in asked], [len(items.classes) for items in fitted]).astype(np.int64)
    folds = GroupKFold(_FOLDS, shuffle=True, random_state=int(generator.integers(1 << 30)))
    places, owners, at = _distinct(everything)
    total, unseen = np.zeros(len(owners)), np.zeros(len(owners))
    for seen, hidden in folds.split(vectors, answers, classes):
        with threadpool_limits(1, user_api="openmp"):  # on busy cores several threads take longer than one
            model = HistGradientBoostingClassifier(
                max_iter=60, max_leaf_nodes=15, learning_rate=0.1, l2_regularization=1.0, random_state=0
            ).fit(vectors[seen], answers[seen])
            fair = np.isin(owners, classes[hidden]) | ~np.isin(owners, classes[seen])
            total[fair] += model.decision_function(places[fair])
            unseen[fair] += 1
    return (total / np.maximum(1, unseen))[at]


def _distinct(everything: list[_Items]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors and classes of the distinct places of all parts, and where each item stands among them."""
    places = np.concatenate([items.places for items in everything])
    _, first, at = np.unique(places, return_index=True, return_inverse=True)
    vectors = np.concatenate([items.vectors for items in everything])
    return vectors[first], np.concatenate([items.classes for items in everything])[first], at


def _strata(odds: np.ndarray, everything: list[_Items], num_tasks: int) -> list[np.ndarray]:
    """Strata of every part by quantiles of the tests' log-odds for both questions; finer where there are many tasks."""
    num_trained = len(everything[0].classes)
    counts = int(np.clip(num_tasks // _TASKS_PER_STRATUM, 4, _MAX_STRATA)), _TEST_STRATA
    labels = np.zeros(odds.shape[1], dtype=np.int64)
    for values, num in zip(odds, counts, strict=True):
        ends = np.quantile(values[num_trained:], np.linspace(0, 1, num + 1)[1:-1])
        labels = labels * num + np.searchsorted(ends, values)
    ends = np.cumsum([len(items.classes) for items in everything])[:-1]
    return np.split(labels, ends)


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
