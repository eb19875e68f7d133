"""Figures of contests say what their tables say: values, order, looks of the kinds, and labels that do not overlap."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import vl_convert
from scipy.optimize import minimize
from views.contest_tables import contest_tables, rounds_table, scaling_table

from synthlab.errors import ConfigurationError
from synthlab.views import charts, search_charts, search_frames, search_gain_frames, search_marks, theme

pytestmark = pytest.mark.usefixtures("few_replicates")


@pytest.fixture(autouse=True)
def in_theme():
    charts.use_theme()


@pytest.fixture(scope="module")
def arguments(few_replicates):
    """What every figure is drawn from."""
    results, _ = contest_tables(seeds=2, num=(20, 15))
    universe, larger = (search_frames.arena_rows(results, arena) for arena in ("universe", "larger"))
    scaling = scaling_table(seeds=2, num=20)
    tasks = search_frames.compared_tasks(universe)
    return {
        "decisive": [search_frames.solved_curves(larger, num_points=12)],
        "by_part": [search_frames.solved_by_part(universe), tasks],
        "scaling_with_search": [
            search_gain_frames.search_scaling_points(scaling), search_gain_frames.search_scaling_lines(scaling),
            search_frames.compared_tasks(scaling),
        ],
        "rounds": [search_gain_frames.rounds_frame(rounds_table(seeds=2, num=20))],
        "sizes": [tasks],
    }  # fmt: skip


@pytest.fixture(scope="module")
def specs(arguments):
    """Every figure as Vega-Lite."""
    charts.use_theme()
    return {name: draw(name, arguments).to_dict() for name in arguments}


NAMES = pytest.mark.parametrize("name", ["decisive", "by_part", "scaling_with_search", "rounds", "sizes"])


def draw(name, arguments, **options):
    return getattr(search_charts, name)(*arguments[name], **options)


def rows_of(spec):
    return [row for rows in spec["datasets"].values() for row in rows]


def panels_of(spec):
    """All layered panels, whatever they are nested in."""
    if "layer" in spec:
        return [spec]
    inner = [*spec.get("hconcat", []), *spec.get("vconcat", [])]
    return [panel for part in inner for panel in panels_of(part)]


def encodings(panel, channel):
    return [layer["encoding"][channel] for layer in panel["layer"] if channel in layer.get("encoding", {})]


@NAMES
def test_titles_ask_until_a_caller_claims(name, arguments, specs):
    assert specs[name]["title"]["text"].endswith("?")
    claimed = draw(name, arguments, title="A claim", subtitle="its details")
    picture = vl_convert.vegalite_to_svg(claimed.to_json(validate=False))
    assert ">A claim<" in picture and "its details" in picture


@NAMES
def test_tables_without_rows_or_a_column_are_refused_in_one_line(name, arguments):
    for place, table in enumerate(arguments[name]):
        others = list(arguments[name])
        others[place] = table.iloc[:0]
        with pytest.raises(ConfigurationError, match=rf"^{name}: there are no rows[^\n]*$"):
            getattr(search_charts, name)(*others)
        others[place] = table.drop(columns="part" if "part" in table else "value")
        with pytest.raises(ConfigurationError, match=rf"^{name}: the table lacks [^\n]*$"):
            getattr(search_charts, name)(*others)


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "values", [[0, 0, 0, 0.5], [1, 0.98, 0.97, 0.2, 0.21], [0.3], [0.5, 0.1], [0.02, 0.0, 0.04, 1.0]]
)
def test_labels_are_as_near_to_their_values_as_can_be(values):
    places = search_marks.spread(values, 0.1, 0.05)
    order = np.argsort(values, kind="stable")
    between = [{"type": "ineq", "fun": lambda p, a=a, b=b: p[b] - p[a] - 0.1} for a, b in pairwise(order)]
    start = np.empty(len(values))
    start[order] = np.linspace(0.1, 0.9, len(values))
    best = minimize(
        lambda p: ((p - values) ** 2).sum(), start, bounds=[(0.05, 0.95)] * len(values), constraints=between, tol=1e-12
    )
    np.testing.assert_allclose(places, best.x, atol=1e-4)


def test_too_many_labels_share_the_room():
    places = search_marks.spread([0.5] * 21, 0.2)
    np.testing.assert_allclose(np.diff(places), 0.05)
    assert (places.min(), places.max()) == (pytest.approx(0), pytest.approx(1))


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [
        ((0.002, 2.0), [0.01, 0.1, 1.0]), ((2e10, 2e11), [3e10, 1e11]), ((18.0, 55.0), [20, 50]),
        ((1.1, 1.2), [1.1, 1.2]), ((1, 1e12), [1, 1e3, 1e6, 1e9, 1e12]),
    ],
)  # fmt: skip
def test_ticks_of_a_log_axis_are_round_and_few(ends, ticks):
    assert search_marks.log_ticks(*ends) == pytest.approx(ticks)


# ---------------------------------------------------------------- against a budget


def test_the_decisive_figure_shows_the_best_model_and_all_searches(arguments, specs):
    curves = arguments["decisive"][0]
    shown = curves[(curves["kind"] != "model") | curves["leads"]]
    assert shown.loc[shown["kind"] == "model", "method"].nunique() == 1
    spec = specs["decisive"]
    lines = [row for row in rows_of(spec) if "value" in row and "label" not in row]
    drawn = sorted((r["axis"], r["method"], r["budget"], r["value"]) for r in lines)
    assert drawn == sorted(shown[["axis", "method", "budget", "value"]].itertuples(index=False, name=None))
    assert "model: the best of 3 ways to answer" in " ".join(spec["title"]["subtitle"])


def test_lines_end_in_labels_that_do_not_overlap(arguments, specs):
    spec = specs["decisive"]
    curves = arguments["decisive"][0]
    assert len(spec["hconcat"]) == 2
    for axis in ("seconds", "tested"):
        labels = pd.DataFrame([row for row in rows_of(spec) if row.get("label") and row["axis"] == axis])
        assert len(labels) == 11
        places = np.sort(labels["place"])
        assert (np.diff(places) >= 14 / 320 - 1e-9).all() and places[0] >= 0 and places[-1] <= 1
        for row in labels.to_dict("records"):
            last = curves[(curves["axis"] == axis) & (curves["method"] == row["method"])]["value"].max()
            assert row["value"] == last and row["label"] == f"{last:.0%} {row['method']}"
    picture = vl_convert.vegalite_to_svg(spec)
    assert all(picture.count(f">{name}<") == 2 for name in labels["label"])


def test_kinds_keep_their_colours_and_the_guided_one_is_loud(specs):
    for name in ("decisive", "by_part"):
        for panel in panels_of(specs[name]):
            for color in (c for c in encodings(panel, "color") if c.get("field") == "kind"):
                assert color["scale"]["domain"] == ["model", "symbolic", "guided"]
                assert color["scale"]["range"][2] == theme.RED and len(set(color["scale"]["range"])) == 3
    widths = [
        layer["mark"]["strokeWidth"] for layer in panels_of(specs["decisive"])[0]["layer"]
        if layer["mark"]["type"] == "line"
    ]  # fmt: skip
    assert widths[1] > 1.5 * widths[0]  # leading lines


def test_a_rule_stands_at_the_budget_where_it_is_on_the_axis(arguments):
    few = arguments["decisive"][0].query("leads")

    def rules(**options):
        spec = search_charts.decisive(few, **options).to_dict(validate=False)
        return sorted(row["budget"] for row in rows_of(spec) if list(row) == ["budget"])

    assert rules() == [1.0]
    assert rules(budgets={"seconds": 0.5, "tested": 1000.0}) == [0.5, 1000.0]
    assert rules(budgets={"seconds": 1e6}) == [] and rules(budgets={}) == []


def test_lines_of_one_kind_differ_in_their_dashes(arguments, specs):
    panel = panels_of(specs["decisive"])[0]
    scale = encodings(panel, "strokeDash")[0]["scale"]
    kinds = arguments["decisive"][0].drop_duplicates("method").set_index("method")["kind"]
    looks = [(kinds[name], tuple(dash)) for name, dash in zip(scale["domain"], scale["range"], strict=True)]
    assert len(set(looks)) == len(looks) == 11
    assert all(x["scale"]["type"] == "log" for x in encodings(panel, "x") if "scale" in x)


# ---------------------------------------------------------------- by part


def test_parts_stand_side_by_side_with_the_same_methods_and_sizes_below(arguments, specs):
    frame, tasks = arguments["by_part"]
    spec = specs["by_part"]
    assert [column["vconcat"][0]["title"]["text"] for column in spec["hconcat"]] == [
        "ID, matched", "open", "forced, matched"
    ]  # fmt: skip
    orders = [[encodings(panel, "y")[0].get("sort") for panel in column["vconcat"]] for column in spec["hconcat"]]
    assert orders[0] == orders[1] == orders[2] and [len(names or []) for names in orders[0]] == [3, 4, 6, 0]
    forced = frame[frame["part"] == "matched_forced"].set_index("method")["value"]
    assert all((np.diff(forced[names]) <= 0).all() for names in orders[0][:3])
    dots = sorted((r["method"], r["part"], r["value"]) for r in rows_of(spec) if "method" in r)
    assert dots == sorted(frame[["method", "part", "value"]].itertuples(index=False, name=None))
    shares = {(r["part"], r["leaves"]): r["share"] for r in rows_of(spec) if "share" in r}
    for (part, size), share in shares.items():
        assert share == pytest.approx((tasks.loc[tasks["part"] == part, "leaves"] == size).mean())
    assert {part for part, _ in shares} == set(tasks["part"])


def test_names_stand_once_and_kinds_name_their_block(specs):
    spec = specs["by_part"]
    titles = [[encodings(panel, "y")[0].get("title") for panel in column["vconcat"]] for column in spec["hconcat"]]
    assert titles[0] == ["model", "symbolic", "guided", "tasks"] and titles[1] == titles[2] == [None] * 4
    assert vl_convert.vegalite_to_svg(spec).count(">meet in the middle, two levels<") == 1


def test_sizes_follow_the_order_of_parts(arguments, specs):
    tasks, spec = arguments["sizes"][0], specs["sizes"]
    assert [panel["title"]["text"] for panel in spec["hconcat"]] == ["ID, matched", "open", "forced, matched"]
    shares = tasks.groupby("part", observed=True)["leaves"].value_counts(normalize=True)
    drawn = {(row["part"], row["leaves"]): row["share"] for row in rows_of(spec)}
    assert drawn == pytest.approx(shares.to_dict())
    domains = [encodings(panel, "x")[0]["scale"]["domain"] for panel in spec["hconcat"]]
    assert domains[0] == domains[1] == domains[2] == [3, 4]


# ---------------------------------------------------------------- gains


def test_scaling_shows_points_lines_and_slopes_of_both(arguments, specs):
    points, lines, _ = arguments["scaling_with_search"]
    spec = specs["scaling_with_search"]
    assert [column["vconcat"][0]["title"]["text"] for column in spec["hconcat"]] == ["ID", "forced"]
    drawn = {
        (r["part"], r["method"], r["model"]): (r["flops"], r["value"])
        for r in rows_of(spec)
        if "place" in r and "model" in r
    }
    for row in points.to_dict("records"):
        assert drawn[row["part"], row["method"], row["model"]] == (row["flops"], row["value"])
    places = [r["place"] / r["flops"] for r in rows_of(spec) if "model" in r]
    assert all(abs(ratio - 1) < 0.05 and ratio != 1 for ratio in places)
    labels = {(r["part"], r["method"]): r["label"] for r in rows_of(spec) if "label" in r}
    assert len(labels) == 4
    for (part, method), label in labels.items():
        slope = lines[(lines["part"] == part) & (lines["method"] == method)]["slope"].iloc[0]
        first, second, _ = label.split("\n")
        assert first == method and float(second.split(" ")[0].replace("\N{MINUS SIGN}", "-")) == pytest.approx(
            100 * slope, abs=0.051
        )
    without = search_charts.scaling_with_search(points, lines)
    assert [len(column["vconcat"]) for column in without.to_dict()["hconcat"]] == [1, 1]


def test_panels_of_the_scaling_figure_share_one_axis_of_shares(specs):
    spec = specs["scaling_with_search"]
    axes = [y for column in spec["hconcat"] for y in encodings(column["vconcat"][0], "y")]
    domains = {tuple(y["scale"]["domain"]) for y in axes if "scale" in y}
    assert len(domains) == 1 and next(iter(domains))[0] == 0


def test_rounds_have_a_panel_for_practiced_tasks_and_tell_arms_apart(arguments, specs):
    frame = arguments["rounds"][0]
    spec = specs["rounds"]
    assert [panel["title"]["text"] for panel in spec["hconcat"]] == ["never trained on", "practiced"]
    dash = encodings(spec["hconcat"][0], "strokeDash")[0]["scale"]
    assert dash["domain"] == ["expert iteration", "placebo"] and dash["range"][0] == [1, 0] != dash["range"][1]
    color = encodings(spec["hconcat"][0], "color")[0]["scale"]
    looks = dict(zip(color["domain"], color["range"], strict=True))
    assert looks == {"id": theme.GREEN, "forced": theme.RED}
    drawn = {(r["tasks"], r["part"], r["arm"], r["round"], r["value"]) for r in rows_of(spec) if "label" not in r}
    assert drawn == set(frame[["tasks", "part", "arm", "round", "value"]].itertuples(index=False, name=None))
    labels = {row["label"] for row in rows_of(spec) if "label" in row}
    assert labels == {f"{part}, {arm}" for part in ("ID", "forced") for arm in ("expert iteration", "placebo")}
    assert "solid: expert iteration; dashed: placebo" in " ".join(spec["title"]["subtitle"])
