"""Charts of a study say what their tables say: values, order, colours with a second mark, and words."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import vl_convert

from synthlab.errors import ConfigurationError
from synthlab.study.verdicts import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from synthlab.views import charts, claims_board, study_charts, study_scaling_charts, theme


@pytest.fixture(autouse=True)
def in_theme():
    charts.use_theme()


def estimates(**columns):
    table = pd.DataFrame(columns)
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.2)


FOREST = estimates(
    space=["syntactic"] * 3 + ["semantic"], kind=["one region", "variant", "all regions", "one region"],
    label=["root operator *", "clusters: isolated", "all regions", "clusters 0.0"], value=[-0.9, -0.4, np.nan, 0.9],
)  # fmt: skip
DECOMPOSED = estimates(
    space=["syntactic"] * 4, component=["root token", "size", "structure", "total"], value=[0.05, -0.01, 0.16, 0.2]
)
PREDICTED = estimates(predictor=["leaves", "distance", "leaves", "distance"], part=["id", "id", "forced", "forced"],
                      value=[0.5, 0.7, 0.45, 0.6])  # fmt: skip
WORST = estimates(label=["random", "random, minimal targets", "dual"], regime=["random", "random", "dual"],
                  policy=["as sampled", "minimal", "as sampled"], value=[0.1, 0.2, 0.3],
                  worst=["dual", "class", "random"])  # fmt: skip
DATA = estimates(score=["mean of tests", "mean of tests", "worst test"], regime=["random", "dual", "random"],
                 num_train=[10_000, 10_000, 40_000], value=[0.3, 0.4, 0.2])  # fmt: skip
SAMPLED = estimates(space=["syntactic"] * 2 + ["semantic"], k=[1, 4, 1], part=["matched_id"] * 3,
                    value=[0.2, 0.5, 0.3])  # fmt: skip
POINTS = estimates(part=["matched_id", "matched_id", "matched_forced"], model=["a", "b", "a"], flops=[1e10, 1e12, 1e10],
                   value=[0.3, 0.5, 0.2]).assign(held_out=[False, True, False])  # fmt: skip
LAWS = estimates(part=["matched_id"] * 4, law=["log-linear", "log-linear", "power law", "power law"],
                 flops=[1e10, 1e12] * 2, value=[0.3, 0.5, 0.25, 0.45])  # fmt: skip
SIZES = pd.DataFrame({
    "part": ["forced", "forced", "forced", "id", "id"], "leaves": [3, 4, 4, 3, 4], "weight": [1, 1, 2, 3, 1]
})  # fmt: skip
CHARTS = {
    "effect_forest": (study_charts.effect_forest, FOREST),
    "worst_case_dots": (study_charts.worst_case_dots, WORST),
    "decomposition_bars": (study_charts.decomposition_bars, DECOMPOSED),
    "predictor_dots": (study_charts.predictor_dots, PREDICTED),
    "data_size_curve": (study_scaling_charts.data_size_curve, DATA),
    "pass_at_k_lines": (study_scaling_charts.pass_at_k_lines, SAMPLED),
    "scaling_figure": (study_scaling_charts.scaling_figure, POINTS),
}
NAMES = pytest.mark.parametrize("name", CHARTS)


def data_of(spec):
    """All rows of all data sets."""
    return [row for rows in spec["datasets"].values() for row in rows]


def estimates_in(spec):
    return sorted((r["value"], r["low"], r["high"]) for r in data_of(spec) if r.get("low") is not None)


def layers_of(spec):
    """All layers, whatever they are nested in."""
    if not isinstance(spec, dict):
        return []
    inner = [*spec.get("layer", []), *spec.get("hconcat", []), *spec.get("vconcat", []), spec.get("spec")]
    return [spec, *(layer for part in inner for layer in layers_of(part))] if inner else [spec]


def encodings(spec, channel):
    return [x["encoding"][channel] for x in layers_of(spec) if channel in x.get("encoding", {})]


@NAMES
def test_every_estimate_of_the_table_is_drawn_with_its_interval(name):
    draw, table = CHARTS[name]
    spec = draw(table).to_dict()
    known = table.dropna(subset=["value"])
    assert estimates_in(spec) == sorted(known[["value", "low", "high"]].itertuples(index=False, name=None))
    assert spec["title"]["text"].endswith("?")


@NAMES
def test_it_is_drawn_under_the_callers_title(name):
    draw, table = CHARTS[name]
    picture = vl_convert.vegalite_to_svg(draw(table, title="A claim", subtitle="and its details").to_json())
    assert picture.startswith("<svg") and "A claim" in picture and "and its details" in picture


@NAMES
def test_tables_without_rows_or_a_column_are_refused_in_one_line(name):
    draw, table = CHARTS[name]
    with pytest.raises(ConfigurationError, match=rf"^{name}: there are no rows[^\n]*$"):
        draw(table.iloc[:0])
    optional = {"part"} if name == "predictor_dots" else set()
    for column in set(table) - optional:
        with pytest.raises(ConfigurationError, match=rf"^{name}: the table lacks {column};[^\n]*$"):
            draw(table.drop(columns=column))


# ---------------------------------------------------------------- the board


def board_rows(claims):
    spec = study_charts.claims_board(claims).to_dict()
    return spec, next(rows for rows in spec["datasets"].values() if len(rows) == len(claims))


def test_the_board_shows_every_claim_once(judged_claims):
    spec, rows = board_rows(judged_claims)
    assert [row["name"] for row in rows] == ["C1", "C2a", "C7", "C6"]
    picture = vl_convert.vegalite_to_svg(spec)
    for name in judged_claims["name"]:
        assert picture.count(f">{name}<") == 1
    assert picture.count(">Sampling diversely has the best worst case<") == 1 and "&lt;b&gt;&amp;" in picture


def test_the_boards_numbers_are_in_words_of_their_units(judged_claims):
    _, rows = board_rows(judged_claims)
    assert [row["effect"] for row in rows] == ["+4.9 points", "−12.0 %", "95.0 %", "not measured"]
    assert [row["interval"] for row in rows] == ["[+0.8, +12.2]", "[−20.0, −5.0]", "[85.0, 99.0]", ""]
    bounds = ["> 0 points", "< −30 %", "> 90 %", "> 0 AUC"]
    assert [row["asked"] for row in rows] == [f"claimed {bound}" for bound in bounds]
    assert [row["behind"].split("\n") for row in rows] == [
        ["3 seeds", "1,444 functions", "p = 0.04 after Holm"],
        ["1 seed, 12 regions", "996 functions", "p = 0.02 after Holm"],
        ["3 seeds, 12 regions", "10 functions", "p = 0.4 after Holm"],
        [""],
    ]
    assert [row["remark"] for row in rows] == ["", "one seed", "", "nothing is solved"]


def test_a_verdict_has_a_word_a_colour_and_a_mark_of_its_own(judged_claims):
    spec, rows = board_rows(judged_claims)
    assert [(row["word"], row["caveat"]) for row in rows] == [
        (SUPPORTED, ""), (NOT_SUPPORTED, "(exploratory)"), (UNDECIDED, ""), (UNDECIDED, "(exploratory)")
    ]  # fmt: skip
    (colors,) = [c["scale"] for c in encodings(spec, "color") if "scale" in c]
    (marks,) = [c["scale"] for c in encodings(spec, "shape")]
    assert colors["domain"] == marks["domain"] == [SUPPORTED, NOT_SUPPORTED, UNDECIDED]
    assert colors["range"][:2] == [theme.GREEN, theme.RED] and len(set(marks["range"])) == 3


def test_rows_of_the_board_do_not_overlap(judged_claims):
    long = judged_claims.assign(claim="word " * 60, note="reason " * 30)
    _, rows = board_rows(long)
    for above, below in pairwise(rows):
        lines = above["text"].count("\n") + above["remark"].count("\n") + 2
        assert above["top"] + 18 * lines <= below["top"]
    assert all(len(line) <= 60 for row in rows for line in (row["text"] + "\n" + row["remark"]).split("\n"))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (-0.125, "points", "−12.5 points"), (0.5, "relative", "+50.0 %"), (0.5, "share", "50.0 %"),
        (2.0, "times the data", "2 times the data"), (-0.05, "relative per decade", "−5.0 % per decade"),
        (0.04789, "AUC", "+0.0479 AUC"), (0.0, "nats", "0 nats"),
    ],
)  # fmt: skip
def test_an_amount_in_its_unit(value, unit, text):
    assert claims_board.amount(value, unit) == text


def test_a_board_without_claims_is_refused(judged_claims):
    with pytest.raises(ConfigurationError, match=r"^claims_board: there are no rows"):
        study_charts.claims_board(judged_claims.iloc[:0])
    with pytest.raises(ConfigurationError, match="lacks verdict"):
        study_charts.claims_board(judged_claims.drop(columns="verdict"))


# ---------------------------------------------------------------- estimates


def test_a_forest_has_a_panel_per_space_with_rules_at_zero_and_at_the_bound():
    spec = study_charts.effect_forest(FOREST, bound=-0.25).to_dict()
    assert [panel["title"]["text"] for panel in spec["vconcat"]] == ["syntactic regions", "semantic regions"]
    orders = [encodings(panel, "y")[0]["sort"] for panel in spec["vconcat"]]
    assert orders == [["root operator *", "clusters: isolated", "all regions"], ["clusters 0.0"]]
    single = sorted(rows[0]["value"] for rows in spec["datasets"].values() if list(rows[0]) == ["value"])
    assert single == [-0.25, 0.0]
    assert "bound of −25%" in spec["title"]["subtitle"]


def test_kinds_of_a_forest_keep_their_colour_and_shape_whichever_are_there():
    for table in (FOREST, FOREST.iloc[2:]):
        spec = study_charts.effect_forest(table).to_dict()
        colors, shapes = (encodings(spec, channel)[0]["scale"] for channel in ("color", "shape"))
        assert colors["domain"] == shapes["domain"] == [k for k in study_charts.KINDS if k in set(table["kind"])]
        assert dict(zip(colors["domain"], colors["range"], strict=True))["all regions"] == theme.BLACK
        assert dict(zip(shapes["domain"], shapes["range"], strict=True))["all regions"] == "diamond"


def test_a_forest_says_where_there_is_nothing_to_compare_or_an_interval_leaves_the_axis():
    picture = vl_convert.vegalite_to_svg(study_charts.effect_forest(FOREST).to_json())
    assert picture.count("nothing to compare") == 1  # "all regions" has no value
    assert picture.count("\N{BLACK RIGHT-POINTING TRIANGLE}") == 1  # the last interval ends at 1.1
    inside = FOREST.assign(value=0.0, low=-0.1, high=0.1)
    picture = vl_convert.vegalite_to_svg(study_charts.effect_forest(inside).to_json())
    assert "nothing to compare" not in picture and "\N{BLACK RIGHT-POINTING TRIANGLE}" not in picture


def test_a_decomposition_has_the_total_on_top_and_structure_last():
    table = pd.concat([DECOMPOSED, DECOMPOSED.assign(space="semantic")])
    spec = study_charts.decomposition_bars(table).to_dict()
    assert [panel["title"]["text"] for panel in spec["hconcat"]] == ["syntactic regions", "semantic regions"]
    assert encodings(spec, "y")[0]["sort"] == ["total", "root token", "size", "structure"]
    texts = {row["component"]: row["text"] for row in data_of(spec) if "component" in row}
    assert texts == {"total": "+20.0", "root token": "+5.0", "size": "−1.0", "structure": "+16.0"}
    domains = {tuple(x["scale"]["domain"]) for x in encodings(spec, "x") if "scale" in x}
    assert len(domains) == 1  # panels can be compared


def test_predictors_stand_by_their_best_auc_beside_the_rule_of_guessing():
    spec = study_charts.predictor_dots(PREDICTED).to_dict()
    assert encodings(spec, "y")[0]["sort"] == ["distance", "leaves"]
    assert {"value": 0.5} in data_of(spec)
    assert encodings(spec, "color")[0]["scale"] == {"domain": ["id", "forced"], "range": [theme.GREEN, theme.RED]}
    alone = study_charts.predictor_dots(PREDICTED.iloc[:2].drop(columns="part")).to_dict()
    assert encodings(alone, "color")[0]["legend"] is None


def test_worst_cases_keep_their_order_and_name_the_test():
    spec = study_charts.worst_case_dots(WORST).to_dict()
    assert encodings(spec, "y")[0]["sort"] == WORST["label"].tolist()
    assert [c["scale"]["domain"] for c in encodings(spec, "shape")] == [["as sampled", "minimal"]]
    assert encodings(spec, "color")[0]["scale"]["domain"] == ["random", "dual"]
    picture = vl_convert.vegalite_to_svg(spec)
    assert all(f">{name}<" in picture for name in WORST["worst"])


# ---------------------------------------------------------------- sizes


def test_sizes_are_shares_of_the_weight_of_every_part():
    spec = study_charts.size_histograms(SIZES).to_dict()
    shares = {(row["part"], row["leaves"]): row["share"] for row in data_of(spec)}
    assert shares == {("forced", 3): 0.25, ("forced", 4): 0.75, ("id", 3): 0.75, ("id", 4): 0.25}
    assert spec["facet"]["sort"] == ["id", "forced"] and spec["columns"] == 1
    assert encodings(spec["spec"], "color")[0]["scale"]["range"] == [theme.GREEN, theme.RED]
    plain = study_charts.size_histograms(SIZES.drop(columns="weight"), columns=2).to_dict()
    assert {(r["part"], r["leaves"]): r["share"] for r in data_of(plain)}["forced", 3] == pytest.approx(1 / 3)
    with pytest.raises(ConfigurationError, match=r"^size_histograms: the table lacks leaves"):
        study_charts.size_histograms(SIZES.drop(columns="leaves"))


# ---------------------------------------------------------------- against what was spent


def test_regimes_stand_side_by_side_on_a_log_axis_of_programs():
    spec = study_scaling_charts.data_size_curve(DATA).to_dict()
    rows = data_of(spec)
    places = {(row["regime"], row["num_train"]): row["place"] for row in rows}
    assert places["random", 10_000] < 10_000 < places["dual", 10_000]
    assert all(abs(place / number - 1) < 0.1 for (_, number), place in places.items())
    x = encodings(spec["spec"], "x")[0]
    assert x["scale"]["type"] == "log" and x["axis"]["values"] == [10_000, 40_000]
    assert spec["facet"]["column"]["sort"] == ["mean of tests", "worst test"]


def test_samples_have_a_panel_per_space_and_ticks_at_every_k():
    spec = study_scaling_charts.pass_at_k_lines(SAMPLED).to_dict()
    assert spec["facet"]["column"]["sort"] == ["syntactic regions", "semantic regions"]
    x, y = (encodings(spec["spec"], channel) for channel in ("x", "y"))
    assert x[0]["axis"]["values"] == [1, 4] and x[0]["scale"]["type"] == "log"
    assert any(c.get("scale") == {"domain": [0, 1]} for c in y)


def test_scaling_has_a_panel_per_part_in_its_colour_and_marks_the_largest_runs():
    spec = study_scaling_charts.scaling_figure(POINTS, LAWS).to_dict()
    assert [panel["title"]["text"] for panel in spec["hconcat"]] == ["matched_id", "matched_forced"]
    inks = [[x["mark"]["color"] for x in p["layer"] if x["mark"].get("color")] for p in spec["hconcat"]]
    assert inks == [[theme.SKY] * 2, [theme.PURPLE] * 2]
    runs = encodings(spec, "shape")[0]["scale"]
    told = {row["model"]: row["runs"] for row in data_of(spec) if row.get("part") == "matched_id" and "runs" in row}
    assert [runs["domain"].index(told[model]) for model in "ab"] == [0, 1] and runs["range"] == ["circle", "diamond"]


def test_laws_are_lines_with_bands_told_apart_by_colour_and_dash():
    spec = study_scaling_charts.scaling_figure(POINTS, LAWS).to_dict()
    marks = [layer["mark"]["type"] for layer in spec["hconcat"][0]["layer"]]
    assert marks == ["area", "line", "rule", "point"]
    colors, dashes = (encodings(spec, channel)[0]["scale"] for channel in ("color", "strokeDash"))
    assert colors["domain"] == dashes["domain"] == ["log-linear", "power law"]
    lines = {(r["law"], r["flops"]): (r["value"], r["low"], r["high"]) for r in data_of(spec) if "law" in r}
    assert lines == {(r.law, r.flops): (r.value, r.low, r.high) for r in LAWS.itertuples()}
    bare = study_scaling_charts.scaling_figure(POINTS).to_dict()
    assert [layer["mark"]["type"] for layer in bare["hconcat"][0]["layer"]] == ["rule", "point"]
    assert study_scaling_charts.scaling_figure(POINTS, LAWS.iloc[:0]).to_dict()["hconcat"] == bare["hconcat"]


def test_success_starts_at_zero_and_loss_does_not():
    success = encodings(study_scaling_charts.scaling_figure(POINTS).to_dict(), "y")[0]
    loss = encodings(study_scaling_charts.scaling_figure(POINTS, y_title="loss, nats").to_dict(), "y")[0]
    assert success["scale"]["domain"][0] == 0 and success["axis"]["format"] == "%"
    assert loss["scale"]["domain"] == [POINTS["low"].min(), POINTS["high"].max()] and loss["title"] == "loss, nats"


@pytest.mark.parametrize(
    ("flops", "ticks"),
    [([2e10, 5e11], [3e10, 1e11, 3e11]), ([1e10, 1e12], [1e10, 3e10, 1e11, 3e11, 1e12]), ([4e10, 6e10], [4e10, 6e10])],
)
def test_ticks_of_compute_lie_within_the_runs(flops, ticks):
    points = POINTS.assign(flops=[*flops, flops[0]])
    x = encodings(study_scaling_charts.scaling_figure(points[:2]).to_dict(), "x")[0]
    assert x["axis"]["values"] == ticks
