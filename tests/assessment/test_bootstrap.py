"""The bootstrap by counts against drawing groups and rows one by one, and against exact enumeration."""

from collections import Counter
from itertools import islice, product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare, ks_2samp

from synthlab.assessment.bootstrap import (
    Draws,
    combined,
    group_counts,
    outer_groups,
    resample,
    row_counts,
    trial_replicates,
)


def mean(sums):
    return sums[:, :, 1].sum(axis=1) / sums[:, :, 0].sum(axis=1)


def columns(frame):
    weight = frame["weight"].to_numpy(float)
    return np.stack([weight, weight * frame["value"].to_numpy(float)], axis=1)


def one_by_one(frame, levels, generator):
    """Row numbers of one replicate: groups with replacement, groups within each, then rows."""

    def nested(rows, levels):
        if not levels:
            return rows.index.to_numpy()
        return [nested(group, levels[1:]) for _, group in rows.groupby(levels[0])]

    def drawn(groups):
        if isinstance(groups, np.ndarray):
            return groups[generator.integers(0, len(groups), len(groups))]
        return np.concatenate([drawn(groups[k]) for k in generator.integers(0, len(groups), len(groups))])

    groups = nested(frame, levels)
    while True:
        yield drawn(groups)


@pytest.mark.parametrize("levels", [[], ["region"], ["region", "seed"]])
@pytest.mark.parametrize("distinct", [2, 1000])
def test_the_law_is_that_of_drawing_one_by_one(levels, distinct):
    generator = np.random.default_rng(4)
    frame = pd.DataFrame({
        "region": [0] * 30 + [1] * 9 + [2] * 12, "seed": [0, 1, 2] * 10 + [0] * 9 + [0, 1] * 6,
        "value": generator.integers(0, distinct, 51) / distinct + np.repeat([0.5, 0.0], [30, 21]),
        "weight": generator.integers(1, 3, 51),
    })  # fmt: skip
    found = resample(frame, columns(frame), levels, num_replicates=6000).draws(mean, 51)
    value, weight, rows = frame["value"].to_numpy(), frame["weight"].to_numpy(), one_by_one(frame, levels, generator)
    slow = [np.average(value[r], weights=weight[r]) for r in islice(rows, 3000)]
    assert ks_2samp(found.replicates, slow).pvalue > 1e-3
    assert np.std(found.replicates) == pytest.approx(np.std(slow), rel=0.06)
    assert found.value == pytest.approx(np.average(frame["value"], weights=frame["weight"]))
    assert found.num_groups == (3 if levels else 1)


def test_every_outcome_has_its_exact_probability():
    """Two groups of two rows: all 4 * 4^2 ways to draw groups, and rows in each."""
    rows = {"a": (1.0, 2.0), "b": (4.0, 8.0)}
    exact = Counter()
    for groups in product(rows, repeat=2):
        for picks in product(*(product(rows[g], repeat=2) for g in groups)):
            exact[sum(map(sum, picks))] += 1
    frame = pd.DataFrame({"group": ["a", "b", "b", "a"], "value": [1.0, 4.0, 8.0, 2.0]})
    found = resample(frame, frame[["value"]].to_numpy(), ["group"], num_replicates=20_000)
    counts = Counter(found.replicates[:, :, 0].sum(axis=1).tolist())
    assert set(counts) == set(exact)
    expected = np.array([exact[k] for k in exact]) / sum(exact.values()) * 20_000
    assert chisquare([counts[k] for k in exact], expected).pvalue > 1e-4


def test_rows_that_are_drawn_alone_vary_as_rows_do():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"region": np.repeat([0, 1], 200), "value": generator.normal(0, 1, 400), "weight": 1})
    apart = frame.assign(value=frame["value"] + 10 * frame["region"])
    found = resample(apart, columns(apart), ["region"], num_replicates=8000).draws(mean, 400)
    assert found.within.std() == pytest.approx(frame["value"].std() / 20, rel=0.06)
    assert found.replicates.std() == pytest.approx(10 / 2 / np.sqrt(2), rel=0.06)


def test_strata_are_all_kept():
    frame = pd.DataFrame({"seed": [0] * 6 + [1] * 8, "part": list("aabbbb") + list("aaaaabbb"), "one": 1.0})
    found = resample(frame, frame[["one"]].to_numpy(), ["seed"], ["part"], num_replicates=500)
    assert found.groups.to_numpy().tolist() == [[0, "a"], [0, "b"], [1, "a"], [1, "b"]]
    times = found.replicates[:, :, 0] / [2, 4, 5, 3]
    assert (times[:, 0] == times[:, 1]).all() and (times[:, 2] == times[:, 3]).all()
    assert (times[:, 0] + times[:, 2] == 2).all() and set(times[:, 0]) == {0, 1, 2}
    assert (found.within[:, :, 0] == [2, 4, 5, 3]).all()


def test_as_many_groups_are_drawn_as_there_are_at_every_depth():
    groups = pd.DataFrame({"region": list("aaabbc"), "seed": [0, 1, 2, 0, 1, 5]})
    times = group_counts(groups, 400, np.random.default_rng(1))
    of_region = times[:, [0, 3, 5]] * 0 + np.stack([times[:, :3].sum(1) / 3, times[:, 3:5].sum(1) / 2, times[:, 5]], 1)
    assert (of_region == np.round(of_region)).all() and (of_region.sum(axis=1) == 3).all()
    assert [outer_groups(groups, levels) for levels in (["region", "seed"], ["region"], [])] == [3, 3, 1]
    assert outer_groups(groups[:3], ["region", "seed"]) == 3  # one region: its seeds are what varies


def test_a_group_that_is_drawn_twice_draws_its_rows_anew():
    counts = row_counts(np.array([0, 1, 2]), 1000, np.random.default_rng(0))
    assert counts.sum(axis=1).tolist() == [0, 1000, 2000]
    assert counts[2].var() == pytest.approx(2, rel=0.2) and counts[1].var() == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("binary", [True, False])
def test_rows_of_groups_that_agree_vary_as_if_there_were_none(binary):
    """Of two groups with one law, rows drawn anew each time: the variance is that of as many rows of one group."""
    generator = np.random.default_rng(2)
    values = np.tile(generator.integers(0, 2, 500) if binary else generator.normal(0, 1, 500), 2)
    frame = pd.DataFrame({"region": np.repeat([0, 1], 500), "value": values, "weight": 1})
    found = resample(frame, columns(frame), ["region"], num_replicates=8000).draws(mean, 1000)
    assert found.replicates.std() == pytest.approx(values.std() / np.sqrt(1000), rel=0.04)


def test_missing_values_of_a_level_are_a_group():
    frame = pd.DataFrame({"region": ["a", None, None], "one": 1.0})
    found = resample(frame, frame[["one"]].to_numpy(), ["region"], num_replicates=50)
    assert len(found.groups) == 2 and found.observed[0, :, 0].sum() == 3


# ---------------------------------------------------------------- statistics


def draws(value, replicates, num_groups=3, num_tasks=5):
    return Draws(value, np.array(replicates, float), np.array(replicates[:1], float), num_groups, num_tasks)


def test_statistics_of_one_bootstrap_are_combined_replicate_by_replicate():
    one, two = draws(4, [3, 5]), draws(2, [1, 0], num_groups=2, num_tasks=9)
    assert (one - two).replicates.tolist() == [2, 5] and (one + two).value == 6 and (one * two).within.tolist() == [3]
    ratio = one / two
    assert ratio.value == 2 and ratio.replicates[0] == 3 and np.isnan(ratio.replicates[1])
    assert (ratio.num_groups, ratio.num_tasks) == (2, 9)
    assert (one / 2).replicates.tolist() == [1.5, 2.5] and (one - 1).value == 3 and one.tasks(7).num_tasks == 7
    highest = combined([one, two], lambda s: s.max(axis=-1))
    assert (highest.value, highest.replicates.tolist(), highest.num_groups) == (4, [3, 5], 2)


def test_statistics_of_trials_are_averaged_as_often_as_they_are_drawn():
    generator = np.random.default_rng(3)
    frame = pd.DataFrame({
        "region": np.repeat(list("abcd"), 50), "value": generator.normal(0, 1, 200) + np.repeat([0, 1, 2, 3], 50)
    })  # fmt: skip
    kept = [group for _, group in frame.groupby("region")]

    def statistic(trial, draw):
        counts = draw(len(trial))
        assert (counts[0] == 1).all() and len(counts) == 1 + 4000 + 1000
        with np.errstate(invalid="ignore"):
            return {"mean": counts @ trial["value"].to_numpy() / counts.sum(axis=1)}

    found = trial_replicates(kept, ["region"], statistic, num_replicates=4000).mean("mean", 200)
    direct = resample(frame.assign(weight=1), columns(frame.assign(weight=1)), ["region"], num_replicates=4000)
    expected = direct.draws(mean, 200)
    assert found.value == pytest.approx(expected.value)
    assert ks_2samp(found.replicates, expected.replicates).pvalue > 1e-3
    assert ks_2samp(found.within, expected.within).pvalue > 1e-3
    assert found.num_groups == 4


def test_trials_without_the_statistic_are_left_out():
    trials = [pd.DataFrame({"region": [k]}) for k in range(3)]

    def statistic(trial, draw):
        value = [1.0, np.nan, 3.0][int(trial["region"].iloc[0])]
        return {"x": np.full(len(draw(1)), value)}

    found = trial_replicates(trials, ["region"], statistic, num_replicates=300).mean("x", 1)
    assert found.value == 2 and (found.within == 2).all()
    known = found.replicates[np.isfinite(found.replicates)]
    assert set(np.round(known, 6)) <= {1.0, 3.0, 2.0, round(5 / 3, 6), round(7 / 3, 6)}
    assert np.isnan(found.replicates).mean() == pytest.approx(1 / 27, abs=0.05)  # only the second was drawn
