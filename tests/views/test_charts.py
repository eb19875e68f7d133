"""Charts say what their tables say: encodings, numbers of marks, and one-line refusals."""

import json

import numpy as np
import pandas as pd
import pytest

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.program import parse
from synthlab.views import charts, export, programs, theme


@pytest.fixture(autouse=True)
def in_theme():
    charts.use_theme()


def figure(name):
    return getattr(charts, name, None) or getattr(programs, name)


def maps(num=40, part=True):
    grid = np.arange(num)
    table = pd.DataFrame({"program": [f"x + {k}" for k in grid], "leaves": grid % 4 + 1, "class_size": grid % 7})
    table["root"] = np.array(["x", "+", "-", "*"])[grid % 4]
    table["map_x"], table["map_y"], table["axis_0"], table["axis_1"] = grid * 1.0, -grid * 1.0, grid / 2, grid / 3
    return table.assign(part=np.where(grid % 3, "train", "held out")) if part else table


PARTS = pd.DataFrame({"part": ["id", "forced"], "low": 0.1, "high": 0.4})
TABLES = {
    "counts_chart": pd.DataFrame({"leaves": [1, 2], "programs": [5, 75], "functions": [5, 35]}),
    "size_histogram": PARTS.assign(leaves=[1, 2], items=[3, 4], share=1.0),
    "density_matrix": pd.DataFrame(
        [(a, b, v) for a, b, v in [("random", "dual", 0.1), ("dual", "dual", 0.3)]],
        columns=["train_regime", "test_regime", "pass_at_1"],
    ),
    "support_bars": PARTS.assign(region="root operator *", pass_at_1=0.2, num_tasks=[10, 20]),
    "learning_curve": pd.DataFrame({"step": [1, 1], "name": ["train_loss", "pass_at_1_id"], "value": [2.0, 0.1]}),
    "outputs_heatmap": pd.DataFrame({"x": [0, 1], "y": [0, 0], "value": [1.0, np.nan]}),
    "failure_bars": pd.DataFrame({"part": "id", "status": theme.STATUSES, "share": 1 / 6}),
    "pass_at_k": PARTS.assign(k=[1, 2], value=0.2),
}


def data_of(spec):
    (rows,) = spec["datasets"].values()
    return rows


def marks_of(spec):
    return [layer["mark"] if isinstance(layer["mark"], str) else layer["mark"]["type"] for layer in spec["layer"]]


@pytest.mark.parametrize("name", TABLES)
def test_every_table_becomes_a_valid_chart_with_all_its_rows(name):
    spec = figure(name)(TABLES[name]).to_dict()
    assert sum(map(len, spec["datasets"].values())) >= len(TABLES[name])
    assert spec["title"]["text"].endswith("?")


@pytest.mark.parametrize("name", TABLES)
def test_titles_are_the_callers(name):
    assert figure(name)(TABLES[name], title="A claim").to_dict()["title"]["text"] == "A claim"


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_is_refused_in_one_line(name):
    with pytest.raises(ConfigurationError, match=rf"^{name}: there are no rows[^\n]*$"):
        figure(name)(TABLES[name].iloc[:0])


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_column_is_named(name):
    column = next(iter(TABLES[name].columns))
    with pytest.raises(ConfigurationError, match=f"lacks {column};"):
        figure(name)(TABLES[name].drop(columns=column))


def test_empty_maps_and_spaces_are_refused():
    with pytest.raises(ConfigurationError, match="no rows"):
        charts.space_map(maps().iloc[:0], "part", "title")
    with pytest.raises(ConfigurationError, match="no rows"):
        charts.map_pair(maps(), maps().iloc[:0], "part")
    with pytest.raises(ConfigurationError, match="no rows"):
        charts.explained_variance({})


def test_a_map_shows_categories_by_colour_and_shape_and_hides_umap_numbers():
    spec = charts.space_map(maps(), "part", "Where is it?", "subtitle").to_dict()
    encoding = spec["encoding"]
    assert encoding["color"]["field"] == encoding["shape"]["field"] == "part"
    assert encoding["color"]["scale"]["domain"] == list(theme.REGION_PARTS)
    assert len(set(encoding["shape"]["scale"]["range"])) == len(theme.REGION_PARTS)
    assert encoding["x"]["axis"]["labels"] is False and encoding["y"]["axis"]["labels"] is False
    assert spec["title"]["subtitle"] == "subtitle"
    assert spec["usermeta"]["embedOptions"]["renderer"] == "canvas"


def test_svd_axes_keep_their_numbers():
    encoding = charts.space_map(maps(), "leaves", "title", x="axis_0", y="axis_1").to_dict()["encoding"]
    assert encoding["x"]["field"] == "axis_0" and "labels" not in encoding["x"]["axis"]


@pytest.mark.parametrize(("color", "kind"), [("leaves", "ordinal"), ("axis_0", "quantitative"), ("root", "nominal")])
def test_colour_follows_the_kind_of_column(color, kind):
    assert charts.space_map(maps(), color, "title").to_dict()["encoding"]["color"]["type"] == kind


def test_class_size_is_logarithmic_and_undefined_programs_are_grey():
    color = charts.space_map(maps(), "class_size", "title").to_dict()["encoding"]["color"]
    condition = color["condition"] if isinstance(color["condition"], dict) else color["condition"][0]
    assert condition["scale"]["type"] == "log" and condition["test"] == "datum.class_size > 0" and "value" in color


def test_a_map_draws_at_most_the_points_a_canvas_bears():
    spec = charts.space_map(maps(theme.MAX_POINTS + 5), "part", "title").to_dict()
    assert len(data_of(spec)) == theme.MAX_POINTS
    assert data_of(spec) == data_of(charts.space_map(maps(theme.MAX_POINTS + 5), "part", "title").to_dict())


def test_both_maps_share_one_order_of_categories():
    first, second = maps(), maps()[::-1].query("root != 'x'")
    spec = charts.map_pair(first, second, "root", "title").to_dict()
    domains = [panel["encoding"]["color"]["scale"]["domain"] for panel in spec["hconcat"]]
    assert domains[0] == domains[1] == ["+", "-", "*", "x"]


def test_a_part_has_one_colour_in_every_figure():
    for name in ("pass_at_k", "support_bars", "size_histogram"):
        text = json.dumps(figure(name)(TABLES[name]).to_dict())
        assert '"domain": ["id", "forced"], "range": ["#009E73", "#D55E00"]' in text, name


def test_explained_variance_counts_axes_from_one():
    frame = pd.DataFrame({"axis": [0, 1], "explained": [0.6, 0.3], "cumulative": [0.6, 0.9]})
    spec = charts.explained_variance({"syntactic": frame, "semantic": frame}).to_dict()
    assert sorted({row["axes"] for row in data_of(spec)}) == [1, 2]
    assert {row["space"] for row in data_of(spec)} == {"syntactic", "semantic"}


def test_the_best_training_regime_of_every_column_is_framed():
    spec = charts.density_matrix(TABLES["density_matrix"]).to_dict()
    assert [row["train_regime"] for row in data_of(spec) if row["best"]] == ["dual"]
    assert marks_of(spec) == ["rect", "rect", "text"]


def test_failures_stack_to_one_in_a_fixed_order():
    shuffled = TABLES["failure_bars"].sample(frac=1, random_state=1)
    rows = data_of(charts.failure_bars(shuffled).to_dict())
    assert [row["status"] for row in rows] == list(theme.STATUSES)
    assert rows[0]["start"] == 0 and rows[-1]["end"] == pytest.approx(1)


def test_panels_of_a_facet_read_the_facets_data():
    for name in ("support_bars", "size_histogram"):
        spec = figure(name)(TABLES[name]).to_dict()
        assert "data" in spec and not any("data" in layer for layer in spec["spec"]["layer"]), name


def test_losses_and_scores_get_a_panel_each():
    table = TABLES["learning_curve"]
    assert len(charts.learning_curve(table).to_dict()["hconcat"]) == 2
    assert len(charts.learning_curve(table[table["name"] == "train_loss"]).to_dict()["hconcat"]) == 1


def test_a_tree_has_a_node_per_token_and_an_edge_per_operand():
    program = parse(POLYNOMIAL, "(x + 1) * (y - 2 * x)")
    spec = programs.program_tree(program).to_dict()
    nodes, edges = sorted(spec["datasets"].values(), key=len, reverse=True)
    assert len(nodes) == program.nodes and len(edges) == program.nodes - 1
    assert max(n["depth"] for n in nodes) == program.depth
    assert spec["title"]["text"] == program.infix_text()
    places = [(n["x"], n["depth"]) for n in nodes]
    assert len(set(places)) == len(places)
    assert [n["token"] for n in sorted(nodes, key=lambda n: n["x"]) if n["kind"] == "leaf"] == ["x", "1", "y", "2", "x"]


def test_a_single_leaf_is_a_tree_too():
    assert marks_of(programs.program_tree(parse(POLYNOMIAL, "x")).to_dict()) == ["point", "text"]


def test_a_chart_is_saved_in_three_forms(tmp_path):
    chart = charts.pass_at_k(TABLES["pass_at_k"])
    paths = export.save_chart(chart, tmp_path / "new", "figure-1")
    assert [p.name for p in paths] == ["figure-1.svg", "figure-1.png", "figure-1.json"]
    assert paths[0].read_text().startswith("<svg") and paths[1].read_bytes().startswith(b"\x89PNG")
    assert json.loads(paths[2].read_text())["$schema"].startswith("https://vega.github.io/schema/vega-lite")
    assert sorted(p.name for p in paths[0].parent.iterdir()) == sorted(p.name for p in paths)


def test_a_table_is_saved_as_csv_and_latex(tmp_path):
    frame = pd.DataFrame({"program": ["x_1 & 50% <y>"], "pass_at_1": [1 / 3]})
    csv, tex = export.save_table(frame, tmp_path, "table")
    assert pd.read_csv(csv).equals(frame)
    assert r"x\_1 \& 50\% <y> & 0.333 \\" in tex.read_text()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a" * 65, "line\n"])
def test_names_that_are_no_file_names_are_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match="use up to 64"):
        export.save_table(TABLES["pass_at_k"], tmp_path, name)
    assert not list(tmp_path.iterdir())
