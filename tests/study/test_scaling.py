"""Laws are told apart by runs they have not seen, and no further than seeds and classes allow."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import linregress

from synthlab.errors import ConfigurationError
from synthlab.study.evidence import interval
from synthlab.study.laws import LAWS, LOSS, SUCCESS
from synthlab.study.scaling import (
    BETTER,
    WORSE,
    compare_laws,
    envelope,
    fit_scaling,
    fitted_curves,
    gap_slope,
    refit_laws,
    scaling_points,
    scaling_table,
)

FLOPS = np.geomspace(1e14, 4e16, 10)
Z = np.log(FLOPS / np.exp(np.log(FLOPS).mean()))
NAMES = [law.name for law in LAWS[SUCCESS]]
TRUTHS = {
    "log-linear": lambda z: 0.5 + 0.1 * z,
    "logit-linear": lambda z: expit(0.3 + 0.9 * z),
    "power law with floor": lambda z: 0.9 - 0.3 * np.exp(-0.35 * z),
}


def computes(num, decades=2.5):
    return 1e15 * 10 ** np.linspace(-decades / 2, decades / 2, num)


def study(success, seed, *, num=7, seeds=3, classes=300, spread=0.0, part="id", loss=None):
    """Results of models of several sizes: every class is met by all of them, and a seed shifts all logits."""
    generator, z = np.random.default_rng([seed, len(part)]), np.log(computes(num) / 1e15)
    rows = pd.MultiIndex.from_product([range(seeds), range(num), range(classes)], names=["seed", "size", "class_id"])
    table = rows.to_frame(index=False)
    shift = generator.normal(0, spread, (seeds, 1, 1)) + np.zeros((1, num, classes))
    chance = expit(logit(np.clip(success(z), 1e-6, 1 - 1e-6))[None, :, None] + shift).ravel()
    return table.assign(
        trial=table["seed"].astype(str) + "-" + table["size"].astype(str), model="m" + table["size"].astype(str),
        flops=computes(num)[table["size"]], part=part, solved=generator.random(len(table)) < chance,
        test_loss=np.nan if loss is None else loss(z)[table["size"]] + generator.normal(0, 0.5, len(table)),
    )  # fmt: skip


def fits(success, flops=FLOPS, **settings):
    return {fit.law: fit for fit in fit_scaling(flops, success, **settings)}


# ---------------------------------------------------------------- one series


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_true_law_predicts_the_largest_runs_best(truth):
    noise = np.random.default_rng(1).normal(0, 1e-3, len(FLOPS))
    errors = {name: fit.held_out_error for name, fit in fits(TRUTHS[truth](Z) + noise).items()}
    assert set(errors) == set(NAMES)
    # one curve may be as good: the broken law, of which these are limits
    rivals = [error for name, error in errors.items() if name not in {truth, "broken power law"}]
    assert errors[truth] < 0.004 and min(rivals) > 3 * errors[truth]


def test_points_per_decade_are_the_slope_of_the_line_and_the_rise_of_a_curve():
    assert fits(TRUTHS["log-linear"](Z))["log-linear"].points_per_decade == pytest.approx(0.1 * np.log(10))
    curved = fits(TRUTHS["logit-linear"](Z))["logit-linear"]
    low, high = TRUTHS["logit-linear"](np.log(10) * np.array([-0.5, 0.5]))
    assert curved.points_per_decade == pytest.approx(high - low)
    assert curved.scale == pytest.approx(2e15) and curved.parameters == pytest.approx({"u": 0.3, "v": 0.9})
    np.testing.assert_allclose(curved.predict(FLOPS), TRUTHS["logit-linear"](Z))


def test_held_out_runs_are_not_fitted():
    success = np.linspace(0.2, 0.4, 10)
    assert fits(success)["log-linear"].held_out_error == pytest.approx(0, abs=1e-9)
    success[-2:] += [0.3, 0.1]
    assert fits(success)["log-linear"].held_out_error == pytest.approx(np.sqrt((0.3**2 + 0.1**2) / 2))


def test_certain_runs_count_more():
    success, errors = TRUTHS["log-linear"](Z), np.full(10, 0.01)
    success[:3] -= 0.02
    errors[:3] = 1.0
    assert fits(success, errors=errors)["log-linear"].parameters["v"] == pytest.approx(0.1, abs=1e-4)
    assert abs(fits(success)["log-linear"].parameters["v"] - 0.1) > 3e-3


def test_loss_has_its_own_laws():
    found = fits(1.7 + 2.5 * np.exp(-0.34 * Z), metric=LOSS)
    assert list(found) == [law.name for law in LAWS[LOSS]]
    assert found["power law with floor"].parameters == pytest.approx({"E": 1.7, "A": 2.5, "a": 0.34}, rel=1e-5)
    assert found["power law with floor"].held_out_error < 1e-6 < 0.1 < found["log-linear"].held_out_error


@pytest.mark.parametrize("sizes", [0, 1, 3])
def test_too_few_sizes_are_refused_whatever_the_number_of_runs(sizes):
    flops = np.tile(computes(sizes), 8)
    with pytest.raises(ConfigurationError, match=f"{sizes} computes are too few.*train at least 4 sizes"):
        fit_scaling(flops, np.full(len(flops), 0.5))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_saturated_success_is_refused(value):
    with pytest.raises(ConfigurationError, match=r"saturated at 0 or 1.*change the budget or the task"):
        fit_scaling(FLOPS, np.full(10, value))


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        ((FLOPS, np.full(9, 0.5)), "one of each per run"),
        ((-FLOPS, np.full(10, 0.5)), "give the FLOPs"),
        ((FLOPS, np.full(10, 1.5)), "success has to be in 0..1"),
        ((FLOPS, np.full(10, np.nan)), "leave out runs without it"),
        ((FLOPS, np.full(10, 0.5), LOSS, np.zeros(10)), "standard errors have to be positive"),
        ((FLOPS, np.full(10, -0.5), LOSS), "loss has to be finite and at least 0"),
        ((FLOPS, np.full(10, 0.5), "accuracy"), "choose from success, loss"),
    ],
)
def test_what_is_no_series_is_refused(arguments, mend):
    flops, values, *rest = arguments
    with pytest.raises(ConfigurationError, match=mend) as refused:
        fit_scaling(flops, values, **dict(zip(["metric", "errors"], rest, strict=False)))
    assert "\n" not in str(refused.value)


def test_zero_and_full_success_among_others_can_be_fitted():
    for fit in fit_scaling(FLOPS, [0, 0, 0.1, 0.3, 0.5, 0.7, 0.9, 1, 1, 1]):
        assert np.isfinite([fit.points_per_decade, fit.held_out_error, *fit.parameters.values()]).all()


# ---------------------------------------------------------------- studies


def judged(table, replicates):
    series = refit_laws(table, ["id"], num_replicates=replicates)
    ranks = scaling_table(series).set_index("law")["rank"]
    return ranks, compare_laws(series).set_index("law")["verdict"]


@pytest.mark.parametrize("truth", ["logit-linear", "power law with floor"])
def test_a_line_loses_to_a_curved_truth(truth):
    found = [judged(study(TRUTHS[truth], k, classes=1500), 40) for k in range(4)]
    assert sum(verdicts[truth] == BETTER for _, verdicts in found) >= 3
    assert sum(ranks.idxmin() == truth for ranks, _ in found) >= 3


def test_a_true_line_is_hardly_ever_rejected():
    found = [judged(study(TRUTHS["log-linear"], k, classes=200, spread=0.05), 25)[1] for k in range(40)]
    false = sum((v == BETTER).any() for v in found)
    worse = sum(v["power law with floor"] == WORSE for v in found)
    assert false <= 4 and worse >= 4


def test_intervals_of_points_per_decade_cover_the_truth_and_little_else(monkeypatch):
    monkeypatch.setitem(LAWS, SUCCESS, LAWS[SUCCESS][:1])
    found = [
        interval(refit_laws(table, ["id"], num_replicates=60)[0].fits["log-linear"].slopes)
        for table in (study(TRUTHS["log-linear"], k, num=5, classes=60, spread=0.1) for k in range(100))
    ]
    assert sum(f.low <= 0.1 * np.log(10) <= f.high for f in found) >= 85
    needed = 2 * 1.96 * np.std([f.value for f in found])
    assert np.median([f.high - f.low for f in found]) < 2 * needed


def test_classes_are_drawn_at_once_for_all_models():
    """A class that all models solve, or none does, moves the level of a line but not its slope."""
    table = study(lambda z: np.full(len(z), 0.5), 0, seeds=1, classes=200)
    table["solved"] = table["class_id"] % 2 == 0
    table.loc[(table["size"] == 6) & (table["class_id"] < 20), "solved"] = True
    (series,) = refit_laws(table, ["id"], num_replicates=50)
    slopes = series.fits["log-linear"].slopes.replicates
    apart = table.assign(class_id=table["class_id"] + 1000 * table["size"])
    (series_apart,) = refit_laws(apart, ["id"], num_replicates=50)
    assert slopes.std() < 0.3 * series_apart.fits["log-linear"].slopes.replicates.std()


def test_the_table_has_every_law_for_every_part_or_says_why_not():
    parts = {"id": TRUTHS["logit-linear"], "forced": lambda z: 0.02 + 0 * z, "wall": lambda z: -1 + 0 * z}
    table = pd.concat([study(success, 0, part=part) for part, success in parts.items()])
    found = scaling_table(refit_laws(table, list(parts), num_replicates=40)).set_index(["part", "law"])
    assert list(found.index) == [(part, name) for part in parts for name in NAMES]
    assert found.loc["id", "rank"].idxmin() == "logit-linear" and found.loc["id", "num_refits"].tolist() == [40] * 3 + [
        0
    ]
    assert (found["low"] <= found["points_per_decade"])[found["rank"].notna()].all()
    assert (found["held_out_high"] >= found["held_out_error"])[found["rank"].notna()].all()
    assert found.loc[("id", "broken power law"), "note"].endswith("train at least 8 sizes")
    assert found.loc["wall", "note"].str.startswith("pass@1 is saturated at 0 or 1").all()
    assert found.loc["wall", "rank"].isna().all() and (found.loc["forced", "note"][:3] == "").all()
    counts = found.loc[("id", "log-linear"), ["num_runs", "num_computes", "num_held_out", "num_seeds"]]
    assert counts.tolist() == [21, 7, 1, 3]


def test_a_ceiling_in_the_largest_runs_is_flagged():
    table = study(lambda z: np.where(z > 2, 2, 0.5 + 0.1 * z), 0)
    notes = scaling_table(refit_laws(table, ["id"], num_replicates=20))["note"]
    assert notes[:3].str.contains("tell no laws apart: train smaller models").all()


def test_test_loss_is_fitted_beside_success():
    table = study(TRUTHS["log-linear"], 0, loss=lambda z: 1.5 + np.exp(-0.5 * z))
    table.loc[table["class_id"] < 5, "test_loss"] = np.nan
    success, loss = refit_laws(table, ["id"], metrics=[SUCCESS, LOSS], num_replicates=40)
    assert (success.tags["metric"], loss.tags["metric"]) == (SUCCESS, LOSS)
    compared = compare_laws([success, loss])
    assert compared.loc[compared["metric"] == LOSS, ["law", "verdict"]].iloc[0].tolist() == [
        "power law with floor", BETTER
    ]  # fmt: skip
    assert success.fits["log-linear"].points_per_decade > 0 > loss.fits["log-linear"].points_per_decade


def test_data_budgets_are_fitted_apart():
    few, many = study(lambda z: 0.3 + 0.05 * z, 0), study(lambda z: 0.5 + 0.1 * z, 1)
    both = pd.concat([few.assign(num_train=1000), many.assign(num_train=9000, trial="x" + many["trial"])])
    found = scaling_table(refit_laws(both, ["id"], by=["num_train"], num_replicates=20))
    lines = found[found["law"] == "log-linear"].set_index("num_train")["points_per_decade"] / np.log(10)
    assert lines.to_dict() == pytest.approx({"1000": 0.05, "9000": 0.1}, abs=0.012)


def test_curves_span_the_computes_within_their_bands():
    table = pd.concat([study(TRUTHS["log-linear"], 0), study(lambda z: -1 + 0 * z, 0, part="wall")])
    curves = fitted_curves(refit_laws(table, ["id", "wall"], num_replicates=40), num=7)
    assert set(curves["part"]) == {"id"} and set(curves["law"]) == set(NAMES[:3])
    for law, curve in curves.groupby("law"):
        np.testing.assert_allclose(curve["flops"].to_numpy(float), computes(7), err_msg=law)
    assert (curves["low"] <= curves["value"]).all() and (curves["value"] <= curves["high"]).all()
    assert (curves[["low", "high"]].stack().between(0, 1)).all() and (curves["high"] - curves["low"]).max() > 0.01
    line = curves.loc[curves["law"] == "log-linear", "value"].to_numpy(float)
    np.testing.assert_allclose(line, 0.5 + 0.1 * np.log(computes(7) / 1e15), atol=0.05)


def test_tables_without_a_fit_keep_their_columns():
    series = refit_laws(study(lambda z: -1 + 0 * z, 0), ["id"], num_replicates=20)
    assert fitted_curves(series).empty and list(fitted_curves(series)) == list(fitted_curves([]))
    assert compare_laws(series)["verdict"].str.contains("saturated").all()
    assert scaling_table([]).empty and list(scaling_table([])) == list(scaling_table(series))


def test_studies_repeat_exactly_whatever_the_order_of_their_rows():
    table = study(TRUTHS["logit-linear"], 3)
    once, again = (scaling_table(refit_laws(t, ["id"], num_replicates=20)) for t in (table, table))
    pd.testing.assert_frame_equal(once, again)
    other = scaling_table(refit_laws(table.sample(frac=1, random_state=0), ["id"], num_replicates=20))
    np.testing.assert_allclose(other["points_per_decade"][:3], once["points_per_decade"][:3], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "mend"),
    [
        (lambda t: t.drop(columns="flops"), "no column flops: join the results of a study with its trials"),
        (lambda t: t.assign(part="open"), "no results of parts id: choose from open"),
        (lambda t: pd.concat([t, t.head(1)]), "give every trial once"),
        (lambda t: t.assign(flops=0.0), "give the FLOPs of every run"),
        (lambda t: t.assign(test_loss=np.inf), "have to be finite"),
    ],
)
def test_tables_that_are_no_results_are_refused(change, mend):
    table = study(TRUTHS["log-linear"], 0, classes=5, loss=lambda z: 2 - 0.1 * z)
    with pytest.raises(ConfigurationError, match=mend):
        refit_laws(change(table), ["id"], metrics=[SUCCESS, LOSS], num_replicates=20)


@pytest.mark.parametrize(
    ("parts", "replicates", "mend"), [([], 20, "parts none: choose from id"), (["id"], 19, "use 20 or more")]
)
def test_questions_without_an_answer_are_refused(parts, replicates, mend):
    with pytest.raises(ConfigurationError, match=mend):
        refit_laws(study(TRUTHS["log-linear"], 0, classes=5), parts, num_replicates=replicates)


# ---------------------------------------------------------------- the gap


def both(identity, forced, seed=0, **settings):
    tables = [study(s, seed, part=p, **settings) for p, s in (("matched_id", identity), ("matched_forced", forced))]
    return pd.concat(tables, ignore_index=True)


def test_the_slope_of_the_gap_is_that_of_its_means():
    table = both(lambda z: 0.6 + 0.05 * z, lambda z: 0.3 + 0.08 * z)
    means = table.pivot_table(index="trial", columns="part", values="solved").join(
        table.groupby("trial")["flops"].first()
    )
    gap = means["matched_id"] - means["matched_forced"]
    found = gap_slope(table, num_replicates=300)
    decades = np.log10(means["flops"])
    assert found.points.estimate.value == pytest.approx(linregress(decades, gap).slope)
    assert found.relative.estimate.value == pytest.approx(linregress(decades, gap / means["matched_id"]).slope)
    assert (found.num_runs, found.num_left_out) == (21, 0)


def test_a_wall_that_scale_moves_is_told_from_one_that_it_does_not():
    settings = {"seeds": 4, "classes": 500, "spread": 0.05}
    moved = gap_slope(both(lambda z: 0.6 + 0.02 * z, lambda z: 0.3 + 0.08 * z, **settings), num_replicates=400)
    still = gap_slope(both(lambda z: 0.6 + 0.05 * z, lambda z: 0.3 + 0.05 * z, **settings), num_replicates=400)
    assert moved.points.estimate.high < 0 and moved.points.p_value < 0.05 and moved.relative.estimate.high < 0
    assert still.points.estimate.low < 0 < still.points.estimate.high and still.points.p_value > 0.05
    assert still.relative.estimate.high < 0  # the same gap is a smaller share of more success


def test_runs_without_success_have_no_relative_gap():
    table = both(lambda z: np.where(z < -2, -1, 0.3 + 0.05 * z), lambda z: 0 * z - 1)
    found = gap_slope(table, num_replicates=50)
    assert found.num_left_out == 3 and found.points.estimate.value > 0.05
    # nothing is solved beyond the wall: all of the gap is lost at every size, which is no trend
    assert found.relative.estimate.value == 0 and found.relative.p_value == 1


def test_a_slope_needs_two_computes_with_both_parts():
    table = both(lambda z: 0.5 + 0 * z, lambda z: 0.3 + 0 * z, classes=20)
    lonely = table[(table["part"] == "matched_id") | (table["size"] == 0)]
    for rows in (lonely, lonely[(lonely["part"] == "matched_id") == (lonely["size"] > 0)]):
        with pytest.raises(ConfigurationError, match="train models of several sizes and test both parts"):
            gap_slope(rows, num_replicates=20)


# ---------------------------------------------------------------- points


def test_points_are_weighted_means_of_classes_beside_the_cost_of_their_run():
    results = pd.DataFrame({
        "trial": ["a", "a", "a", "b", "b"], "part": ["id", "id", "forced", "id", "id"], "class_id": [1, 2, 3, 1, 2],
        "solved": [True, False, False, True, True], "weight": [3, 1, 1, 1, 1],
        "test_loss": [1.0, 5.0, np.nan, 2.0, 4.0],
    })  # fmt: skip
    trials = pd.DataFrame({
        "trial": ["b", "a"], "flops": [20.0, 10.0], "parameters": [2, 1], "num_train": [5, 5], "model": ["y", "x"],
        "seed": [0, 0], "seconds": [1.0, 1.0],
    })  # fmt: skip
    points = scaling_points(results, trials)
    expected = pd.DataFrame({
        "trial": ["a", "a", "b"], "part": ["id", "forced", "id"], "success": [0.75, 0.0, 1.0],
        "test_loss": [2.0, np.nan, 3.0], "flops": [10.0, 10.0, 20.0], "parameters": [1, 1, 2], "num_train": [5, 5, 5],
        "model": ["x", "x", "y"], "seed": [0, 0, 0],
    })  # fmt: skip
    pd.testing.assert_frame_equal(points, expected)
    bare = scaling_points(results.drop(columns=["weight", "test_loss"]), trials[["trial", "flops"]])
    assert bare["success"].tolist() == [0.5, 0.0, 1.0] and bare["test_loss"].isna().all()


def test_the_envelope_holds_the_best_budget_at_every_compute_by_its_mean_over_seeds():
    rows = [  # few programs are best for small models, many for large ones; one lucky seed misleads
        ("m0", 1e9, 100, (0.3, 0.3)), ("m0", 1e9, 900, (0.1, 0.4)), ("m1", 1e10, 100, (0.35, 0.35)),
        ("m1", 1.02e10, 900, (0.5, 0.5)), ("m2", 1.03e10, 100, (0.2, 0.2)),
    ]  # fmt: skip
    points = pd.DataFrame(
        [(m, f, n, s, "id", y, 1 - y) for m, f, n, ys in rows for s, y in enumerate(ys)],
        columns=["model", "flops", "num_train", "seed", "part", "success", "test_loss"],
    )
    best = envelope(points)
    assert best[["model", "num_train", "seed"]].values.tolist() == [
        ["m0", 100, 0],
        ["m0", 100, 1],
        ["m1", 900, 0],
        ["m1", 900, 1],
    ]
    pd.testing.assert_frame_equal(envelope(points, "test_loss"), best)
    assert list(best) == list(points)
