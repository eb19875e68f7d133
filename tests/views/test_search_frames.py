"""Tables behind the figures of contests against values counted row by row, or found by another way."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from views.contest_tables import METHODS, MODELS, contest_tables, rounds_table, scaling_table

from synthlab.errors import ConfigurationError
from synthlab.study.contests import Contest
from synthlab.views import search_frames, search_gain_frames

pytestmark = pytest.mark.usefixtures("few_replicates")
COSTS = ("seconds", "programs", "lookups", "tokens", "flops")


@pytest.fixture(scope="module")
def tables():
    return contest_tables(seeds=2, num=(12, 9))


@pytest.fixture(scope="module")
def larger(tables):
    return search_frames.arena_rows(tables[0], "larger")


def answers(method, kind, solved, seconds, **columns):
    """Rows of one method, a task each."""
    fixed = {"seed": 0, "grammar": "polynomial", "arena": "universe", "part": "matched_id", "leaves": 3,
             "programs": 5, "lookups": 0, "tested": 5, "tokens": 0, "flops": 0.0, "stopped": "found"}  # fmt: skip
    table = pd.DataFrame({"class_id": np.arange(len(solved)), "solved": solved, "seconds": seconds})
    return table.assign(method=method, kind=kind, **(fixed | columns))


# ---------------------------------------------------------------- rows


def test_the_chosen_tables_have_the_columns_of_a_contest(tables):
    results, setups = tables
    assert {"seed", "grammar", "arena", "part", "method", "kind", "stopped", "found", "agreement"} < set(results)
    assert set(setups) == {"seed", "grammar", "arena", "method", "kind", *COSTS}
    assert search_frames.KINDS == ("model", "symbolic", "guided") and Contest.schema == 1


def test_functions_beyond_the_universe_are_told_apart_by_seed(tables, larger):
    raw = tables[0][tables[0]["arena"] == "larger"]
    assert raw["class_id"].nunique() == 9 and larger["class_id"].nunique() == 18
    assert (larger["class_id"] < 0).all() and larger.groupby("class_id")["seed"].nunique().eq(1).all()
    assert larger.groupby("class_id").size().eq(len(METHODS)).all()
    universe = search_frames.arena_rows(tables[0], "universe")
    assert (universe["class_id"] == tables[0].loc[universe.index, "class_id"]).all()


def test_an_arena_is_of_one_grammar(tables):
    both = pd.concat([tables[0], tables[0].assign(grammar="rational")])
    assert set(search_frames.arena_rows(both, "larger")["grammar"]) == {"polynomial"}
    assert set(search_frames.arena_rows(both, "larger", "rational")["grammar"]) == {"rational"}
    with pytest.raises(
        ConfigurationError, match=r"^no contest was held in the arena moon of any grammar: .*universe of"
    ):
        search_frames.arena_rows(both, "moon")


def test_every_task_is_compared_once_a_seed_from_id_to_forced(tables):
    tasks = search_frames.compared_tasks(search_frames.arena_rows(tables[0], "universe"))
    assert len(tasks) == 2 * 3 * 12 and list(tasks["part"].cat.categories) == ["matched_id", "open", "matched_forced"]
    shuffled = search_frames.compared_tasks(tables[0].sample(frac=1, random_state=0))
    assert list(shuffled["part"].cat.categories) == ["matched_id", "open", "matched_forced", "larger"]


def test_the_leading_method_of_a_kind_solves_most_or_is_named_before():
    rows = pd.concat([
        answers("slow", "guided", [True, False], 1.0), answers("fast", "guided", [True, False], 0.1),
        answers("weak", "guided", [False, False], 0.0), answers("model", "model", [False, False], 0.0),
    ])  # fmt: skip
    found = search_frames.methods_of(rows)
    assert found["method"].tolist() == ["model", "fast", "slow", "weak"]
    assert found["leads"].tolist() == [True, True, False, False]
    named = search_frames.methods_of(rows, "weak")
    assert named["method"].tolist() == ["model", "weak", "fast", "slow"] and named["leads"].sum() == 2
    assert search_frames.methods_of(rows, "absent").equals(found)


def test_a_note_counts_what_is_behind_a_figure(larger):
    note = search_frames.contest_note(larger, 0.5, setup_inside=False)
    assert note == (
        "95 % intervals over seeds and functions; 2 seeds, 18 functions; 0.5 s a task; "
        "setup (training, libraries) not inside"
    )
    assert (
        search_frames.contest_note(larger[larger["seed"] == 0]) == "95 % intervals over functions; 1 seed, 9 functions"
    )


# ---------------------------------------------------------------- setup inside


def test_the_shares_of_a_setup_add_up_to_it(tables):
    results, setups = tables
    inside = search_frames.with_setups(results, setups)
    by = ["seed", "grammar", "arena", "method"]
    added = (inside[list(COSTS)] - results[list(COSTS)]).groupby([results[c] for c in by]).sum()
    expected = setups.set_index(by)[list(COSTS)].loc[added.index]
    np.testing.assert_allclose(added, expected)
    each = (inside["seconds"] - results["seconds"]).groupby([results[c] for c in by]).agg(np.ptp)
    assert each.max() < 1e-9  # an equal share for every task, whatever its part
    np.testing.assert_allclose(inside["tested"], inside["programs"] + inside["lookups"])
    assert inside[["solved", "method"]].equals(results[["solved", "method"]])


def test_setups_that_are_missing_or_doubled_are_refused(tables):
    results, setups = tables
    with pytest.raises(ConfigurationError, match=r"^no setup of \(.*'edits'\)"):
        search_frames.with_setups(results, setups[setups["method"] != "edits"])
    with pytest.raises(ConfigurationError, match=r"^two setups of"):
        search_frames.with_setups(results, pd.concat([setups, setups.iloc[:1]]))


# ---------------------------------------------------------------- curves


def test_a_curve_counts_what_is_solved_within_a_budget(larger):
    curves = search_frames.solved_curves(larger, num_points=15)
    assert set(curves["axis"]) == {"seconds", "tested"} and set(curves["method"]) == set(METHODS)
    for (axis, method), line in curves.groupby(["axis", "method"]):
        own = [row for row in larger.to_dict("records") if row["method"] == method]
        expected = [sum(r["solved"] and r[axis] <= b for r in own) / len(own) for b in line["budget"]]
        assert line["value"].tolist() == pytest.approx(expected)
        assert line["budget"].iloc[-1] == max(r[axis] for r in own)
        assert set(line["num_tasks"]) == {18}


def test_lines_never_fall_and_lie_within_their_bands(larger):
    curves = search_frames.solved_curves(larger, num_points=20)
    for _, line in curves.groupby(["axis", "method"]):
        assert line["budget"].is_monotonic_increasing and line["value"].is_monotonic_increasing
    assert (curves["low"] <= curves["value"]).all() and (curves["value"] <= curves["high"]).all()
    assert curves["low"].min() == 0 and curves["high"].max() <= 1


def test_intervals_are_binomial_where_tasks_alone_vary():
    solved = np.arange(200) < 60
    rows = answers("a", "guided", solved, 0.5, arena="larger")
    curve = search_frames.solved_curves(rows, ["seconds"]).iloc[-1]
    assert curve[["low", "high"]].tolist() == pytest.approx(stats.binom.ppf([0.025, 0.975], 200, 0.3) / 200, abs=0.025)
    nothing = search_frames.solved_curves(answers("a", "guided", solved & False, 0.5), ["seconds"]).iloc[-1]
    # none solved: Jeffreys' posterior
    assert nothing["low"] == 0 and nothing["high"] == pytest.approx(stats.beta.ppf(0.975, 0.5, 200.5), rel=0.6)


def test_budgets_begin_at_the_smallest_cost_that_has_a_place_on_a_log_axis():
    rows = answers("a", "guided", [True, True, False], [0.0, 0.01, 1.0])
    curve = search_frames.solved_curves(rows, ["seconds"], num_points=3)
    assert curve["budget"].tolist() == pytest.approx([0.01, 0.1, 1.0])
    assert curve["value"].tolist() == pytest.approx([2 / 3] * 3)
    with pytest.raises(ConfigurationError, match="nothing was spent on the axis lookups"):
        search_frames.solved_curves(rows, ["lookups"])


def test_parts_are_solved_within_a_time(tables):
    rows = search_frames.arena_rows(tables[0], "universe")
    found = search_frames.solved_by_part(rows, 0.1).set_index(["part", "method"])
    assert len(found) == 3 * len(METHODS)
    for part, method in found.index:
        own = rows[(rows["part"] == part) & (rows["method"] == method)]
        expected = sum(s and t <= 0.1 for s, t in zip(own["solved"], own["seconds"], strict=True)) / len(own)
        assert found.loc[(part, method), "value"] == pytest.approx(expected)
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()


# ---------------------------------------------------------------- for one price


def test_the_table_for_one_price_counts_row_by_row(tables):
    results, setups = tables
    table = search_frames.equal_budget_table(results, setups, 0.2, 2_000)
    assert len(table) == 4 * len(METHODS) and "grammar" not in table
    before = {(r["seed"], r["arena"], r["method"]): r for r in setups.to_dict("records")}
    for row in table.to_dict("records"):
        keys = ("arena", "part", "method")
        own = [r for r in results.to_dict("records") if all(r[k] == row[k] for k in keys)]
        num = {"universe": 36, "larger": 9}[row["arena"]]
        extra = [before[r["seed"], r["arena"], r["method"]] for r in own]
        shares = {
            "solved, 0.2 s": [r["seconds"] <= 0.2 for r in own],
            "0.2 s, setup inside": [r["seconds"] + e["seconds"] / num <= 0.2 for r, e in zip(own, extra)],
            "solved, 2,000 tested": [r["tested"] <= 2_000 for r in own],
            "2,000 tested, setup inside": [r["tested"] + e["programs"] / num <= 2_000 for r, e in zip(own, extra)],
        }
        for name, within in shares.items():
            mean = np.mean([r["solved"] and w for r, w in zip(own, within)])
            assert row[name] == pytest.approx(mean, abs=5.1e-4), name
        for axis in ("seconds", "tested"):
            until = [r[axis] for r in own if r["solved"]]
            expected = np.median(until) if until else np.nan
            assert row[f"median {axis} until found"] == pytest.approx(expected, abs=1e-4, nan_ok=True)
        assert row["tasks"] == len(own)


def test_tasks_given_up_for_another_limit_are_counted():
    stopped = ["found", "budget spent", "budget spent", "search complete"]
    rows = answers("a", "guided", [True, False, False, False], 0.5, stopped=stopped, tested=[5, 5, 500, 5])
    setups = pd.DataFrame([{"seed": 0, "grammar": "polynomial", "arena": "universe", "method": "a", "kind": "guided",
                            **dict.fromkeys(COSTS, 0)}])  # fmt: skip
    assert search_frames.equal_budget_table(rows, setups, 1.0, 100)["cut short"].tolist() == [0.25]
    assert search_frames.equal_budget_table(rows, setups, 1.0, 1000)["cut short"].tolist() == [0.5]


def test_methods_stand_by_kind_in_every_arena_and_grammar(tables):
    both = [pd.concat([t, t.assign(grammar="rational")]) for t in tables]
    table = search_frames.equal_budget_table(*both)
    assert table["grammar"].tolist() == ["polynomial"] * 52 + ["rational"] * 52
    assert table["part"].iloc[:52:13].tolist() == ["matched_id", "open", "matched_forced", "larger"]
    for _, rows in table.groupby(["grammar", "part"]):
        assert rows["method"].tolist() == list(METHODS)
    with pytest.raises(ConfigurationError, match="lack stopped"):
        search_frames.equal_budget_table(tables[0].drop(columns="stopped"), tables[1])


# ---------------------------------------------------------------- with the size of the model


def test_compute_is_that_of_training_and_of_all_tests():
    table = scaling_table(seeds=2, num=10)
    points = search_gain_frames.search_scaling_points(table)
    assert len(points) == 2 * 2 * len(MODELS) and list(points["part"].cat.categories) == ["id", "forced"]
    for row in points.to_dict("records"):
        assert row["flops"] == pytest.approx(MODELS[row["model"]] + 10 * 1e7)
        own = table[
            (table["model"] == row["model"]) & (table["method"] == row["method"]) & (table["part"] == row["part"])
        ]
        assert row["value"] == pytest.approx(own["solved"].sum() / 20)


def test_lines_are_those_of_least_squares_through_the_points():
    table = scaling_table(seeds=2, num=50)
    points, lines = search_gain_frames.search_scaling_points(table), search_gain_frames.search_scaling_lines(table)
    for (part, method), line in lines.groupby(["part", "method"], observed=True):
        own = points[(points["part"] == part) & (points["method"] == method)]
        slope, start = np.polyfit(np.log10(own["flops"]), own["value"], 1)
        assert set(line["slope"].round(9)) == {round(slope, 9)}
        expected = np.clip(start + slope * np.log10(line["flops"]), 0, 1)
        np.testing.assert_allclose(line["value"], expected, atol=1e-9)
        assert (line["slope_low"] < slope).all() and (slope < line["slope_high"]).all()
        assert (line["low"] <= line["value"] + 1e-12).all() and (line["value"] <= line["high"] + 1e-12).all()
        assert line["flops"].iloc[[0, -1]].tolist() == pytest.approx([own["flops"].min(), own["flops"].max()])


def test_tasks_that_all_models_solve_alike_make_no_slope_uncertain():
    table = scaling_table(seeds=2, num=40)
    easy = table["class_id"] % 1000 < 10
    grown = table["flops"].rank(method="dense") * 5 > table["class_id"] % 1000
    same = search_gain_frames.search_scaling_lines(table.assign(solved=easy))
    assert (same["slope"].abs() < 1e-9).all() and (same["slope_high"] - same["slope_low"] < 1e-9).all()
    assert (search_gain_frames.search_scaling_lines(table.assign(solved=grown))["slope_low"] > 0).all()


def test_scaling_tables_without_a_line_are_refused():
    table = scaling_table(seeds=1, num=5)
    with pytest.raises(ConfigurationError, match=r"^no tasks of open: choose from id, forced"):
        search_gain_frames.search_scaling_points(table, ["open"])
    with pytest.raises(ConfigurationError, match="two or more"):
        search_gain_frames.search_scaling_lines(table[table["model"] == "16x1"])
    with pytest.raises(ConfigurationError, match="lack test_flops"):
        search_gain_frames.search_scaling_points(table.drop(columns="test_flops"))


# ---------------------------------------------------------------- rounds


def test_rounds_are_means_of_practiced_and_other_tasks():
    table = rounds_table(seeds=2, num=20)
    found = search_gain_frames.rounds_frame(table)
    assert len(found) == 2 * 2 * 2 * 4 and set(found["tasks"]) == {"practiced", "never trained on"}
    for row in found.to_dict("records"):
        part = f"practice {row['part']}" if row["tasks"] == "practiced" else row["part"]
        own = table[(table["part"] == part) & (table["arm"] == row["arm"]) & (table["round"] == row["round"])]
        assert row["value"] == pytest.approx(own["solved"].sum() / 40)
        assert row["low"] <= row["value"] <= row["high"]
    plain = search_gain_frames.rounds_frame(table.assign(part=table["part"].replace("practice forced", "practice")))
    assert set(plain["part"]) == {"id", "forced", "practice"}
