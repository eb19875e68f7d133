"""A map by jupyter-scatter without a browser; skipped by name where that library is not installed."""

import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest

from synthlab.errors import ConfigurationError
from synthlab.views import theme
from synthlab.views.explorer import scatter as views
from synthlab.views.explorer.maps import MapPoints
from synthlab.views.explorer.scatter import ScatterMap

needs_library = pytest.mark.skipif(importlib.util.find_spec("jscatter") is None, reason="jscatter is not installed")


def points(num=300):
    def describe(rows):
        return pd.DataFrame({"program": "x", "leaves": rows % 5, "root": np.array(["+", "*"])[rows % 2]})

    x, y = np.random.default_rng(0).normal(size=(2, num))
    return MapPoints(np.arange(num) + 10, x, y, "axis 0", "axis 1", "axis_0", "axis_1", describe)


@pytest.fixture
def shown():
    shown = ScatterMap("semantic", "<b> computed")
    shown.draw(points(), "part")
    return shown


def drawn(shown):
    return shown.widget.children[-1]


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jscatter", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'synthlab\[scatter\]'"):
        ScatterMap("semantic", "")


@needs_library
def test_every_point_is_drawn_and_painted_without_a_redraw(shown):
    assert np.array_equal(shown.rows, points().rows) and "&lt;b&gt;" in shown.heading.value
    first = drawn(shown)
    assert (first.points[:, 2] == 3).all() and len(first.color) == 4
    shown.paint(np.arange(300) % 4)
    assert drawn(shown) is first and np.array_equal(first.points[:, 2], np.arange(300) % 4)
    for name in theme.REGION_PARTS:
        assert name in shown.legend.value


@needs_library
def test_one_selected_point_is_a_pick_more_are_a_lasso_none_clears(shown):
    picks, lassos, brushes = [], [], []
    shown.on_pick(picks.append), shown.on_lasso(lassos.append), shown.on_brush(brushes.append)
    for _ in range(2):
        drawn(shown).selection = np.array([7], dtype=np.uint32)
        drawn(shown).selection = np.array([9, 4, 200], dtype=np.uint32)
        drawn(shown).selection = np.array([], dtype=np.uint32)
        shown.draw(points(), "leaves")
    assert picks == [17, 17] and [rows.tolist() for rows in lassos] == 2 * [[14, 19, 210]] and brushes == [{}, {}]


@needs_library
def test_other_colours_are_drawn_of_the_same_points(shown):
    shown.recolor("leaves")
    assert shown.color == "leaves" and np.array_equal(shown.rows, points().rows)


@needs_library
def test_what_the_kernel_selects_is_no_lasso(shown):
    heard = []
    shown.on_lasso(heard.append), shown.on_brush(heard.append)
    shown.mark(np.arange(300) < 5)
    assert drawn(shown).selection.tolist() == [0, 1, 2, 3, 4]
    shown.mark(None)
    assert len(drawn(shown).selection) == 0 and not heard


@needs_library
def test_it_says_when_a_browser_shows_it(shown):
    heard = []
    shown.on_shown(heard.append)
    drawn(shown).camera_view = [1.0] * 16
    assert len(heard) == 1


@needs_library
def test_the_star_is_a_cross_that_outlasts_a_redraw(shown):
    shown.star(0.5, 0.25)
    assert len(drawn(shown).annotations) == 2
    shown.draw(points(), "root")
    assert len(drawn(shown).annotations) == 2
    shown.star(float("nan"), 1.0)
    assert not drawn(shown).annotations


@needs_library
def test_many_points_are_sampled(monkeypatch):
    monkeypatch.setattr(views, "MAX_SCATTERED", 100)
    monkeypatch.setattr(theme, "MAX_POINTS", 20)
    shown = ScatterMap("syntactic", "")
    shown.draw(points(), "part")
    assert len(shown.rows) == 100 and "100 of 300" in shown.heading.value
    shown.draw(points(), "leaves", ((-1.0, 1.0), (-1.0, 1.0)))
    assert len(shown.rows) == 20 and shown.extent == ((-1.0, 1.0), (-1.0, 1.0))


@needs_library
def test_the_static_picture_is_that_of_a_live_map(shown):
    shown.paint(np.ones(300, dtype=np.uint8))
    shown.mark(np.arange(300) == 3)
    shown.star(0.0, 0.0)
    text = shown.static().to_dict()["data"]["values"]
    assert text.count("held out") == 300


@needs_library
def test_the_camera_zooms(shown):
    shown.zoom_to({"axis_0": (0.0, 1.0), "axis_1": (0.0, 1.0)})
    assert len(drawn(shown).zoom_to)
    shown.zoom_out()
    for bounds in ({}, {"axis_0": (50.0, 51.0), "axis_1": (0.0, 1.0)}):
        with pytest.raises(ConfigurationError, match="mouse wheel"):
            shown.zoom_to(bounds)


@needs_library
def test_what_does_not_fit_is_refused(shown):
    with pytest.raises(ConfigurationError, match="0 to 3"):
        shown.paint(np.full(300, 4))
    with pytest.raises(ConfigurationError, match="300 drawn rows"):
        shown.mark(np.ones(2, dtype=bool))
    with pytest.raises(ConfigurationError, match="lacks hue"):
        shown.draw(points(), "hue")
    with pytest.raises(ConfigurationError, match="zoom out"):
        shown.draw(points(), "part", ((90.0, 91.0), (0.0, 1.0)))
    with pytest.raises(ConfigurationError, match="draw points first"):
        ScatterMap("semantic", "").zoom_out()
