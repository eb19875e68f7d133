"""The result explorer without a browser: widgets are set, handlers fire, tables and HTML are read."""

import html

import numpy as np
import pytest

from synthlab.spaces.projection import Projection, umap_settings
from synthlab.study.answers import answer_table, judged_answers
from synthlab.views.explorer import failures
from synthlab.views.explorer.controls import AXES_VIEW
from synthlab.views.explorer.results import ResultExplorer


def fake_map(space, num=300):
    """A map without UMAP, whose places are the first two axes times ten."""
    rows = np.sort(np.random.default_rng(0).permutation(len(space.coordinates))[:num])
    return Projection(space.key, umap_settings(num), rows, 10 * space.coordinates[rows, :2])


@pytest.fixture(scope="module")
def universe(corpus4, spaces4, split4, trained4):
    projections = {kind: fake_map(space) for kind, space in spaces4.items()}
    return corpus4, spaces4, projections, split4, trained4


@pytest.fixture(scope="module")
def evaluations(universe):
    corpus, _, _, split, run = universe
    return judged_answers(run, corpus, split, progress=False)


@pytest.fixture(scope="module")
def table(universe, evaluations):
    corpus, spaces, _, split, _ = universe
    return answer_table(corpus, split, spaces, evaluations)


@pytest.fixture
def panel(universe, evaluations):
    return ResultExplorer(*universe, evaluations=evaluations, progress=False)


def text(panel, name):
    return html.unescape(panel.texts[name].value)


def brush(panel, kind, value):
    panel.maps[kind].live._vl_selections = {"brush": {"value": value, "store": []}}


def everywhere(panel, kind, share=1.0):
    """A brush over the left share of a map."""
    (x0, x1), (y0, y1) = panel.maps[kind].extent
    points = panel.points[kind]
    return {points.x_name: [x0, x0 + share * (x1 - x0)], points.y_name: [y0, y1]}


def test_it_opens_with_the_forced_part_and_says_what_was_solved(panel, table):
    assert panel.part == "forced" and panel.shown["part"].unique().tolist() == ["forced"]
    forced, everything = panel.shown, text(panel, "summary")
    assert f"forced {np.average(forced['solved'], weights=forced['weight']):.1%} of {len(forced)}" in everything
    assert f"{(forced['status'] == 'wrong function').sum()} wrong function" in everything
    for kind, drawn in panel.maps.items():
        assert drawn.color == "status" and len(drawn.rows) == len(forced), kind
        assert drawn.frame["status"].astype(str).tolist() == forced["status"].tolist()
        assert drawn.frame["program_id"].tolist() == forced["class_id"].tolist()


def test_it_asks_the_run_when_nothing_is_given(universe, table):
    panel = ResultExplorer(*universe, progress=False)
    assert panel.table.equals(table)


def test_another_part_is_another_map_and_another_list(panel):
    brush(panel, "semantic", everywhere(panel, "semantic", 0.3))
    panel.controls["part"].value = "id"
    assert panel.shown["part"].unique().tolist() == ["id"] and len(panel.shown) == len(panel.maps["semantic"].rows)
    assert not panel.failures.rows["solved"].any()


def test_a_map_shows_the_axes_that_are_asked_for(panel, universe):
    panel.controls["view"].value = AXES_VIEW
    panel.controls["axis j"].value = 2
    points, space = panel.points["semantic"], universe[1]["semantic"]
    assert (points.x_name, points.y_name) == ("axis_0", "axis_2") and "no units" not in points.x_title
    assert np.allclose(points.y, space.coordinates[points.rows, 2])
    panel.controls["axis i"].value = 2
    assert "choose two" in text(panel, "error")
    panel.controls["axis i"].value = 1
    assert "choose two" not in text(panel, "error")


def test_tasks_stand_on_the_map_where_their_vectors_do(panel, universe):
    _, spaces, projections, _, _ = universe
    shown = np.isin(panel.points["syntactic"].rows, projections["syntactic"].rows)
    points = panel.points["syntactic"]
    assert np.isfinite(points.x).all() and np.isfinite(points.y).all()
    if shown.any():
        expected = 10 * spaces["syntactic"].coordinates[points.rows[shown], 0]
        assert np.allclose(points.x[shown], expected, atol=0.05)


def test_without_maps_the_axes_are_shown(universe, evaluations):
    corpus, spaces, _, split, run = universe
    panel = ResultExplorer(corpus, spaces, {}, split, run, evaluations=evaluations)
    assert panel.points["semantic"].x_name == "axis_0"


def test_a_map_of_another_space_is_refused(universe, evaluations):
    corpus, spaces, projections, split, run = universe
    swapped = {"syntactic": projections["semantic"], "semantic": projections["semantic"]}
    panel = ResultExplorer(corpus, spaces, swapped, split, run, evaluations=evaluations)
    assert "another syntactic space" in text(panel, "error")


@pytest.mark.parametrize("kind", ["syntactic", "semantic"])
def test_a_brush_filters_the_list_and_marks_the_other_map(panel, kind):
    other = {"syntactic": "semantic", "semantic": "syntactic"}[kind]
    brush(panel, kind, everywhere(panel, kind, 0.6))
    x, end = panel.points[kind].x, everywhere(panel, kind, 0.6)[panel.points[kind].x_name][1]
    inside = x <= end
    assert 0 < inside.sum() < len(inside)
    assert panel.shown.index.tolist() == panel._of_part().index[inside].tolist()
    assert set(panel.failures.rows.index) <= set(panel.shown.index)
    assert panel.maps[other].live.params.marks == "".join("01"[flag] for flag in inside.astype(int))
    assert panel.maps[kind].live.params.marks == ""
    brush(panel, kind, {})
    assert len(panel.shown) == len(x) and panel.maps[other].live.params.marks == ""


def test_a_chosen_row_has_a_card_candidates_and_a_star(panel, universe):
    corpus = universe[0]
    index = panel.failures.list.options[2][1]
    panel.failures.list.value = index
    assert panel.chosen == index and len(panel.candidates) == 8
    target = corpus.program(int(panel.table.loc[index, "class_id"])).infix_text()
    assert f"<h4><code>{html.escape(target)}</code></h4>" in panel.texts["chosen"].value
    assert "what the model answers" in text(panel, "chosen") and "beam 8" in text(panel, "chosen")
    assert "its function is a task of forced" in text(panel, "chosen")
    row = panel._of_part().index.get_loc(index)
    for kind, drawn in panel.maps.items():
        assert np.allclose(drawn.live.params.star, [panel.points[kind].x[row], panel.points[kind].y[row]])


@pytest.mark.parametrize("kind", ["syntactic", "semantic"])
def test_a_click_on_a_map_opens_the_task_that_stands_there(panel, kind):
    points = panel.points[kind]
    panel.maps[kind].live.params.set_trait("place", [points.x[7], points.y[7], 1.0])
    opened = np.flatnonzero(panel._of_part().index == panel.chosen)[0]
    assert (points.x[opened], points.y[opened]) == pytest.approx((points.x[7], points.y[7]))


def test_what_goes_wrong_is_said_in_the_panel(panel):
    panel.proposer = None
    panel.failures.list.value = panel.failures.list.options[0][1]
    assert "AttributeError" in text(panel, "error")


def test_the_static_chart_shows_maps_and_curves(panel, tmp_path):
    spec = panel.static().to_dict()
    maps, curves = spec["vconcat"]
    assert [picture["title"]["text"] for picture in maps["hconcat"]] == [f"{k} space, part forced" for k in panel.maps]
    colors = maps["hconcat"][0]["encoding"]["color"]["scale"]
    assert dict(zip(colors["domain"], colors["range"], strict=True))["solved"] == "#009E73"
    assert len(curves["hconcat"]) == 2 and curves["title"]["text"].endswith("?")
    panel.static().save(tmp_path / "results.png")


def test_it_shows_its_widget_and_a_picture_below(panel, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda thing, **_: shown.append(thing))
    panel._ipython_display_()
    assert shown[0] is panel.widget and len(shown) == 2
    assert repr(panel).startswith("ResultExplorer(Run(") and panel.summary() in repr(panel)


# ---------------------------------------------------------------- the list


def test_the_list_filters_and_sorts(panel):
    listed = panel.failures
    assert listed.controls["status"].value == failures.FAILURES and not listed.rows["solved"].any()
    listed.controls["status"].value = failures.EVERYTHING
    assert len(listed.rows) == len(panel.shown)
    for column in ("size", "log_probability", "syntactic_distance", "semantic_distance"):
        listed.controls["sort"].value = column
        assert listed.rows[column].is_monotonic_increasing
    listed.controls["descending"].value = True
    assert listed.rows["semantic_distance"].is_monotonic_decreasing
    for status in listed.controls["status"].options[2:]:
        listed.controls["status"].value = status
        assert set(listed.rows["status"]) <= {status}
    listed.controls["status"].value = failures.EVERYTHING
    listed.controls["size"].value = 3
    assert set(listed.rows["size"]) <= {3}


def test_pages_turn_and_end(panel):
    listed = panel.failures
    seen = [label for label, _ in listed.list.options]
    assert listed.controls["back"].disabled and len(seen) == failures.PAGE
    for _ in range(listed.num_pages - 1):
        listed.controls["on"].click()
        seen += [label for label, _ in listed.list.options]
    assert listed.controls["on"].disabled and len(set(seen)) == len(listed.rows)
    assert f"page {listed.num_pages} of {listed.num_pages}, {len(listed.rows)} tasks" in listed.where.value
    listed.controls["back"].click()
    assert listed.page == listed.num_pages - 2


def test_filling_a_page_chooses_nothing(panel):
    panel.failures.controls["on"].click()
    panel.controls["part"].value = "id"
    assert panel.chosen is None and panel.failures.list.value is None


def test_an_empty_list_has_no_rows_and_no_error(panel):
    brush(panel, "semantic", {panel.points["semantic"].x_name: [1e6, 2e6]})
    assert len(panel.shown) == 0 and panel.failures.list.options == ()
    assert "page 1 of 1, 0 tasks" in panel.failures.where.value and "Error" not in text(panel, "error")


def test_rows_of_the_list_line_up_with_its_head(panel):
    labels = [label for label, _ in panel.failures.list.options]
    head = html.unescape(panel.failures.head.value).split(">", 1)[1].removesuffix("</pre>")
    assert len({len(label) for label in labels} | {len(head)}) == 1
    assert " " not in labels[0] and "target" in head and "semantic dist." in head
