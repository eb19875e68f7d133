"""The split explorer without a browser: widgets are set, handlers fire, the panel's HTML is read."""

import html

import altair as alt
import numpy as np
import pytest

from synthlab.language.grammar import Grammar, Grid
from synthlab.language.operator import Operator
from synthlab.spaces.projection import Projection, umap_settings
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.regions import programs_in
from synthlab.splits.split import Split
from synthlab.splits.support import support_split
from synthlab.store import Store
from synthlab.universe.corpus import build_corpus
from synthlab.views import explorer as views
from synthlab.views.explorer import AXES_VIEW, SplitExplorer, class_parts


def fake_map(space, num=200):
    """A map without UMAP, whose places are the first two axes times ten."""
    rows = np.sort(np.random.default_rng(0).permutation(len(space.coordinates))[:num])
    return Projection(space.key, umap_settings(num), rows, 10 * space.coordinates[rows, :2])


@pytest.fixture(scope="module")
def universe(corpus4, spaces4):
    return corpus4, spaces4, {kind: fake_map(space) for kind, space in spaces4.items()}


@pytest.fixture
def panel(universe, tmp_path):
    return SplitExplorer(*universe, Store(tmp_path))


def text(panel, name):
    return html.unescape(panel.texts[name].value)


def brush(panel, kind, value):
    panel.maps[kind]._vl_selections = {"brush": {"value": value, "store": []}}


def test_the_panel_opens_with_a_split_and_its_counts(panel, universe):
    assert panel.split.key == support_split(universe[0], universe[1], panel.split.settings).key
    assert f"forced@4    {len(panel.split.tests['forced']):,} functions" in text(panel, "summary")
    assert panel.texts["summary"].value.startswith('<pre id="summary">')
    assert panel.texts["error"].value.startswith('<pre id="error"')
    assert alt.JupyterChart._is_offline
    assert all(m.debounce_wait == 150 and m.max_wait is False for m in panel.maps.values())


def test_a_change_moves_split_counts_examples_sizes_and_colours(panel):
    before = panel.split.key, text(panel, "summary"), text(panel, "examples"), panel.histogram.spec
    colours = {kind: m.params.parts for kind, m in panel.maps.items()}
    panel.controls["quantile"].value = 0.5
    after = panel.split.key, text(panel, "summary"), text(panel, "examples"), panel.histogram.spec
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert all(m.params.parts != colours[kind] for kind, m in panel.maps.items())
    assert panel.region.quantile == 0.5


def test_colours_are_the_parts_of_the_split(panel, universe):
    corpus, _, projections = universe
    panel.controls["rule"].value, panel.controls["root"].value = "root", "*"
    held_out = panel.split.held_out(corpus.num_programs)[projections["syntactic"].rows]
    assert np.array_equal(np.array(list(panel.maps["syntactic"].params.parts)) == "1", held_out)
    parts = class_parts(corpus, panel.split)
    assert set(np.flatnonzero(parts == "held out")) >= set(corpus.class_rows(panel.split.tests["forced"]))
    assert (parts[corpus.class_rows(panel.split.tests["id"])] == "reserved").all()


def test_a_map_drawn_anew_is_told_the_present_parts(panel):
    stale = "3" * len(panel.maps["syntactic"].params.parts)
    panel.maps["syntactic"]._params = {"parts": stale}
    assert panel.maps["syntactic"].params.parts == panel._digits("syntactic") != stale


@pytest.mark.parametrize(("rule", "shown"), list(views._RULE_CONTROLS.items()))
def test_only_the_controls_of_the_rule_are_shown(panel, rule, shown):
    panel.controls["rule"].value = rule
    names = [n for n in views._REGION_CONTROLS[1:] if panel.controls[n].layout.display != "none"]
    assert names == list(shown)


def test_a_brush_on_axes_is_a_region(panel, universe):
    corpus, spaces, _ = universe
    panel.controls["view"].value = AXES_VIEW
    brush(panel, "semantic", {"axis_0": [4.0, -2.0], "axis_1": [-3.0, 3.0]})
    assert panel.region.rule == "box" and panel.region.space == "semantic"
    assert panel.region.box == ((0, -2.0, 4.0), (1, -3.0, 3.0))
    inside = programs_in(panel.region, corpus, spaces)
    assert len(panel.brushed) and inside[panel.brushed].all()
    assert np.array_equal(panel.split.held_out(corpus.num_programs), inside)
    first = panel.split.key
    brush(panel, "syntactic", {"axis_0": [0.2, 0.27], "axis_1": [-1.0, 0.1]})
    assert panel.region.space == "syntactic" and panel.split.key != first
    brush(panel, "syntactic", {})
    assert panel.split is not None and len(panel.brushed) == 0


def test_a_brush_on_a_map_only_shows_what_lies_under_it(panel):
    key = panel.split.key
    brush(panel, "syntactic", {"map_x": [-10.0, 10.0], "map_y": [-10.0, 10.0]})
    assert len(panel.brushed) == 200 and panel.split.key == key and panel.region.rule == "quantile"
    assert "under the brush: 200 drawn programs" in text(panel, "brushed")


def test_brushes_still_work_after_the_view_changed_twice(panel):
    panel.controls["view"].value = AXES_VIEW
    panel.controls["axis_j"].value = 3
    assert {"axis_0", "axis_3"} <= set(next(iter(panel.maps["semantic"].spec["datasets"].values()))[0])
    brush(panel, "semantic", {"axis_0": [-2.0, 4.0], "axis_3": [-1.0, 1.0]})
    assert panel.region.box == ((0, -2.0, 4.0), (3, -1.0, 1.0))


def test_an_error_appears_in_the_panel_and_the_controls_stay_alive(panel):
    panel.controls["rule"].value = "cluster"
    panel.controls["num_held"].value = 300
    assert "300 of 20 clusters" in text(panel, "error")
    assert panel.split is None and panel.region is None and "no split: 300 of 20" in text(panel, "summary")
    assert set(panel.maps["syntactic"].params.parts) == {"3"}
    panel.controls["rule"].value = "quantile"
    assert panel.texts["error"].value.endswith("></pre>") and panel.split is not None


def test_unexpected_errors_are_shown_too(panel, monkeypatch):
    monkeypatch.setattr(views.support, "support_split", lambda *_, **__: 1 / 0)
    panel.controls["seed"].value = 3
    assert "ZeroDivisionError" in text(panel, "error") and panel.split is None


def test_a_box_needs_a_brush_and_two_axes_differ(panel):
    panel.controls["rule"].value = "box"
    assert "no box yet" in text(panel, "error")
    panel.controls["axis_i"].value = 1
    assert "choose two" in text(panel, "error")


def test_an_empty_region_is_refused_with_counts(panel, universe):
    panel.controls["view"].value = AXES_VIEW
    brush(panel, "syntactic", {"axis_0": [5.0, 6.0], "axis_1": [5.0, 6.0]})
    assert f"0 of {universe[0].num_programs:,} programs" in text(panel, "error") and panel.split is None


@pytest.mark.parametrize("rule", ["quantile", "root", "box"])
def test_saving_audits_names_and_prints_lines_that_draw_the_same_split(panel, rule):
    if rule == "box":
        panel.controls["view"].value = AXES_VIEW
        brush(panel, "semantic", {"axis_0": [-2.123456, 4.0], "axis_1": [-3.0, 3.0]})
    panel.controls["rule"].value = rule
    panel.name.value = f"by-{rule}"
    panel._save()
    assert text(panel, "error").endswith("></pre>")
    assert "# saved as 'by-" in text(panel, "code") and panel.reproduce() in text(panel, "code")
    assert Split.load(panel.store, f"by-{rule}").key == panel.split.key
    names = {"corpus": panel.corpus, "spaces": panel.spaces}
    exec(
        "\n".join(line for line in panel.reproduce().splitlines() if "fit_" not in line and "build_" not in line), names
    )
    assert names["split"].key == panel.split.key
    assert np.array_equal(names["split"].train, panel.split.train)


def test_the_printed_lines_need_nothing_else(corpus3):
    spaces = {"syntactic": fit_syntactic(corpus3, num_axes=8), "semantic": fit_semantic(corpus3, num_axes=8)}
    panel = SplitExplorer(corpus3, spaces, {kind: fake_map(space) for kind, space in spaces.items()})
    panel.controls["rule"].value = "cluster"
    names = {}
    exec(panel.reproduce(), names)
    assert names["split"].key == panel.split.key
    assert np.array_equal(names["split"].train, panel.split.train)
    assert all(names["spaces"][kind].key == space.key for kind, space in spaces.items())


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "../up", ""])
def test_hostile_names_are_refused_and_escaped(panel, name):
    panel.name.value = name
    panel._save()
    assert "use up to 64" in text(panel, "error") and "<script" not in panel.texts["error"].value
    assert not panel.store.names("split")


def test_a_leaking_split_is_not_saved(panel):
    panel.split.train[0] = panel.split.tests["id"][0]
    panel._save()
    assert "leaks" in text(panel, "error") and not panel.store.names("split")


def test_nothing_is_saved_without_a_split(panel):
    panel.controls["rule"].value = "box"
    panel._save()
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
    assert "&lt;" in examples and "&amp;" in examples
    assert "<" not in examples.removeprefix('<pre id="examples">').removesuffix("</pre>")
    assert "root operator &lt;" in panel.texts["summary"].value


def test_the_static_chart_shows_what_the_panel_shows(panel, tmp_path):
    panel.controls["rule"].value = "root"
    spec = panel.static().to_dict()
    maps, sizes = spec["vconcat"]
    assert maps["title"]["text"] == "Held out: root operator +"
    rows = spec["datasets"][maps["hconcat"][0]["data"]["name"]]
    assert {r["root"] for r in rows if r["part"] == "held out"} == {"+"} and "spec" in sizes
    panel.static().save(tmp_path / "panel.png")
    panel.controls["rule"].value = "box"
    assert len(panel.static().to_dict()["vconcat"]) == 1


def test_it_displays_its_widget(panel, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    panel._ipython_display_()
    assert shown == [panel.widget]
