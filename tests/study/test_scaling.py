"""Scaling fits recover known laws, pick the law by what it predicts, and refuse what cannot be fitted."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from synthlab.errors import ConfigurationError
from synthlab.study.scaling import FORMS, fit_scaling, fitted_curves, scaling_points, scaling_table

FLOPS = np.geomspace(1e9, 1e14, 10)
LOG = np.log(FLOPS)
LAWS = {
    "log-linear": (-0.9, 0.045, -0.9 + 0.045 * LOG),
    "logit-linear": (-12.0, 0.45, expit(-12.0 + 0.45 * LOG)),
    "power law of failures": (7.5, -0.38, 1 - np.exp(7.5 - 0.38 * LOG)),
}


def fits(success, flops=FLOPS):
    return {fit.form: fit for fit in fit_scaling(flops, success)}


@pytest.mark.parametrize("law", LAWS)
def test_parameters_are_recovered_from_data_without_noise(law):
    intercept, slope, success = LAWS[law]
    assert success.min() > 0.001 and success.max() < 0.999
    found = fits(success)[law]
    assert (found.intercept, found.slope) == (pytest.approx(intercept), pytest.approx(slope))
    assert found.held_out_error == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.predict(FLOPS), success, atol=1e-9)


@pytest.mark.parametrize("law", LAWS)
def test_the_true_law_predicts_the_largest_runs_best(law):
    noise = np.random.default_rng(1).normal(0, 1e-3, len(FLOPS))
    errors = {name: fit.held_out_error for name, fit in fits(LAWS[law][2] + noise).items()}
    assert min(errors, key=errors.get) == law and set(errors) == {f.name for f in FORMS}
    assert sorted(errors.values())[1] > 2 * errors[law]


def test_points_per_decade_are_the_slope_of_the_line():
    found = fits(LAWS["log-linear"][2])["log-linear"]
    assert found.points_per_decade == pytest.approx(0.045 * np.log(10))
    curved = fits(LAWS["logit-linear"][2])["logit-linear"]
    around = np.exp(LOG.mean()) * 10.0 ** np.array([-0.5, 0.5])
    assert curved.points_per_decade == pytest.approx(np.diff(expit(-12.0 + 0.45 * np.log(around)))[0])


@pytest.mark.parametrize(("sizes", "held"), [(4, 1), (5, 1), (9, 1), (10, 2), (15, 3)])
def test_the_largest_fifth_is_held_out(sizes, held):
    flops = np.geomspace(1e6, 1e9, sizes)
    success = np.linspace(0.2, 0.4, sizes)
    straight = fits(success, flops)["log-linear"].held_out_error
    success[-held:] += 0.3
    assert straight == pytest.approx(0, abs=1e-12)
    assert fits(success, flops)["log-linear"].held_out_error == pytest.approx(0.3)


def test_runs_of_one_size_are_held_out_together():
    flops, success = np.repeat(np.geomspace(1e6, 1e9, 5), 3), np.repeat([0.1, 0.2, 0.3, 0.4, 0.9], 3)
    assert fits(success, flops)["log-linear"].held_out_error == pytest.approx(0.4)


@pytest.mark.parametrize("sizes", [0, 1, 3])
def test_too_few_sizes_are_refused_whatever_the_number_of_runs(sizes):
    flops = np.tile(np.geomspace(1e6, 1e9, sizes), 8)
    with pytest.raises(ConfigurationError, match=f"{sizes} computes are too few.*at least 4 sizes"):
        fit_scaling(flops, np.full(len(flops), 0.5))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_saturated_success_is_refused(value):
    with pytest.raises(ConfigurationError, match="saturated at 0 or 1"):
        fit_scaling(FLOPS, np.full(10, value))


def test_zero_and_full_success_among_others_can_be_fitted():
    for fit in fit_scaling(FLOPS, [0, 0, 0.1, 0.3, 0.5, 0.7, 0.9, 1, 1, 1]):
        assert np.isfinite([fit.intercept, fit.slope, fit.points_per_decade, fit.held_out_error]).all()


# ---------------------------------------------------------------- tables


@pytest.fixture
def points():
    tables = [pd.DataFrame({"flops": FLOPS, "success": s, "part": p}) for p, (_, _, s) in LAWS.items()]
    return pd.concat(tables, ignore_index=True)


def test_points_are_means_of_classes_beside_the_cost_of_their_run():
    results = pd.DataFrame({
        "model": ["a"] * 4 + ["b"] * 2, "seed": [0, 0, 1, 1, 0, 0], "part": ["id", "forced", "id", "id", "id", "id"],
        "solved": [True, False, True, False, True, True],
    })  # fmt: skip
    costs = pd.DataFrame({"model": ["b", "a", "a"], "seed": [0, 1, 0], "flops": [30, 20, 10], "parameters": [3, 1, 1]})
    table = scaling_points(results, costs).set_index(["model", "seed", "part"])
    assert table["success"].to_dict() == {
        ("a", 0, "id"): 1.0, ("a", 0, "forced"): 0.0, ("a", 1, "id"): 0.5, ("b", 0, "id"): 1.0,
    }  # fmt: skip
    assert table["flops"].to_dict() == {
        ("a", 0, "id"): 10, ("a", 0, "forced"): 10, ("a", 1, "id"): 20, ("b", 0, "id"): 30,
    }  # fmt: skip


def test_the_table_has_every_law_for_every_part(points):
    table = scaling_table(points, list(LAWS))
    best = table.loc[table.groupby("part")["held_out_error"].idxmin()]
    assert len(table) == 9 and best["part"].tolist() == best["form"].tolist()


def test_curves_span_the_computes_and_stay_shares(points):
    curves = fitted_curves(points, ["log-linear"], num=7)
    for form, curve in curves.groupby("form"):
        np.testing.assert_allclose(curve["flops"].to_numpy(float), np.geomspace(1e9, 1e14, 7), err_msg=form)
    assert curves["value"].between(0, 1).all()
    line = curves.loc[curves["form"] == "log-linear", "value"].to_numpy(float)
    np.testing.assert_allclose(line, -0.9 + 0.045 * np.log(np.geomspace(1e9, 1e14, 7)), atol=1e-9)
