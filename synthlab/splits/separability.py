"""Whether a classifier can tell two samples of one space apart, and how surely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from synthlab.errors import ConfigurationError, SplitError
from synthlab.splits.distances import check_samples

_REPLICATES = 200
_BOTH, _FIRST, _SECOND = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class AUC:
    """How well a classifier tells two samples apart.

    Attributes
    ----------
    value
        Mean area under the ROC curve over folds, or 1 minus it where that is more: 0.5 none, 1 entirely.
    low, high
        95 % interval by a bootstrap of groups within folds, for the classifiers as fitted; oriented as `value`, so
        `low` may lie below 0.5.
    per_fold
        Areas of the folds as they came.
    num_first, num_second
        Items used.
    """

    value: float
    low: float
    high: float
    per_fold: tuple[float, ...]
    num_first: int
    num_second: int


def classifier_auc(
    first: np.ndarray,
    second: np.ndarray,
    first_groups: np.ndarray,
    second_groups: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    max_items: int = 5000,
) -> AUC:
    """Cross-validated AUC of boosted trees that tell two samples apart (a classifier two-sample test).

    Lopez-Paz and Oquab, ICLR 2017. The items of one group, such as copies of one function, are never on both sides of a
    fold, so what is recognized is the law and not the copy.

    Parameters
    ----------
    first, second
        Vectors (n, d) and (m, d).
    first_groups, second_groups
        Group of every item, whole numbers (n,) and (m,); a group may be in both.
    folds
        At most; no more than either sample has groups.
    seed
        Decides samples, folds, trees and bootstrap.
    max_items
        Larger samples are thinned to so many items.

    Raises
    ------
    ConfigurationError
        For vectors that are no places, groups of another length, fewer than 2 folds or items allowed.
    SplitError
        If a sample has fewer than two groups.
    """
    _check(first, second, len(first_groups), len(second_groups))
    if folds < 2 or max_items < 2:
        raise ConfigurationError(f"{folds} folds, {max_items} items: use at least 2 of each")
    generator = np.random.default_rng([seed, 5])
    kept = [np.sort(generator.permutation(len(rows))[:max_items]) for rows in (first, second)]
    vectors = np.concatenate([first[kept[0]], second[kept[1]]])
    labels = np.repeat([0, 1], [len(rows) for rows in kept])
    named = np.concatenate([np.asarray(first_groups)[kept[0]], np.asarray(second_groups)[kept[1]]])
    groups = np.unique(named, return_inverse=True)[1]
    kinds = _kinds(groups, labels)
    fold_of_group = _folds(groups, kinds, folds, generator)
    fold = fold_of_group[groups]
    areas = []
    for k in range(int(fold.max()) + 1):
        scores = _scores(vectors, labels, fold == k, seed)
        weights = _resampled(kinds, fold_of_group == k, generator)[:, groups[fold == k]]
        areas.append(weighted_areas(scores, labels[fold == k] == 1, weights))
    means = np.mean(areas, axis=0)
    oriented = means if means[0] >= 0.5 else 1 - means
    low, high = np.quantile(oriented[1:], [0.025, 0.975])
    return AUC(
        value=float(oriented[0]), low=float(low), high=float(high), per_fold=tuple(float(a[0]) for a in areas),
        num_first=len(kept[0]), num_second=len(kept[1]),
    )  # fmt: skip


def _check(first: np.ndarray, second: np.ndarray, num_first_groups: int, num_second_groups: int) -> None:
    check_samples(first, second, "a classifier", (2, 2))
    if (num_first_groups, num_second_groups) != (len(first), len(second)):
        raise ConfigurationError(
            f"groups of {num_first_groups:,} and {num_second_groups:,} items for samples of {len(first):,} and "
            f"{len(second):,}: name the group of every item"
        )


def _kinds(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether every group is in both samples, the first or the second only, (G,)."""
    counts = np.stack([np.bincount(groups[labels == side], minlength=groups.max() + 1) for side in (0, 1)])
    return np.select([counts[1] == 0, counts[0] == 0], [_FIRST, _SECOND], _BOTH)


def _folds(groups: np.ndarray, kinds: np.ndarray, folds: int, generator: np.random.Generator) -> np.ndarray:
    """Fold of every group (G,): those of a kind are dealt in turn, large ones first, so each fold has both samples."""
    num_groups = [int((kinds != kind).sum()) for kind in (_SECOND, _FIRST)]
    if min(num_groups) < 2:
        raise SplitError(
            f"a classifier needs 2 groups in either sample, not {num_groups[0]:,} and {num_groups[1]:,}: draw more"
        )
    folds = min(folds, *num_groups)
    sizes = np.bincount(groups)
    fold = np.empty(len(sizes), dtype=np.int64)
    num_both = int((kinds == _BOTH).sum())
    for kind in (_BOTH, _FIRST, _SECOND):
        members = generator.permutation(np.flatnonzero(kinds == kind))
        members = members[np.argsort(-sizes[members], kind="stable")]
        fold[members] = (np.arange(len(members)) + (0 if kind == _BOTH else num_both)) % folds
    return fold


def _scores(vectors: np.ndarray, labels: np.ndarray, hidden: np.ndarray, seed: int) -> np.ndarray:
    """Scores of the hidden items by a classifier of the others."""
    # small trees with large leaves: larger ones overfit weak shifts, and so would call too much alike
    leaf = int(np.clip((~hidden).sum() // 20, 2, 50))
    model = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=leaf, l2_regularization=1.0,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    # so little work per tree does not gain from threads, and on a busy machine they wait for each other
    with threadpool_limits(1, user_api="openmp"):
        model.fit(vectors[~hidden], labels[~hidden])
        return np.asarray(model.decision_function(vectors[hidden]))


def _resampled(kinds: np.ndarray, inside: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """How often each group of a fold is drawn (1 + replicates, G): once, then by bootstraps within its kind."""
    weights = np.ones((1 + _REPLICATES, len(kinds)))
    for kind in (_BOTH, _FIRST, _SECOND):
        members = np.flatnonzero(inside & (kinds == kind))
        if len(members):
            draws = generator.integers(len(members), size=(_REPLICATES, len(members)))
            draws += np.arange(_REPLICATES)[:, None] * len(members)
            weights[1:, members] = np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape)
    return weights


def weighted_areas(scores: np.ndarray, is_second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve (R,) for every row of weights (R, n); ties count a half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    one, other = (np.add.reduceat(weights[:, order] * side[order], starts, axis=1) for side in (~is_second, is_second))
    below = one.cumsum(axis=1) - one / 2
    return (other * below).sum(axis=1) / (one.sum(axis=1) * other.sum(axis=1))
