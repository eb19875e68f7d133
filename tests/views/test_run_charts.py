"""Charts of a run say what their tables say, for one part and for many."""

import numpy as np
import pandas as pd
import pytest

from synthlab.assessment.metrics import wilson
from synthlab.errors import ConfigurationError
from synthlab.views import charts, run_charts, theme


@pytest.fixture(autouse=True)
def in_theme():
    charts.use_theme()


def success(values, parts=("forced", "id")):
    rows = [(part, v, v, v, 0.4, *wilson(4, 10), 10) for part in parts for v in values]
    columns = ["part", "low", "high", "middle", "pass_at_1", "ci_low", "ci_high", "num_tasks"]
    return pd.DataFrame(rows, columns=columns)


CALIBRATION = pd.DataFrame(
    {"confidence": [0.2, 0.8], "accuracy": [0.3, 0.9], "ci_low": 0.1, "ci_high": 0.95, "num_tasks": 40}
)
COPYING = pd.DataFrame(
    [
        (o, c, 0.5, *wilson(3, 6), n)
        for o, n in (("solved", 6), ("failed", 1200))
        for c in ("tree", "subtrees", "shape")
    ],
    columns=["outcome", "copied", "share", "ci_low", "ci_high", "num_tasks"],
)
FIGURES = {
    "success_curve": (lambda t, **k: run_charts.success_curve(t, "leaves", **k), success([1, 2, 3])),
    "calibration_chart": (run_charts.calibration_chart, CALIBRATION),
    "copying_bars": (run_charts.copying_bars, COPYING),
}
NAMES = pytest.mark.parametrize("name", FIGURES)


def rows_of(spec):
    return max(spec["datasets"].values(), key=len)


def marks_of(layers):
    return [layer["mark"]["type"] for layer in layers]


@NAMES
def test_every_table_becomes_a_valid_chart_with_all_its_rows(name):
    draw, table = FIGURES[name]
    spec = draw(table).to_dict()
    assert len(rows_of(spec)) == len(table)
    assert spec["title"]["text"].endswith("?")


@NAMES
def test_titles_are_the_callers(name):
    draw, table = FIGURES[name]
    title = draw(table, title="A claim", subtitle="and its details").to_dict()["title"]
    assert title == {"text": "A claim", "subtitle": "and its details"}


@NAMES
def test_an_empty_table_or_a_missing_column_is_refused_in_one_line(name):
    draw, table = FIGURES[name]
    with pytest.raises(ConfigurationError, match=rf"^{name}: there are no rows[^\n]*$"):
        draw(table.iloc[:0])
    for column in set(table) - {"outcome"} or set(table):
        with pytest.raises(ConfigurationError, match=f"lacks {column};"):
            draw(table.drop(columns=column))


@NAMES
def test_a_part_keeps_its_colour(name):
    draw, table = FIGURES[name]
    spec = draw(table.assign(part="forced")).to_dict()
    if name == "copying_bars":
        assert {row["panel"] for row in rows_of(spec)} == {"forced: 6 solved, 1,200 failed"}
        return
    colors = [layer["encoding"]["color"] for layer in spec["layer"] if "color" in layer["encoding"]]
    assert colors and all(c["scale"] == {"domain": ["forced"], "range": [theme.RED]} for c in colors)


@NAMES
def test_it_is_drawn(name):
    import vl_convert

    draw, table = FIGURES[name]
    for shown in (table, table.assign(part="id")):
        picture = vl_convert.vegalite_to_svg(draw(shown).to_json())
        assert picture.startswith("<svg")


# ---------------------------------------------------------------- success


def test_intervals_at_one_whole_number_stand_side_by_side():
    spec = run_charts.success_curve(success([1, 2, 4]), "leaves").to_dict()
    rows = rows_of(spec)
    assert marks_of(spec["layer"]) == ["rule", "line", "point"]
    places = {(row["part"], row["middle"]): row["place"] for row in rows}
    assert len(set(places.values())) == 6
    assert all(abs(place - middle) < 0.1 for (_, middle), place in places.items())
    assert places["id", 1] < 1 < places["forced", 1]  # in the order of the legend
    axis = spec["layer"][0]["encoding"]["x"]["axis"]
    assert axis["values"] == [1, 2, 4] and axis["format"] == "d"


def test_other_numbers_stand_where_they_are():
    table = success([0.5, 0.75]).assign(low=lambda t: t["low"] - 0.1)
    spec = run_charts.success_curve(table, "syntactic_distance").to_dict()
    assert all(row["place"] == row["middle"] for row in rows_of(spec))
    x = spec["layer"][0]["encoding"]["x"]
    assert x["title"] == "syntactic distance" and "values" not in x["axis"]


def test_sizes_of_classes_are_shown_on_a_log_scale():
    x = run_charts.success_curve(success([1, 10, 100]), "class_size").to_dict()["layer"][0]["encoding"]["x"]
    assert x["scale"]["type"] == "log" and x["title"] == "programs per function (log scale)"


# ---------------------------------------------------------------- calibration and copying


def test_the_diagonal_is_perfect_calibration():
    spec = run_charts.calibration_chart(CALIBRATION).to_dict()
    assert marks_of(spec["layer"]) == ["line", "rule", "line", "point"]
    diagonal = spec["datasets"][spec["layer"][0]["data"]["name"]]
    assert all(row["confidence"] == row["accuracy"] for row in diagonal)
    assert [t["field"] for t in spec["layer"][3]["encoding"]["tooltip"]][-1] == "num_tasks"


def test_panels_say_how_many_answers_they_hold_in_the_order_of_parts():
    table = pd.concat([COPYING.assign(part="forced"), COPYING.assign(part="id", num_tasks=9)])
    spec = run_charts.copying_bars(table).to_dict()
    assert spec["facet"]["sort"] == ["id: 9 solved, 9 failed", "forced: 6 solved, 1,200 failed"]
    assert marks_of(spec["spec"]["layer"]) == ["bar", "rule", "text"]
    assert {row["what"] for row in rows_of(spec)} == {"whole text", "all subtrees", "shape"}


def test_an_outcome_that_never_happened_has_no_bar():
    never = COPYING["outcome"] == "solved"
    table = COPYING.assign(num_tasks=np.where(never, 0, 5), share=COPYING["share"].where(~never))
    spec = run_charts.copying_bars(table).to_dict()
    assert {row["outcome"] for row in rows_of(spec)} == {"failed"}
    assert {row["panel"] for row in rows_of(spec)} == {"0 solved, 5 failed"}
    with pytest.raises(ConfigurationError, match="no rows"):
        run_charts.copying_bars(table.assign(num_tasks=0))


# ---------------------------------------------------------------- tuning


def test_rate_curves_have_a_line_per_model_on_a_log_axis():
    table = pd.DataFrame({
        "model": ["32x2"] * 2 + ["64x2"] * 2, "learning_rate": [1e-3, 2e-3] * 2, "final_loss": [6.0, 5.5, 5.0, 5.2],
        "pass_at_1": [0.1, 0.2, 0.3, 0.25],
    })  # fmt: skip
    chart = run_charts.rate_curves(table, "Which rate?", "quick")
    spec = chart.to_dict()
    assert spec["title"]["text"] == "Which rate?" and spec["encoding"]["x"]["scale"]["type"] == "log"
    assert spec["encoding"]["x"]["axis"]["values"] == [1e-3, 2e-3]
    assert {(r["model"], r["learning_rate"], r["final_loss"]) for r in rows_of(spec)} == set(
        zip(table["model"], table["learning_rate"], table["final_loss"], strict=True)
    )


def test_variant_dots_keep_their_order_and_mark_the_first():
    table = pd.DataFrame({
        "variant": ["default", "floats", "infix"], "pass_at_1": [0.3, 0.4, 0.2], "low": [0.2, 0.3, 0.1],
        "high": [0.4, 0.5, 0.3],
    })  # fmt: skip
    spec = run_charts.variant_dots(table).to_dict()
    ruled, interval, dots = spec["layer"]
    assert interval["encoding"]["y"]["sort"] == dots["encoding"]["y"]["sort"] == ["default", "floats", "infix"]
    data = spec["datasets"][ruled["data"]["name"]]
    assert [row["variant"] for row in data] == ["default"]
    assert (interval["encoding"]["x"]["field"], interval["encoding"]["x2"]["field"]) == ("low", "high")


@pytest.mark.parametrize("chart", [run_charts.rate_curves, run_charts.variant_dots])
def test_tables_without_rows_or_columns_are_refused(chart):
    with pytest.raises(ConfigurationError):
        chart(pd.DataFrame({"model": []}))
