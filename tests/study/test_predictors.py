"""AUCs against scikit-learn, and predictors whose worth is known."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from study.populations import support_table

from synthlab.assessment import metrics
from synthlab.errors import ConfigurationError
from synthlab.study.claims import claims_table
from synthlab.study.predictors import PREDICTORS, best_predictor, predictor_table, weighted_auc
from synthlab.study.verdicts import SUPPORTED, UNDECIDED


@pytest.fixture(autouse=True)
def fewer_replicates(monkeypatch):
    monkeypatch.setattr(metrics, "NUM_REPLICATES", 800)


def failing_with(*names, slope=1.5, regions=5, num=200, seed=0):
    """Support trials in which tasks fail the more, the larger the sum of some standardised predictors is."""
    generator = np.random.default_rng(seed)
    table = support_table({"id": 0.5, "forced": 0.5}, regions=regions, num=num, generator=generator)
    total = sum((table[n] - table[n].mean()) / table[n].std() for n in names) if names else 0.0
    chance = 1 / (1 + np.exp(slope * np.asarray(total) * np.ones(len(table))))
    return table.assign(solved=generator.random(len(table)) < chance)


# ---------------------------------------------------------------- AUC


@pytest.mark.parametrize("distinct", [3, 40, 400])
def test_the_area_is_that_of_the_field(distinct):
    generator = np.random.default_rng(distinct)
    values = generator.integers(0, distinct, 300) / 7
    positive = generator.random(300) < 0.2 + 0.6 * values / values.max()
    counts = np.column_stack([np.ones(300), generator.poisson(1, (300, 5))])
    expected = [roc_auc_score(positive, values, sample_weight=c) for c in counts.T]
    np.testing.assert_allclose(weighted_auc(values, positive, counts), expected, rtol=1e-9)


def test_more_values_than_places_cost_no_accuracy_to_speak_of():
    generator = np.random.default_rng(1)
    values = generator.exponential(size=3000)
    positive = generator.random(3000) < 1 - np.exp(-values)
    counts = generator.poisson(1, (3000, 4)).astype(float)
    expected = [roc_auc_score(positive, values, sample_weight=c) for c in counts.T]
    np.testing.assert_allclose(weighted_auc(values, positive, counts), expected, atol=5e-4)


def test_infinite_values_are_ranked_and_one_outcome_has_no_area():
    values, positive = np.array([-np.inf, 0.0, 1.0, np.inf]), np.array([False, True, False, True])
    assert weighted_auc(values, positive, np.ones((4, 1)))[0] == pytest.approx(0.75)
    assert np.isnan(weighted_auc(values, np.ones(4, bool), np.ones((4, 1)))[0])


# ---------------------------------------------------------------- predictors


def test_what_causes_failure_predicts_it_best():
    found = best_predictor(failing_with("edit_distance"))
    assert claims_table([found])["verdict"].iloc[0] == SUPPORTED
    assert found.note.startswith("the best is edit_distance") and found.effect.low > 0.1
    controls = dict(found.controls)
    assert controls["edit_distance"].value > 0.75 and controls["edit_distance - leaves"].low > 0.1
    assert "best among forced tasks alone: edit_distance" in controls


def test_two_causes_of_equal_weight_are_not_told_apart():
    found = best_predictor(failing_with("syntactic_distance", "semantic_distance", num=150))
    assert claims_table([found])["verdict"].iloc[0] == UNDECIDED and found.effect.value >= 0


def test_the_table_gives_area_and_direction_of_each():
    table = failing_with("log_probability", slope=-2.0)  # less probable answers fail
    found = predictor_table(table).set_index("predictor")
    assert set(found.index) == set(PREDICTORS) and found["auc"].is_monotonic_decreasing
    assert found.loc["log_probability", "direction"] == "less"
    by_trial = [
        roc_auc_score(~g["solved"], -g["log_probability"]) for _, g in table.groupby("trial")
    ]  # fmt: skip
    assert found.loc["log_probability", "auc"] == pytest.approx(np.mean(by_trial), abs=1e-3)
    assert (found["low"] <= found["auc"]).all() and (found["forced_high"] <= 1).all()
    assert abs(found.loc["leaves", "auc"] - 0.5) < 0.05


def test_the_direction_is_learned_in_other_regions():
    """A predictor that points the other way in every second region is worth less than nothing elsewhere."""
    table = failing_with("edit_distance", regions=2, num=400)
    flipped = table["region"] == table["region"].unique()[1]
    table.loc[flipped, "edit_distance"] = 10 - table.loc[flipped, "edit_distance"]
    assert predictor_table(table).set_index("predictor").loc["edit_distance", "auc"] < 0.3


def test_predictors_with_holes_are_left_out():
    table = failing_with("edit_distance", num=60)
    table.loc[3, "log_probability"] = np.nan
    found = predictor_table(table.drop(columns="shape_distance"))
    assert set(found["predictor"]) == set(PREDICTORS) - {"log_probability", "shape_distance"}
    only = table[["trial", "part", "class_id", "solved", "region", "seed", "space", "variant", "leaves"]]
    with pytest.raises(ConfigurationError, match="leaves is the only predictor"):
        best_predictor(only)
    with pytest.raises(ConfigurationError, match="no property of tasks"):
        best_predictor(only.drop(columns="leaves"))


def test_one_region_has_no_other_to_learn_from():
    table = failing_with("edit_distance", num=60)
    one = table[table["region"] == table["region"].iloc[0]]
    with pytest.raises(ConfigurationError, match="two regions"):
        best_predictor(one)
    solved = table["region"] != table["region"].iloc[0]
    with pytest.raises(ConfigurationError, match="two regions"):
        best_predictor(pd.concat([one, table[solved].assign(solved=True)]))
