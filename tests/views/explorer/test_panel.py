"""The split explorer without a browser: widgets are set, handlers fire, the panel's HTML is read."""

import html
import re

import altair as alt
import numpy as np
import pandas as pd
import pytest

from synthlab.language.grammar import Grammar, Grid
from synthlab.language.operator import Operator
from synthlab.spaces.projection import Projection, umap_settings
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.regions import hold_out
from synthlab.splits.split import Split
from synthlab.splits.support import support_split
from synthlab.store import Store
from synthlab.universe.corpus import build_corpus
from synthlab.views.explorer import SplitExplorer, controls
from synthlab.views.explorer import panel as views
from synthlab.views.explorer.controls import AXES_VIEW, BRUSH, DENSITY, ISOLATED, ONLY_LOOKS, RULES


def fake_map(space, num=200):
    """A map without UMAP, whose places are the first two axes times ten."""
    placed = np.flatnonzero(~np.isnan(space.coordinates[:, 0]))
    rows = np.sort(np.random.default_rng(0).permutation(placed)[:num])
    return Projection(space.key, umap_settings(num), rows, 10 * space.coordinates[rows, :2])


@pytest.fixture(scope="module")
def universe(corpus4, spaces4):
    return corpus4, spaces4, {kind: fake_map(space) for kind, space in spaces4.items()}


@pytest.fixture(scope="module")
def opened(universe, tmp_path_factory):
    panel = SplitExplorer(*universe, Store(tmp_path_factory.mktemp("explorer")))
    return panel, {name: control.value for name, control in panel.controls.by_name.items()}


@pytest.fixture
def panel(opened, tmp_path):
    """The panel as it opened, with a store of its own: opening takes a second, and going back hardly any time."""
    panel, first = opened
    panel.store = panel.verdict.store = Store(tmp_path)
    panel.figures, panel.name.value, panel.brush.region = tmp_path / "figures", "my-split", None
    with panel.controls.quietly():
        for name, value in first.items():
            if "interval" not in name:  # they follow the axes
                panel.controls[name].value = value
    panel.texts.picked = None
    panel._repaint()
    panel._recompute()
    return panel


def text(panel, name):
    return html.unescape(re.sub(r"<[^>]*>", " ", panel.texts[name].value))


def brush(panel, kind, value):
    panel.maps.maps[kind].live._vl_selections = {"brush": {"value": value, "store": []}}


def set_all(panel, **values):
    for name, value in values.items():
        panel.controls[name].value = value


def colours(panel, kind="syntactic"):
    return np.array(list(panel.maps.maps[kind].live.params.parts)).astype(int)


def marks(panel, kind):
    return np.array(list(panel.maps.maps[kind].live.params.marks)) == "1"


# ---------------------------------------------------------------- numbers


def numbers(panel):
    """First number of every row of the summary."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", panel.texts["summary"].value)[1:]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    return {row[0]: int(row[1].replace(",", "")) for row in cells}


def test_the_panel_opens_with_the_counts_of_a_split(panel, universe):
    split = support_split(*universe[:2], panel.split.settings)
    assert panel.split.key == split.key and np.array_equal(panel.split.train, split.train)
    found = numbers(panel)
    assert found["forced@4"] == len(panel.parts.rows("forced"))
    assert found["held out"] == split.held_out(universe[0].num_programs).sum()
    assert 'id="summary"' in panel.texts["summary"].value and panel.texts["error"].value.endswith("></pre>")
    assert alt.JupyterChart._is_offline
    assert all(m.live.debounce_wait == 150 and m.live.max_wait is False for m in panel.maps.maps.values())


@pytest.mark.parametrize(
    "values",
    [
        {"quantile": 0.5, "axis": 2, "above": False},
        {"rule": "root", "root": "*"},
        {"rule": "cluster", "num_held": 3, "seed": 4, "reserved": 0.3},
        {"space": "semantic", "quantile": 0.6},
        {"space": "both", "rule": "cluster", "num_clusters": 12, "num_held": 2},
    ],
    ids=str,
)
def test_the_counts_are_those_of_the_split_with_all_its_programs_and_tests(panel, universe, values):
    set_all(panel, num_test=universe[0].num_classes, **values)
    found, split = numbers(panel), panel.split
    assert found["train pool"] == len(split.train) and found["reserved"] == len(split.reserved)
    assert found["id"] == len(split.tests["id"]) and found["forced@4"] == len(split.tests["forced"])
    assert found.get("open", 0) == len(split.tests.get("open", ()))


def test_a_change_moves_counts_examples_shift_sizes_and_colours(panel):
    before = panel.split.key, text(panel, "summary"), text(panel, "examples"), text(panel, "shift"), panel.sizes.shares
    parts = {kind: colours(panel, kind) for kind in panel.maps.maps}
    panel.controls["quantile"].value = 0.5
    after = panel.split.key, text(panel, "summary"), text(panel, "examples"), text(panel, "shift"), panel.sizes.shares
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert all((colours(panel, kind) != parts[kind]).any() for kind in parts)
    assert panel.region.quantile == 0.5 and panel.milliseconds > 0


def test_colours_are_the_parts_of_the_split(panel, universe):
    corpus = universe[0]
    set_all(panel, rule="root", root="*")
    rows = panel.maps.maps["syntactic"].rows
    assert np.array_equal(colours(panel) == 1, panel.split.held_out(corpus.num_programs)[rows])
    rows, codes = panel.maps.maps["semantic"].rows, colours(panel, "semantic")
    forced = np.isin(corpus.class_id[rows], panel.split.tests["forced"])
    assert forced.any() and (codes[forced] == 1).all()
    assert (codes[np.isin(corpus.class_id[rows], panel.split.tests["id"])] == 2).all()


def test_drawing_says_what_was_drawn_and_matches_sizes(panel):
    set_all(panel, rule="root", root="*", num_train=1000, num_test=50)
    assert "1,000 to draw" in text(panel, "summary")
    panel.buttons["draw"].click()
    assert "1,000 drawn" in text(panel, "summary") and not panel.buttons["draw"].disabled
    assert numbers(panel)["matched"] == len(panel.split.tests["matched_id"]) > 0
    shares = np.array(panel.sizes.shares.split(","), dtype=float).reshape(-1, 4)
    assert np.array_equal(shares[-1], shares[-2]) and shares[-1].sum() == pytest.approx(1, abs=1e-3)
    panel.controls["seed"].value = 1
    assert "drawn" not in text(panel, "summary")


def test_a_brush_holds_nothing_out_of_a_density_split(panel):
    set_all(panel, kind=DENSITY, num_train=200, view=AXES_VIEW)
    brush(panel, "semantic", {"axis_0": [-1.0, 1.0], "axis_1": [-1.0, 1.0]})
    assert panel.region is None and panel.controls["rule"].value == "quantile" and panel.brushed is not None
    assert "held out" not in text(panel, "marked")


def test_a_density_split_holds_nothing_out(panel, universe):
    set_all(panel, kind=DENSITY, num_train=200, regime="semantic")
    assert panel.region is None and "held out" not in numbers(panel)
    assert panel.split.kind == "density" and len(panel.split.train) == 200
    assert not (colours(panel) == 1).any()
    panel.controls["num_train"].value = 0
    assert "needs a budget" in text(panel, "error")


def test_an_isolated_split_is_asked_for(panel, monkeypatch):
    monkeypatch.setattr(views, "support_split", lambda corpus, spaces, settings, held: settings | {"held": held})
    set_all(panel, kind=ISOLATED, rule="cluster", num_train=300)
    assert panel.split["isolated"] and panel.split["num_train"] == 300 and panel.split["held"] is panel.parts.held
    assert "before it is isolated" in text(panel, "summary") and "before it is isolated" in text(panel, "shift")
    assert "an isolated split has none" in text(panel, "summary") and numbers(panel)["open"] == 0
    assert panel.controls["regime"].layout.display == "none"


def test_more_programs_than_the_pool_are_refused_at_once(panel):
    set_all(panel, quantile=0.2, num_train=80_000)
    assert "training programs asked of a pool of" in text(panel, "error") and panel.parts is None


# ---------------------------------------------------------------- brushes


@pytest.mark.parametrize(("rule", "shown"), list(RULES.items()))
def test_only_the_controls_of_the_rule_are_shown(panel, rule, shown):
    set_all(panel, view=AXES_VIEW, rule=rule)
    names = [n for n in controls.REGION_CONTROLS[1:] if panel.controls[n].layout.display != "none"]
    assert names == list(shown)


def test_a_brush_on_axes_is_a_box_of_all_programs(panel, universe):
    corpus, spaces, _ = universe
    panel.controls["view"].value = AXES_VIEW
    brush(panel, "semantic", {"axis_0": [4.0, -2.0], "axis_1": [-3.0, 3.0]})
    assert panel.region.rule == "box" and panel.region.space == "semantic"
    assert panel.region.box == ((0, -2.0, 4.0), (1, -3.0, 3.0))
    inside = hold_out(panel.region, corpus, spaces).inside
    assert np.array_equal(panel.split.held_out(corpus.num_programs), inside)
    assert set(np.flatnonzero(panel.brushed.classes[:-1])) == set(corpus.class_index[inside])
    first = panel.split.key
    brush(panel, "syntactic", {"axis_0": [0.2, 0.27], "axis_1": [-1.0, 0.1]})
    assert panel.region.space == "syntactic" and panel.split.key != first
    brush(panel, "syntactic", {})
    assert panel.brushed is None and panel.region.rule == "box"  # what was held out stays


def test_a_brush_highlights_the_same_programs_on_the_other_map(panel, universe):
    corpus = universe[0]
    set_all(panel, view=AXES_VIEW, brushing=ONLY_LOOKS)
    brush(panel, "syntactic", {"axis_0": [0.1, 0.3], "axis_1": [-1.0, 0.1]})
    points, rows = panel.maps.maps["syntactic"].points, panel.maps.maps["semantic"].rows
    under = points.rows[(points.x >= 0.1) & (points.x <= 0.3) & (points.y >= -1) & (points.y <= 0.1)]
    assert np.array_equal(marks(panel, "semantic"), np.isin(rows, corpus.class_index[under]))
    assert np.array_equal(marks(panel, "syntactic"), np.isin(panel.maps.maps["syntactic"].rows, under))
    brush(panel, "semantic", {"axis_0": [-1.0, 1.0], "axis_1": [-1.0, 1.0]})
    shown = panel.maps.maps["syntactic"].rows
    classes = rows[marks(panel, "semantic")]
    assert np.array_equal(marks(panel, "syntactic"), np.isin(corpus.class_index[shown], classes))
    assert panel.region.rule == "quantile"  # only looked
    brush(panel, "semantic", {})
    assert panel.maps.maps["syntactic"].live.params.marks == ""


def test_a_brush_on_a_umap_map_holds_out_the_cells_under_it(panel, universe):
    corpus, spaces, _ = universe
    middle = float(np.median(panel.maps.projections["syntactic"].xy[:, 0]))
    brush(panel, "syntactic", {"map_x": [-10.0, middle], "map_y": [-10.0, 10.0]})
    assert panel.region.rule == "cluster" and panel.region.num_clusters == 200 and panel.region.held
    assert panel.controls["rule"].value == BRUSH and "cells of the syntactic space" in text(panel, "marked")
    assert np.array_equal(panel.split.held_out(corpus.num_programs), hold_out(panel.region, corpus, spaces).inside)
    assert panel.brush.fit.recall > 0.5


def test_a_brush_that_is_refused_leaves_no_older_region_in_force(panel):
    panel.controls["view"].value = AXES_VIEW
    brush(panel, "semantic", {"axis_0": [-2.0, 4.0], "axis_1": [-3.0, 3.0]})
    assert panel.parts is not None
    panel.controls["view"].value = "UMAP map"
    brush(panel, "semantic", {"map_x": [900.0, 901.0], "map_y": [900.0, 901.0]})
    assert "nothing is brushed" in text(panel, "error") and panel.parts is None and panel.region is None


def test_clearing_an_old_brush_leaves_the_one_on_the_other_map(panel):
    set_all(panel, view=AXES_VIEW, brushing=ONLY_LOOKS)
    brush(panel, "semantic", {"axis_0": [-2.0, 4.0], "axis_1": [-3.0, 3.0]})
    brush(panel, "syntactic", {"axis_0": [0.1, 0.3], "axis_1": [-1.0, 0.1]})
    brush(panel, "semantic", {})
    assert panel.brushed.kind == "syntactic" and marks(panel, "semantic").any()


def test_other_colours_leave_view_and_intervals(panel):
    set_all(panel, view=AXES_VIEW)
    brush(panel, "semantic", {"axis_0": [-2.0, 2.0], "axis_1": [-3.0, 3.0]})
    panel.buttons["zoom"].click()
    num, interval = len(panel.maps.maps["semantic"].rows), panel.controls["interval_i"].value
    panel.controls["color"].value = "depth"
    assert len(panel.maps.maps["semantic"].rows) == num and panel.controls["interval_i"].value == interval
    panel.buttons["zoom_out"].click()
    assert len(panel.maps.maps["semantic"].rows) > num


def test_a_brush_that_only_looks_changes_no_region(panel):
    panel.controls["brushing"].value = ONLY_LOOKS
    key = panel.split.key
    brush(panel, "syntactic", {"map_x": [-10.0, 10.0], "map_y": [-10.0, 10.0]})
    assert panel.split.key == key and panel.region.rule == "quantile"
    assert "under the brush: 200 programs on the map" in text(panel, "marked")


def test_intervals_are_a_brush_for_the_keyboard(panel, universe):
    set_all(panel, view=AXES_VIEW, rule=BRUSH)
    assert "nothing is brushed yet" in text(panel, "error")
    slider = panel.controls["interval_i"]
    low, high = slider.min, slider.max
    assert low == universe[1]["syntactic"].axis(0).min() and high == universe[1]["syntactic"].axis(0).max()
    slider.value = (low, (low + high) / 2)
    assert panel.region.rule == "box" and panel.region.space == "syntactic"
    axis, first, last = panel.region.box[0]
    assert axis == 0 and 0 <= low - first < 1e-4 and 0 <= last - (low + high) / 2 < 1e-4  # nothing is left out
    panel.controls["brushed_space"].value = "semantic"
    slider.value = (slider.min, 0.0)
    assert panel.region.space == "semantic" and panel.split is not None


def test_the_intervals_follow_a_brush(panel):
    panel.controls["view"].value = AXES_VIEW
    brush(panel, "semantic", {"axis_0": [-2.0, 4.0], "axis_1": [-3.0, 3.0]})
    assert panel.controls["interval_i"].value == (-2.0, 4.0) and panel.controls["brushed_space"].value == "semantic"


def test_brushes_still_work_after_the_view_changed_twice(panel):
    panel.controls["view"].value = AXES_VIEW
    panel.controls["axis_j"].value = 3
    brush(panel, "semantic", {"axis_0": [-2.0, 4.0], "axis_3": [-1.0, 1.0]})
    assert panel.region.box == ((0, -2.0, 4.0), (3, -1.0, 1.0))


def test_zooming_draws_what_is_under_the_brush_and_keeps_the_colours(panel):
    set_all(panel, view=AXES_VIEW, brushing=ONLY_LOOKS, rule="root", root="*")
    panel.buttons["zoom"].click()
    assert "nothing to zoom to" in text(panel, "error")
    live = panel.maps.maps["semantic"]
    num = len(live.rows)
    brush(panel, "semantic", {"axis_0": [-1.0, 1.0], "axis_1": [-1.0, 1.0]})
    panel.buttons["zoom"].click()
    assert 0 < len(live.rows) < num
    assert np.array_equal(colours(panel, "semantic"), panel.parts.class_codes(live.rows))
    assert panel.brushed is None and text(panel, "marked").strip() == ""
    panel.buttons["zoom_out"].click()
    assert len(live.rows) == num and np.array_equal(colours(panel, "semantic"), panel.parts.class_codes(live.rows))


# ---------------------------------------------------------------- looking closer


def test_a_click_shows_the_card_of_a_program(panel):
    set_all(panel, view=AXES_VIEW)
    live = panel.maps.maps["syntactic"]
    row = live.frame.iloc[100]
    live.live.params.set_trait("place", [row["axis_0"], row["axis_1"]])
    card = text(panel, "card")
    assert "part of the split" in card and "<svg" in panel.texts["card"].value
    set_all(panel, rule="root", root=row["root"] if row["root"] in "+-*" else "+")
    assert ("held out" in text(panel, "card")) == (row["root"] in "+-*")


def test_a_typed_formula_is_starred_on_both_maps(panel):
    panel.formula.ask("x*y + 1")
    stars = {kind: live.live.params.star for kind, live in panel.maps.maps.items()}
    assert all(len(star) == 2 for star in stars.values())
    panel.controls["view"].value = AXES_VIEW
    panel.formula.ask("x*x*x*y*y + 2")  # larger than the universe
    semantic = panel.maps.maps["semantic"].live.params.star
    assert len(semantic) == 2 and np.isfinite(semantic).all()
    panel.controls["axis_j"].value = 2
    moved = panel.maps.maps["semantic"].live.params.star
    assert moved[0] == semantic[0] and moved[1] != semantic[1]  # on another axis


def test_success_of_a_run_colours_the_maps(universe, tmp_path):
    corpus = universe[0]
    results = pd.DataFrame({"class_id": corpus.class_id[:40], "solved": [True, False] * 20})
    panel = SplitExplorer(*universe, Store(tmp_path), results=results)
    panel.controls["color"].value = "pass@1"
    assert text(panel, "error").strip() == ""
    frame = panel.maps.maps["semantic"].frame
    shown = frame.loc[np.isin(panel.maps.maps["semantic"].rows, np.arange(40)), "pass@1"]
    assert len(shown) and set(shown) <= {0.0, 1.0} and frame["pass@1"].isna().any()


@pytest.mark.parametrize("color", ["leaves", "depth", "root", "class_size"])
def test_the_maps_can_be_coloured(panel, color):
    panel.controls["color"].value = color
    assert text(panel, "error").strip() == "" and color in panel.maps.maps["syntactic"].frame


def test_the_slow_measures_of_shift_are_behind_a_button(panel, monkeypatch):
    monkeypatch.setattr(views, "REPORT_SAMPLE", 200)
    assert "mmd" not in text(panel, "shift") and "energy" in text(panel, "shift")
    panel.buttons["measure"].click()
    assert "mmd" in text(panel, "shift") and "classifier auc" in text(panel, "shift")
    assert text(panel, "error").strip() == ""


# ---------------------------------------------------------------- errors


def test_an_error_appears_in_the_panel_and_the_controls_stay_alive(panel):
    set_all(panel, rule="cluster", num_held=300)
    assert "300 of 20 clusters" in text(panel, "error")
    assert panel.parts is None and panel.region is None and "no split: 300 of 20" in text(panel, "summary")
    assert set(colours(panel)) == {3}
    panel.controls["rule"].value = "quantile"
    assert text(panel, "error").strip() == "" and panel.split is not None


def test_unexpected_errors_are_shown_and_the_button_lives(panel, monkeypatch):
    monkeypatch.setattr(views, "support_split", lambda *_, **__: 1 / 0)
    panel.buttons["draw"].click()
    assert "ZeroDivisionError" in text(panel, "error") and not panel.buttons["draw"].disabled


def test_two_axes_differ(panel):
    set_all(panel, view=AXES_VIEW, axis_i=1)
    assert "choose two" in text(panel, "error")


def test_an_empty_region_is_refused_with_counts(panel, universe):
    panel.controls["view"].value = AXES_VIEW
    brush(panel, "syntactic", {"axis_0": [5.0, 6.0], "axis_1": [5.0, 6.0]})
    assert f"0 of {universe[0].num_programs:,} programs" in text(panel, "error") and panel.parts is None


# ---------------------------------------------------------------- saving


@pytest.mark.parametrize("rule", ["quantile", "root", "box", "cells", DENSITY])
def test_saving_audits_names_and_prints_lines_that_draw_the_same_split(panel, rule, monkeypatch, tmp_path):
    if rule == "box":
        panel.controls["view"].value = AXES_VIEW
        brush(panel, "semantic", {"axis_0": [-2.123456, 4.0], "axis_1": [-3.0, 3.0]})
    elif rule == "cells":
        brush(panel, "semantic", {"map_x": [-10.0, 4.0], "map_y": [-10.0, 10.0]})
    elif rule == DENSITY:
        set_all(panel, num_train=300, kind=DENSITY)
    else:
        panel.controls["rule"].value = rule
    panel.name.value = f"by-{rule}"
    panel.buttons["save"].click()
    assert text(panel, "error").strip() == ""
    assert "# saved as 'by-" in text(panel, "code") and panel.reproduce() in text(panel, "code")
    saved = panel.split.key
    assert Split.load(panel.store, f"by-{rule}").key == saved
    assert "before" not in text(panel, "code")
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path / "another"))
    names = {}
    exec(panel.reproduce(), names)
    assert len(panel.reproduce().splitlines()) <= 3
    assert names["split"].key == saved and np.array_equal(names["split"].train, panel.split.train)


def test_a_name_that_is_saved_again_says_what_it_meant_and_loses_nothing(panel):
    panel.controls["rule"].value = "root"
    panel.buttons["save"].click()
    first = panel.split.key
    panel.controls["rule"].value = "quantile"
    panel.buttons["save"].click()
    assert f"# that name meant split '{first}' before, which is stored under its key still" in text(panel, "code")
    assert Split.load(panel.store, "my-split").key == panel.split.key != first == Split.load(panel.store, first).key
    panel.buttons["save"].click()
    assert "before" not in text(panel, "code")


def test_a_saved_split_finds_its_verdict_again(universe, tmp_path):
    panel = SplitExplorer(*universe, Store(tmp_path))
    assert "no verdict yet" not in panel.verdict.text.value
    panel.buttons["save"].click()
    assert "no verdict yet" in panel.verdict.text.value
    again = SplitExplorer(*universe, Store(tmp_path))
    assert "no verdict yet" in again.verdict.text.value


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "../up", ""])
def test_hostile_names_are_refused_and_escaped(panel, name):
    panel.name.value = name
    panel.buttons["save"].click()
    assert "use up to 64" in text(panel, "error") and "<script" not in panel.texts["error"].value
    panel.buttons["export"].click()
    assert "use up to 64" in text(panel, "error")
    assert not panel.store.names("split")


def test_a_leaking_split_is_not_saved(panel):
    panel.split.train[0] = panel.split.tests["id"][0]
    panel.buttons["save"].click()
    assert "leaks" in text(panel, "error") and not panel.store.names("split")


def test_nothing_is_saved_without_a_split(panel):
    panel.controls["rule"].value = BRUSH
    panel.buttons["save"].click()
    assert "no split yet" in text(panel, "error") and not panel.store.names("split")


def test_program_texts_are_escaped():
    less = Operator(symbol="<", arity=2, meaning=lambda a, b: a + 2 * b, precedence=1)
    both = Operator(symbol="&", arity=2, meaning=lambda a, b: a * b, commutative=True, precedence=2)
    grammar = Grammar(name="b", variables=("x", "y"), constants=(1,), operators=(less, both), grid=Grid.regular(0, 0))
    corpus = build_corpus(grammar, 3)
    spaces = {"syntactic": fit_syntactic(corpus), "semantic": fit_semantic(corpus)}
    panel = SplitExplorer(corpus, spaces, {kind: fake_map(space, 50) for kind, space in spaces.items()})
    panel.controls["rule"].value = "root"
    examples = panel.texts["examples"].value
    assert "&lt;" in examples and "&amp;" in examples and " < " not in examples
    assert "root operator &lt;" in panel.texts["summary"].value


# ---------------------------------------------------------------- without a browser


def test_the_static_chart_shows_what_the_panel_shows(panel, tmp_path):
    panel.controls["rule"].value = "root"
    spec = panel.static().to_dict()
    assert spec["vconcat"][0]["title"]["text"] == "Held out: root operator +" and len(spec["vconcat"]) == 2
    panel.buttons["export"].click()
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"my-split.svg", "my-split.png", "my-split.json"} and "wrote" in text(panel, "code")
    panel.controls["rule"].value = BRUSH
    assert len(panel.static().to_dict()["vconcat"]) == 1


def test_it_displays_its_widget_and_a_picture_that_a_browser_takes_away(panel, monkeypatch):
    shown, updates = [], []

    class Handle:
        def update(self, content, raw):
            updates.append(content)

    def display(thing, display_id=False, raw=False, metadata=None):
        shown.append(thing)
        return Handle() if display_id else None

    monkeypatch.setattr("IPython.display.display", display)
    panel._ipython_display_()
    assert shown[0] is panel.widget and shown[1]["image/png"].startswith(b"\x89PNG") and updates == []
    panel.maps.maps["semantic"].live.local_tz = "Europe/Berlin"  # what a browser reports when it draws the map
    panel.maps.maps["syntactic"].live.local_tz = "Europe/Berlin"
    assert updates == [{"text/plain": ""}]
