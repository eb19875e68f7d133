"""Tables behind the figures of a study against values computed by hand, or by another way."""

from math import comb

import numpy as np
import pandas as pd
import pytest

from synthlab.errors import ConfigurationError
from synthlab.study.decomposition import decompose
from synthlab.views import study_frames, support_frames

pytestmark = pytest.mark.usefixtures("few_replicates")


def trial(key, solved, **columns):
    """Rows of one trial: part to outcomes."""
    rows = [(part, k, value) for part, values in solved.items() for k, value in enumerate(values)]
    table = pd.DataFrame(rows, columns=["part", "class_id", "solved"]).assign(solved=lambda t: t["solved"].astype(bool))
    fixed = {
        "trial": key,
        "grammar": "polynomial",
        "model": "64x2",
        "seed": 0,
        "leaves": 3,
        "num_samples": 0,
        "num_correct": 0,
    }
    return table.assign(**(fixed | columns))


def support(key, region, num_id, num_forced, **columns):
    """Ten matched tasks of either part, so many of them solved."""
    solved = {"matched_id": [k < num_id for k in range(10)], "matched_forced": [k < num_forced for k in range(10)]}
    tags = {"space": "syntactic", "region": region, "variant": "base"}
    return trial(key, solved, **(tags | columns))


SUPPORT = pd.concat([
    support("a", "syntactic clusters 0.0", 8, 2), support("b", "syntactic clusters 1.0", 4, 4, seed=1),
    support("c", "root operator *", 5, 0), support("d", "root operator *", 5, 1, variant="postfix"),
    support("e", "syntactic clusters 0.0", 10, 5, grammar="rational"), support("f", "semantic clusters 0.0", 0, 3,
    space="semantic"),
], ignore_index=True)  # fmt: skip


def density(key, regime, rates, **columns):
    """Tasks of two test regimes, of which the second drew every function twice, so many of ten solved."""
    solved = {part: [k < rate for k in range(10)] for part, rate in zip(("random", "dual"), rates, strict=True)}
    tags = {"regime": regime, "policy": "as sampled", "num_cells": 100.0, "num_train": 100, **columns}
    return trial(key, solved, **tags).assign(weight=lambda t: 1 + (t["part"] == "dual"))


DENSITY = pd.concat([
    density("a", "dual", (5, 8)), density("b", "random", (6, 2)), density("c", "random", (7, 4), num_train=400),
    density("d", "dual", (1, 9), policy="minimal"), density("e", "dual", (3, 3), num_cells=400.0),
], ignore_index=True)  # fmt: skip


# ---------------------------------------------------------------- support


def test_drops_are_relative_to_matched_id_by_region_variant_and_grammar():
    found = support_frames.region_drops(SUPPORT).set_index(["space", "kind", "label"])
    assert list(found.index) == [
        ("syntactic", "one region", "root operator *"),
        ("syntactic", "one region", "clusters 0.0"),
        ("syntactic", "one region", "clusters 1.0"),
        ("syntactic", "variant", "root operator *: postfix"),
        ("syntactic", "other grammar", "rational grammar"),
        ("syntactic", "all regions", "all regions"),
        ("semantic", "one region", "clusters 0.0"),
    ]
    assert found["value"].tolist()[:-1] == pytest.approx([-1, -0.75, 0, -0.8, -0.5, 6 / 17 - 1])
    known = found.iloc[:-1]
    assert ((known["low"] <= known["value"]) & (known["value"] <= known["high"])).all() and (known["low"] >= -1).all()


def test_a_drop_from_nothing_has_a_reason_and_no_value():
    last = support_frames.region_drops(SUPPORT).iloc[-1]
    assert np.isnan(last["value"]) and "nothing is solved in matched_id" in last["note"]
    assert (support_frames.region_drops(SUPPORT)["note"] != "").sum() == 1


def test_parts_are_pooled_over_the_regions_of_a_rule():
    found = support_frames.support_summary(SUPPORT).set_index(["region", "part"])["pass_at_1"]
    assert found.to_dict() == pytest.approx({
        ("syntactic: clusters", "matched_id"): 0.6, ("syntactic: clusters", "matched_forced"): 0.3,
        ("syntactic: root operator *", "matched_id"): 0.5, ("syntactic: root operator *", "matched_forced"): 0.0,
        ("semantic: clusters", "matched_id"): 0.0, ("semantic: clusters", "matched_forced"): 0.3,
    })  # fmt: skip


def test_a_table_without_base_trials_is_refused():
    for draw in (support_frames.support_summary, support_frames.base_rows, support_frames.sampled_curve):
        with pytest.raises(ConfigurationError, match="'base'"):
            draw(SUPPORT.assign(variant="postfix"))


def test_curves_of_samples_are_the_unbiased_chance_of_one_success():
    correct = [0, 1, 2, 4]
    solved = {"matched_id": [True] * 4, "matched_forced": [False] * 4}
    rows = trial("a", solved, space="semantic", region="r", variant="base").assign(
        num_samples=4, num_correct=correct * 2
    )
    found = support_frames.sampled_curve(rows)
    assert found["k"].unique().tolist() == [1, 2, 4]
    for row in found.itertuples():
        chance = np.mean([1 - comb(4 - c, row.k) / comb(4, row.k) for c in correct])
        assert row.value == pytest.approx(chance) and row.low <= row.value <= row.high
    with pytest.raises(ConfigurationError, match="no trial has samples"):
        support_frames.sampled_curve(rows.assign(num_samples=0))


def test_shares_of_a_drop_add_up_to_it(small_study):
    rows = small_study.table("support")
    found = support_frames.decomposition_frame(rows)
    assert found["space"].unique().tolist() == ["syntactic", "semantic"]
    for space, shares in found.groupby("space"):
        values = shares.set_index("component")["value"]
        chosen = rows[(rows["space"] == space) & (rows["variant"] == "base") & (rows["grammar"] == "polynomial")]
        means = chosen.groupby(["trial", "part"])["solved"].mean().unstack()
        assert values.drop("total").sum() == pytest.approx(values["total"])
        shares = decompose(rows, str(space)).frame().set_index("share")
        assert values.to_dict() == shares["average"].to_dict() != shares["ordered"].to_dict()
        assert values["total"] == pytest.approx((means["id"] - means["forced"]).mean())
    with pytest.raises(ConfigurationError, match="no semantic regions were held out"):
        support_frames.decomposition_frame(rows[rows["space"] == "shape"])


def test_a_property_that_tells_failure_apart_has_an_area_of_one(small_study):
    found = support_frames.predictor_frame(small_study.table("support"))
    best = found[found["predictor"] == "higher syntactic distance"].set_index("part")
    assert best.loc[["id and forced", "forced"], "value"].tolist() == [1, 1]  # failures lie one unit further off
    assert {p for p in found["predictor"] if p.endswith(("number of leaves", "probability of the answer"))}
    assert found["predictor"].str.startswith(("higher ", "lower ")).all()


# ---------------------------------------------------------------- density


def test_the_matrix_holds_what_the_study_usually_trains():
    found = study_frames.density_summary(DENSITY).set_index(["train_regime", "test_regime"])["pass_at_1"]
    assert list(found.items()) == [
        (("random", "random"), 0.6), (("random", "dual"), 0.2), (("dual", "random"), 0.5), (("dual", "dual"), 0.8)
    ]  # fmt: skip


def test_functions_count_as_often_as_a_test_drew_them():
    rows = DENSITY[DENSITY["trial"] == "a"].assign(weight=lambda t: np.where(t["class_id"] == 0, 5, 1))
    found = study_frames.means(rows, ["part"]).set_index("part")["pass_at_1"]
    assert found.to_dict() == pytest.approx({"random": 9 / 14, "dual": 12 / 14})


def test_worst_cases_are_minima_over_tests_of_every_way_to_train():
    found = study_frames.worst_cases(DENSITY)
    assert found[["label", "policy", "worst"]].to_numpy().tolist() == [
        ["random", "as sampled", "dual"], ["random, 400 programs", "as sampled", "dual"],
        ["dual", "as sampled", "random"], ["dual, 400 cells", "as sampled", "dual"],
        ["dual, minimal targets", "minimal", "random"],
    ]  # fmt: skip
    assert found["value"].tolist() == pytest.approx([0.2, 0.4, 0.5, 0.3, 0.1])
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()


def test_sizes_of_data_have_their_mean_and_their_worst_test():
    found = study_frames.data_sizes(DENSITY).set_index(["score", "regime", "num_train"])["value"]
    assert found.to_dict() == pytest.approx({
        (study_frames.MEAN, "random", 100): 0.4, (study_frames.MEAN, "random", 400): 0.55,
        (study_frames.MEAN, "dual", 100): 0.65, (study_frames.WORST, "random", 100): 0.2,
        (study_frames.WORST, "random", 400): 0.4, (study_frames.WORST, "dual", 100): 0.5,
    })  # fmt: skip
    with pytest.raises(ConfigurationError, match="one number of training programs"):
        study_frames.data_sizes(DENSITY[DENSITY["num_train"] == 100])


# ---------------------------------------------------------------- scaling


def test_scaling_reads_the_middle_number_of_programs_of_every_seed():
    sizes = {0: (100, 200, 900), 1: (100, 190, 800)}
    rows = pd.concat([
        trial(f"{seed}{num}", {"matched_id": [True]}, seed=seed, num_train=num, flops=1e10)
        for seed, nums in sizes.items() for num in nums
    ])  # fmt: skip
    assert study_frames.scaling_rows(rows)["num_train"].tolist() == [200, 190]


@pytest.mark.parametrize(("metric", "values"), [("success", [0.5, 0.75, 1.0]), ("loss", [2.0, 1.5, 1.0])])
def test_points_are_weighted_means_and_the_largest_fifth_is_held_out(metric, values):
    solved, losses = ([1, 0], [1, 0.5], [1, 1]), ([1, 3], [1, 2], [1, 1])
    rows = pd.concat([
        trial(f"{k}", {"matched_id": outcome}, model=f"m{k}", flops=10.0 ** (9 + k)).assign(
            solved=outcome, test_loss=loss, weight=1
        )
        for k, (outcome, loss) in enumerate(zip(solved, losses, strict=True))
    ])  # fmt: skip
    found = study_frames.scaling_points(rows, metric)
    assert found["value"].tolist() == values and found["held_out"].tolist() == [False, False, True]
    assert found["flops"].tolist() == [1e9, 1e10, 1e11] and found["model"].tolist() == ["m0", "m1", "m2"]


# ---------------------------------------------------------------- notes and sizes


def test_a_note_says_what_intervals_are_over():
    one, many = SUPPORT[SUPPORT["trial"] == "a"], SUPPORT[SUPPORT["space"] == "syntactic"]
    note = study_frames.evidence_note(one)
    assert note == "95 % intervals over functions; model 64x2, 1 seed, 1 region, 10 functions"
    note = study_frames.evidence_note(many)
    assert note == "95 % intervals over seeds, regions and functions; model 64x2, 2 seeds, 3 regions, 10 functions"
    several = many.assign(model=many["trial"]).drop(columns="region")
    assert study_frames.evidence_note(several) == "95 % intervals over seeds and functions; 2 seeds, 10 functions"


def test_sizes_are_counted_by_weight():
    found = study_frames.size_shares(DENSITY.assign(leaves=DENSITY["class_id"] // 5 + 3))
    assert found[["part", "leaves", "number", "share"]].to_numpy().tolist() == [
        ["dual", 3, 50, 0.5], ["dual", 4, 50, 0.5], ["random", 3, 25, 0.5], ["random", 4, 25, 0.5]
    ]  # fmt: skip
