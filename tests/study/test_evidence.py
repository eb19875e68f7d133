"""p-values and intervals against closed forms, and their error rates by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, ttest_1samp

from synthlab.assessment.bootstrap import Draws, resample
from synthlab.assessment.metrics import Estimate
from synthlab.study.evidence import Evidence, evidence, holm, interval, mapped, standardized_mean, weakest


def normal_draws(value, spread, *, within=0.0, num_groups=6, num=4001):
    """Replicates with exactly normal quantiles."""
    scores = norm.ppf((np.arange(num) + 0.5) / num)
    return Draws(value, value + spread * scores, value + within * scores, num_groups, 50)


# ---------------------------------------------------------------- one statistic


@pytest.mark.parametrize("bound", [0.0, 1.0, -0.4])
def test_with_all_variance_between_groups_it_is_the_t_test(bound):
    groups = np.random.default_rng(3).normal(0.7, 1, 8)
    standard = groups.std(ddof=0) / np.sqrt(8)  # what a bootstrap of the groups sees
    found = evidence(normal_draws(groups.mean(), standard, num_groups=8), bound)
    expected = ttest_1samp(groups, bound)
    low, high = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.01)
    assert (found.estimate.low, found.estimate.high) == (pytest.approx(low, rel=0.01), pytest.approx(high, rel=0.01))


def test_with_no_variance_between_groups_it_is_the_z_test():
    found = evidence(normal_draws(1.0, 0.5, within=0.5, num_groups=3), 0.0)
    assert found.p_value == pytest.approx(2 * norm.sf(2), rel=0.01)
    assert found.estimate.low == pytest.approx(1 - 1.96 * 0.5, abs=0.002)
    assert found.p_above < 0.03 < 0.97 < found.p_below


def test_fewer_groups_say_less():
    many, few, two = (evidence(normal_draws(1.0, 0.3, num_groups=n), 0.0) for n in (30, 3, 2))
    assert many.p_value < few.p_value < two.p_value
    assert many.estimate.low > few.estimate.low > two.estimate.low
    assert evidence(normal_draws(1.0, 0.3, num_groups=1), 0.0).p_value < many.p_value  # one trial, seen as fixed


@pytest.mark.parametrize("sign", [1, -1])
def test_p_values_are_symmetric_and_never_below_one_in_the_replicates(sign):
    far = evidence(normal_draws(sign * 50.0, 0.1, num_groups=40, num=500), 0.0)
    assert far.p_value == 1 / 500
    assert (far.p_above < far.p_below) == (sign == 1)


def test_what_is_undefined_gives_no_evidence():
    for replicates in ([np.nan] * 10, [np.nan] * 8 + [1.0, 2.0]):
        found = evidence(Draws(1.0, np.array(replicates), np.ones(4), 3, 7), 0.0)
        assert np.isnan(found.p_value) and np.isnan(found.estimate.low) and found.estimate.num_tasks == 7
    assert np.isnan(evidence(Draws(np.nan, np.ones(10), np.ones(4), 3, 7), 0.0).p_value)
    assert evidence(Draws(1.0, np.ones(10), np.ones(4), 3, 7), 0.0).p_value == 1  # no variation, no test


def test_some_undefined_replicates_are_left_out():
    whole = normal_draws(1.0, 0.5)
    holes = Draws(1.0, np.concatenate([whole.replicates, [np.nan, np.inf]]), whole.within, 6, 50)
    assert interval(holes) == interval(whole)


def test_limits_cut_the_interval_only():
    found = evidence(normal_draws(0.95, 0.1, num_groups=3), 0.9, limits=(0, 1))
    assert found.estimate.high == 1 and found.estimate.value == 0.95
    assert found.p_value == evidence(normal_draws(0.95, 0.1, num_groups=3), 0.9).p_value


def test_another_scale_keeps_the_evidence():
    found = mapped(Evidence(Estimate(1.0, 0.0, 3.0, 9), 0.0, 0.01, 0.99), np.exp2)
    assert found == Evidence(Estimate(2.0, 1.0, 8.0, 9), 1.0, 0.01, 0.99)


# ---------------------------------------------------------------- several statistics


def held(value, p_above, p_below):
    return Evidence(Estimate(value, value - 1, value + 1, 3), 0.0, p_above, p_below)


def test_all_hold_only_if_the_weakest_does():
    found = weakest([held(2, 0.001, 0.999), held(1, 0.04, 0.96), held(3, 0.01, 0.99)], above=True)
    assert (found.estimate.value, found.p_above, found.p_below) == (1, 0.04, 1.0)


def test_one_on_the_other_side_refutes_with_a_correction():
    found = weakest([held(2, 0.001, 0.999), held(-1, 0.99, 0.01), held(3, 0.01, 0.99)], above=True)
    assert (found.estimate.value, found.p_above, found.p_below) == (-1, 0.99, pytest.approx(0.03))
    mirrored = weakest([held(-2, 0.999, 0.001), held(1, 0.01, 0.99), held(-3, 0.99, 0.01)], above=False)
    assert (mirrored.estimate.value, mirrored.p_below, mirrored.p_above) == (1, 0.99, pytest.approx(0.03))


def test_holm_by_hand():
    """.005 * 4, .01 * 3, .03 * 2, and .04 * 1 raised to the .06 before it; what was not tested does not count."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04, 0.03, 0.005]), [0.03, np.nan, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1, 1])
    assert holm([]).tolist() == []


# ---------------------------------------------------------------- error rates


def population(generator, num_groups, between, within=1.0, num=40):
    """Draws of a mean whose truth is 0."""
    groups = generator.normal(0, between, num_groups)
    values = groups[:, None] + generator.normal(0, within, (num_groups, num))
    frame = pd.DataFrame({"region": np.repeat(np.arange(num_groups), num)})
    sums = resample(frame, values.reshape(-1, 1), ["region"], num_replicates=400, seed=int(generator.integers(1 << 30)))
    return sums.draws(lambda s: s[:, :, 0].sum(axis=1) / values.size, values.size)


@pytest.mark.parametrize(("num_groups", "between"), [(3, 0.3), (6, 0.5), (8, 0.0)])
def test_intervals_cover_with_regions_as_a_random_factor(num_groups, between):
    generator = np.random.default_rng(num_groups)
    found = [population(generator, num_groups, between) for _ in range(100)]
    covered = np.mean([interval(d).low <= 0 <= interval(d).high for d in found])
    assert 0.88 <= covered <= 1
    if between:  # and the plain percentiles do not
        plain = [np.quantile(d.replicates, [0.025, 0.975]) for d in found]
        assert np.mean([low <= 0 <= high for low, high in plain]) <= covered - 0.03


def test_a_family_of_no_effects_is_rarely_called_one():
    generator = np.random.default_rng(5)
    wrong = 0
    for _ in range(60):
        p = [evidence(population(generator, n, 0.4), 0.0).p_value for n in (3, 4, 6, 6, 9)]
        wrong += holm(p).min() <= 0.05
    assert wrong <= 8  # 5 % of 60 is 3; more than 8 has a chance below 1 %


# ---------------------------------------------------------------- standardisation


def test_direct_standardisation_by_hand():
    """Rates .5 and .25, weighted 3 to 1; the third cell has no tasks to learn from."""
    found, covered = standardized_mean(np.array([5.0, 1, 0]), np.array([10.0, 4, 0]), np.array([3.0, 1, 4]))
    assert found == pytest.approx((3 * 0.5 + 1 * 0.25) / 4) and covered == pytest.approx(0.5)


def test_nothing_in_common_is_undefined():
    found, covered = standardized_mean(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0]]), np.array([[0.0, 5.0]]))
    assert np.isnan(found[0]) and covered[0] == 0
