"""The classifier that tells samples apart, against the analytic AUC, scikit-learn and leaks made on purpose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from synthlab.errors import ConfigurationError, SplitError
from synthlab.splits import separability
from synthlab.splits.separability import classifier_auc, weighted_areas


def gaussian(num, axes=2, shift=0.0, seed=0):
    rows = np.random.default_rng(seed).standard_normal((num, axes)).astype(np.float32)
    rows[:, 0] += shift
    return rows


def own_groups(first, second):
    """A group for every item."""
    return np.arange(len(first)), len(first) + np.arange(len(second))


def auc(first, second, **options):
    return classifier_auc(first, second, *own_groups(first, second), **options)


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_shifted_gaussians_have_the_analytic_area(shift):
    first, second = gaussian(3000), gaussian(3000, shift=shift, seed=1)
    found = auc(first, second)
    best = roc_auc_score(np.repeat([0, 1], 3000), np.concatenate([first, second])[:, 0])  # the likelihood's order
    assert best == pytest.approx(stats.norm.cdf(shift / np.sqrt(2)), abs=0.025)
    assert best - 0.025 < found.value < best + 0.005
    assert found.low < found.value < found.high


def test_equal_laws_cannot_be_told_apart_and_the_interval_says_so():
    found = auc(gaussian(1500), gaussian(1500, seed=1))
    assert 0.5 <= found.value < 0.53
    assert found.low < 0.5 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(6 * 1500), rel=0.25)  # Mann-Whitney: 1/(6n)


def test_value_is_the_mean_area_of_the_folds_or_one_minus_it():
    turned = set()
    for seed in range(6):
        found = auc(gaussian(40, seed=[seed, 0]), gaussian(40, seed=[seed, 1]), seed=seed)
        mean = np.mean(found.per_fold)
        assert len(found.per_fold) == 5
        assert found.value == pytest.approx(max(mean, 1 - mean))
        assert found.low <= found.value <= found.high
        turned.add(bool(mean < 0.5))
    assert turned == {True, False}


def test_copies_of_one_group_never_straddle_folds():
    first, second = (np.repeat(gaussian(60, 4, seed=seed), 12, axis=0) for seed in (0, 1))
    classes = np.repeat(np.arange(60), 12), np.repeat(np.arange(60, 120), 12)
    assert classifier_auc(first, second, *classes).value < 0.6
    assert auc(first, second).value > 0.95  # what copies on both sides would have claimed


def test_interval_resamples_groups_not_their_copies():
    first, second = gaussian(80, shift=1), gaussian(80, seed=1)
    alone = auc(first, second)
    copied = [np.repeat(rows, 10, axis=0) for rows in (first, second)]
    together = classifier_auc(*copied, *(np.repeat(g, 10) for g in own_groups(first, second)))
    assert together.high - together.low > 0.7 * (alone.high - alone.low)


def test_identical_samples_of_identical_groups_tie():
    rows = gaussian(60)
    found = classifier_auc(rows, rows, np.arange(60), np.arange(60))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_samples_of_any_proportion_and_order_give_one_answer():
    first, second = gaussian(900, shift=2), gaussian(90, seed=1)
    found, turned = auc(first, second), auc(second, first)
    assert found.value == pytest.approx(stats.norm.cdf(np.sqrt(2)), abs=0.06)
    assert turned.value == pytest.approx(found.value, abs=0.03)
    assert (found.num_first, found.num_second, turned.num_first) == (900, 90, 90)


def test_seed_decides_everything_and_large_samples_are_thinned():
    samples = gaussian(300), gaussian(200, shift=0.5, seed=1)
    found = [auc(*samples, seed=seed, max_items=100) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert (found[0].num_first, found[0].num_second) == (100, 100)


def test_folds_are_no_more_than_a_sample_has_groups():
    first, second = gaussian(40), gaussian(30, shift=3, seed=1)
    found = classifier_auc(first, second, np.arange(40), 100 + np.arange(30) % 3)
    assert len(found.per_fold) == 3


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=4, max_size=60), st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_every_fold_has_both_samples(items, folds):
    named, labels = np.array([g for g, _ in items]), np.array([int(side) for _, side in items])
    groups = np.unique(named, return_inverse=True)[1]
    num_groups = [len(np.unique(groups[labels == side])) for side in (0, 1)]
    if min(num_groups) < 2:
        return
    kinds = separability._kinds(groups, labels)
    fold = separability._folds(groups, kinds, folds, np.random.default_rng(0))[groups]
    assert set(fold) == set(range(min(folds, *num_groups)))
    assert all(set(labels[fold == k]) == {0, 1} for k in set(fold))


@pytest.mark.parametrize("num_scores", [3, 10**6])
def test_weighted_areas_are_those_of_scikit_learn(num_scores):
    generator = np.random.default_rng(4)
    scores = generator.integers(num_scores, size=50).astype(float)
    is_second = generator.random(50) < 0.3
    weights = np.stack([np.ones(50), generator.integers(1, 5, size=50), generator.integers(0, 2, size=50)])
    expected = [roc_auc_score(is_second, scores, sample_weight=row) for row in weights]
    assert weighted_areas(scores, is_second, weights) == pytest.approx(expected)


def test_bootstrap_draws_as_many_groups_of_each_kind_as_there_are():
    kinds = np.array([0, 1, 1, 1, 2, 2, 0, 1])
    inside = np.array([True] * 6 + [False] * 2)
    weights = separability._resampled(kinds, inside, np.random.default_rng(0))
    assert (weights[0] == 1).all()
    for kind in range(3):
        members = inside & (kinds == kind)
        assert (weights[:, members].sum(axis=1) == members.sum()).all()
    assert weights[1:, 1:4].std() > 0.5


@pytest.mark.parametrize(
    ("numbers", "groups", "message"),
    [((1, 9), None, "a classifier needs 2 and 2 items, there are 1 and 9"),
     ((9, 6), (np.zeros(9), np.arange(6)), "needs 2 groups in either sample, not 1 and 6: draw more")],
)  # fmt: skip
def test_too_few_items_or_groups_are_refused(numbers, groups, message):
    samples = [gaussian(num) for num in numbers]
    with pytest.raises(SplitError, match=message):
        classifier_auc(*samples, *(groups or own_groups(*samples)))


def test_what_cannot_be_read_is_refused():
    first, second = gaussian(10), gaussian(12, seed=1)
    with pytest.raises(ConfigurationError, match="groups of 10 and 11 items for samples of 10 and 12"):
        classifier_auc(first, second, np.arange(10), np.arange(11))
    for options, message in (({"folds": 1}, "1 folds, 5000 items"), ({"max_items": 1}, "5 folds, 1 items")):
        with pytest.raises(ConfigurationError, match=message):
            auc(first, second, **options)
    second[5, 1] = np.nan
    with pytest.raises(ConfigurationError, match="0 of 10 and 1 of 12 rows have NaN"):
        auc(first, second)
