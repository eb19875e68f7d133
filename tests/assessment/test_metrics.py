"""pass@k against exact combinatorics; intervals against known distributions."""

from fractions import Fraction
from math import comb

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from synthlab.assessment import metrics
from synthlab.assessment.metrics import difference, estimate, pass_at_k, pass_at_k_table, status_shares, summarize
from synthlab.errors import ConfigurationError


def solved(values, **columns):
    return pd.DataFrame({"solved": np.asarray(values), **columns})


# ---------------------------------------------------------------- pass@k


@pytest.mark.parametrize("n", range(1, 13))
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(n):
    for k in range(1, n + 1):
        expected = [float(1 - Fraction(comb(n - c, k), comb(n, k))) for c in range(n + 1)]
        np.testing.assert_allclose(pass_at_k(n, np.arange(n + 1), k), expected, rtol=1e-13, atol=1e-15)


def test_pass_at_k_stays_exact_for_many_samples():
    expected = [float(1 - Fraction(comb(10_000 - c, 100), comb(10_000, 100))) for c in (0, 1, 50, 9_950)]
    np.testing.assert_allclose(pass_at_k(10_000, np.array([0, 1, 50, 9_950]), 100), expected, rtol=1e-10)


def test_pass_at_k_differs_from_the_biased_formula():
    assert pass_at_k(4, np.array([2]), 2)[0] == pytest.approx(5 / 6) != 1 - (1 - 2 / 4) ** 2


IMPOSSIBLE = [(5, 0, 10), (5, 5, 6), (5, 0, 0), (5, 0, -1), (0, 0, 1), (5, 6, 1), (5, -1, 1)]


@pytest.mark.parametrize("error", [ConfigurationError, ValueError])
@pytest.mark.parametrize(("n", "c", "k"), IMPOSSIBLE)
def test_impossible_counts_are_refused(error, n, c, k):
    with pytest.raises(error):
        pass_at_k(n, np.array([0, c]), k)


def test_pass_at_k_averages_over_tasks_by_part():
    results = pd.DataFrame({"part": ["id"] * 3 + ["forced"] * 2, "num_correct": [0, 2, 4, 0, 1], "num_samples": 4})
    table = pass_at_k_table(results, [1, 3]).set_index(["part", "k"])
    assert table.loc[("id", 1), "value"] == pytest.approx((0 + 2 / 4 + 1) / 3)
    assert table.loc[("id", 3), "value"] == pytest.approx((0 + 1 + 1) / 3)
    assert table.loc[("forced", 3), "value"] == pytest.approx((0 + 3 / 4) / 2)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()


# ---------------------------------------------------------------- intervals


@pytest.fixture
def fewer_replicates(monkeypatch):
    monkeypatch.setattr(metrics, "NUM_REPLICATES", 300)


@pytest.mark.parametrize(("draw", "mean"), [("binomial", 0.3), ("exponential", 2.0)])
def test_intervals_cover_the_mean_about_as_often_as_they_say(fewer_replicates, draw, mean):
    generator = np.random.default_rng(3)
    samples = {"binomial": lambda: generator.binomial(1, 0.3, 80), "exponential": lambda: generator.exponential(2, 80)}
    found = [estimate(solved(samples[draw]()), seed=k) for k in range(120)]
    covered = np.mean([e.low <= mean <= e.high for e in found])
    assert 0.88 <= covered <= 0.99
    assert all(e.low <= e.value <= e.high and e.num_tasks == 80 for e in found)


def test_the_width_is_that_of_the_normal_approximation():
    values = np.random.default_rng(5).normal(7, 2, 500)
    found = estimate(solved(values))
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(500), rel=0.1)


@pytest.mark.parametrize("levels", [(), ("seed",)])
def test_equal_shares_have_an_interval_of_no_width(fewer_replicates, levels):
    found = estimate(solved([0.25] * 12, seed=[0, 1, 2] * 4), levels=levels)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)
    assert str(found) == "0.250 [0.250, 0.250]"


@pytest.mark.parametrize("value", [0, 1, True])
def test_none_or_all_solved_leaves_the_interval_of_jeffreys(value):
    found = estimate(solved([value] * 40))
    width = beta(0.5, 40.5).ppf(0.975)
    assert found.value == value
    assert found.high - found.low == pytest.approx(width, rel=0.1)
    assert found.low == 0 if value == 0 else found.high == 1


def test_intervals_are_repeatable_and_depend_on_the_seed(fewer_replicates):
    frame = solved(np.random.default_rng(1).binomial(1, 0.5, 50))
    assert estimate(frame, seed=4) == estimate(frame, seed=4) != estimate(frame, seed=5)


def test_a_weight_counts_as_that_many_rows(fewer_replicates):
    weighted = estimate(solved([1, 0, 0.5], weight=[3, 1, 2]))
    assert weighted.value == pytest.approx((3 + 0 + 1) / 6)
    assert estimate(solved([1, 0, 0, 1], weight=[5, 5, 5, 5])) == estimate(solved([1, 0, 0, 1]))
    heavy = estimate(solved([1.0] + [0.0] * 20, weight=[1000] + [1] * 20))
    assert heavy.value > 0.98 and heavy.low < 0.5  # the one heavy class may be missing from a replicate


def test_groups_that_differ_widen_the_interval(fewer_replicates):
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(6), 100)
    alike, apart = generator.binomial(1, 0.5, 600), generator.binomial(1, np.repeat([0.1, 0.9] * 3, 100))
    widths = {}
    for name, values in (("alike", alike), ("apart", apart)):
        for levels in ((), ("region",)):
            found = estimate(solved(values, region=groups), levels=levels)
            widths[name, levels] = found.high - found.low
    assert widths["apart", ("region",)] > 4 * widths["apart", ()]
    assert widths["alike", ("region",)] < 3 * widths["alike", ()]
    spread = np.std([0.1, 0.9] * 3) / np.sqrt(6)
    assert widths["apart", ("region",)] == pytest.approx(2 * 1.96 * spread, rel=0.25)


def test_nothing_to_average_is_refused():
    with pytest.raises(ConfigurationError, match="no task to average over: the test set is empty"):
        estimate(solved([]))


# ---------------------------------------------------------------- differences


def test_a_difference_is_second_minus_first_in_points_and_relative():
    generator = np.random.default_rng(8)
    first, second = solved(generator.binomial(1, 0.8, 400)), solved(generator.binomial(1, 0.4, 300))
    found = difference(first, second)
    gap = second["solved"].mean() - first["solved"].mean()
    assert found.points.value == pytest.approx(gap) and gap < -0.3
    assert found.relative.value == pytest.approx(gap / first["solved"].mean())
    assert found.points.low < gap < found.points.high < 0
    spread = 2 * 1.96 * np.sqrt(0.8 * 0.2 / 400 + 0.4 * 0.6 / 300)
    assert found.points.high - found.points.low == pytest.approx(spread, rel=0.15)
    assert found.points.num_tasks == 700


def test_a_difference_changes_sign_with_its_operands(fewer_replicates):
    first, second = solved([1] * 40 + [0] * 10), solved([1] * 20 + [0] * 30)
    down, up = difference(first, second), difference(second, first)
    assert (down.points.value, up.points.value) == (pytest.approx(-0.4), pytest.approx(0.4))
    assert (down.relative.value, up.relative.value) == (pytest.approx(-0.5), pytest.approx(1.0))
    assert down.points.high < 0 < up.points.low


def test_equal_tables_differ_by_nothing_but_are_not_the_same_draw(fewer_replicates):
    table = solved(np.random.default_rng(0).binomial(1, 0.5, 100))
    found = difference(table, table)
    assert found.points.value == 0
    assert found.points.low < -0.05 and found.points.high > 0.05


def test_there_is_no_relative_difference_from_nothing(fewer_replicates):
    found = difference(solved([0] * 20), solved([0, 1] * 10))
    assert np.isnan(found.relative.value)
    assert found.points.value == pytest.approx(0.5)


# ---------------------------------------------------------------- tables


def test_status_shares_add_up_in_every_part():
    status = ["solved", "solved", "undefined", "too long", "solved", "too long"]
    results = pd.DataFrame({"part": ["id"] * 4 + ["forced"] * 2, "status": status})
    shares = status_shares(results).set_index(["part", "status"])["share"]
    assert shares["id"].to_dict() == {"solved": 0.5, "undefined": 0.25, "too long": 0.25}
    assert shares["forced"].to_dict() == {"solved": 0.5, "too long": 0.5}


def test_summaries_count_classes_not_rows(fewer_replicates):
    frame = pd.DataFrame({
        "region": ["a"] * 4 + ["b"] * 2, "part": "id", "class_id": [1, 2, 1, 2, 5, 5], "solved": [1, 0, 1, 1, 0, 0],
        "seed": [0, 0, 1, 1, 0, 1],
    })  # fmt: skip
    table = summarize(frame, ["region", "part"], levels=["seed"]).set_index("region")
    assert table.loc["a", ["pass_at_1", "num_tasks"]].tolist() == [0.75, 2]
    assert table.loc["b", ["pass_at_1", "low", "num_tasks"]].tolist() == [0, 0, 1]
    assert table.loc["a", "low"] <= 0.75 <= table.loc["a", "high"]
