"""A live map without a browser: what it draws, what its parameters say, and whom it tells of brush and click."""

import base64
import io
import json
import time

import altair as alt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from synthlab.errors import ConfigurationError
from synthlab.views import theme
from synthlab.views.explorer.maps import LiveMap, MapPoints
from synthlab.views.explorer.raster import bin_counts, density_url


def points(num=300, *, x_name="map_x", y_name="map_y", asked=None, **columns):
    """A disk of points; ``asked`` collects the rows that are described."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, num)).astype(np.float32)
    rows = np.arange(num) + 1000

    def describe(wanted):
        if asked is not None:
            asked.append(wanted)
        which = wanted - 1000
        table = {
            "program": [f"x + {w} < y, z" for w in wanted],
            "leaves": which % 5 + 1,
            "root": np.array(["+", "*", "x"])[which % 3],
            "class_size": which % 7,
        }
        return pd.DataFrame(table | {name: values[which] for name, values in columns.items()})

    unit = "(no units)" if x_name == "map_x" else ""
    return MapPoints(rows, x, y, f"first {unit}".strip(), f"second {unit}".strip(), x_name, y_name, describe)


@pytest.fixture
def live():
    shown = LiveMap("syntactic", "By what is written")
    shown.draw(points(), "part")
    return shown


def brush(live, bounds):
    live.live._vl_selections = {"brush": {"value": bounds, "store": []}}


def click(live, *place):
    live.live._params = live.live._params | {"place": [*place, time.time()]}


def csv_of(spec):
    return pd.read_csv(io.StringIO(spec["data"]["values"]))


# ---------------------------------------------------------------- drawing


def test_an_undrawn_map_has_a_widget_and_says_what_to_do():
    empty = LiveMap("semantic", "By what is computed")
    assert "synthlab-map-semantic" in empty.widget._dom_classes and empty.widget.layout.flex == "0 0 auto"
    empty.mark(None), empty.star(1.0, 2.0), empty.paint(np.empty(0, dtype=np.uint8))
    for ask in (empty.static, empty.zoom_out, lambda: empty.zoom_to({"map_x": (0, 1), "map_y": (0, 1)})):
        with pytest.raises(ConfigurationError, match="draw points first"):
            ask()
    empty.draw(points(), "leaves")
    assert empty.live.params.star == [1.0, 2.0]


def test_the_widget_works_offline_and_answers_once_per_drag(live):
    assert live.widget.children == (live.live,) and "esm.sh" not in live.live._esm
    assert (live.live.debounce_wait, live.live.max_wait) == (150, False)
    assert live.live.embed_options["renderer"] == "canvas"
    assert "finalize(); model.off('change:_params')" in live.live._esm


def test_every_point_is_drawn_with_what_is_known_of_it(live):
    assert np.array_equal(live.rows, points().rows)
    table = csv_of(live.live.spec)
    assert table["program"][3] == "x + 1003 < y, z" and np.array_equal(table["i"], np.arange(300))
    assert np.allclose(table["map_x"], points().x, atol=1e-5)
    assert live.live.spec["title"]["subtitle"] == "300 programs"
    assert not any(layer["mark"]["type"] == "image" for layer in live.live.spec["layer"])


def test_points_without_a_place_are_left_out():
    some = points()
    some.x[:100], some.y[50:120] = np.nan, np.inf
    live = LiveMap("semantic", "")
    live.draw(some, "part")
    assert np.array_equal(live.rows, some.rows[120:])
    assert np.isfinite(live.extent).all()


def test_only_axes_with_a_unit_have_numbers(live):
    assert live.live.spec["layer"][0]["encoding"]["x"]["axis"]["labels"] is False
    live.draw(points(x_name="axis_3", y_name="axis_5"), "part")
    encoding = live.live.spec["layer"][0]["encoding"]
    assert encoding["x"]["axis"]["labels"] is True and encoding["x"]["field"] == "axis_3"


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(theme, "MAX_POINTS", 50)


def test_of_many_points_a_sample_is_drawn_over_the_density_of_all(few):
    asked = []
    live = LiveMap("semantic", "many")
    live.draw(points(asked=asked), "root")
    assert len(live.rows) == 50 and np.array_equal(live.rows, np.unique(live.rows))
    assert [len(rows) for rows in asked] == [50]
    assert live.live.spec["title"]["subtitle"] == "50 of 300 functions drawn; grey: all of them"
    image = live.live.spec["layer"][0]["mark"]
    assert image["type"] == "image" and image["url"].startswith("data:image/png;base64,")
    again = LiveMap("semantic", "many")
    again.draw(points(), "root")
    assert np.array_equal(again.rows, live.rows)


def test_a_zoom_draws_more_of_what_lies_there_and_keeps_what_was_drawn(few):
    live, heard = LiveMap("syntactic", "many"), []
    live.on_brush(heard.append)
    live.draw(points(), "root")
    brush(live, {"map_x": [1.0, -0.5], "map_y": [-0.5, 0.5]})
    assert live.bounds == {"map_x": (-0.5, 1.0), "map_y": (-0.5, 0.5)} == heard[-1]
    there = (np.abs(points().y) <= 0.5) & (points().x >= -0.5) & (points().x <= 1)
    before = set(live.rows) & set(points().rows[there])
    live.zoom_to(live.bounds)
    assert before < set(live.rows) <= set(points().rows[there])
    assert live.extent == ((-0.5, 1.0), (-0.5, 0.5)) and live.bounds == {} and len(heard) == 1
    assert live.live.spec["title"]["subtitle"].startswith(f"50 of {there.sum()} programs in view drawn")
    live.zoom_out()
    assert live.live.spec["title"]["subtitle"].startswith("50 of 300 programs drawn")
    brush(live, {"map_x": [0.0, 1.0], "map_y": [0.0, 1.0]})
    assert len(heard) == 2


def test_what_cannot_be_drawn_is_refused_and_nothing_changes(live):
    before = live.live.spec, live.rows
    with pytest.raises(ConfigurationError, match="zoom out"):
        live.zoom_to({"map_x": (50.0, 51.0), "map_y": (50.0, 51.0)})
    for bounds in ({}, {"map_x": (0.0, 1.0)}, {"map_x": (1.0, 1.0), "map_y": (0.0, 1.0)}):
        with pytest.raises(ConfigurationError, match="drag over the map"):
            live.zoom_to(bounds)
    with pytest.raises(ConfigurationError, match="lacks hue"):
        live.draw(points(), "hue")
    assert live.live.spec is before[0] and live.rows is before[1]


def test_no_category_changes_its_colour_when_zoomed():
    live = LiveMap("semantic", "")
    place = np.where(points().x < 0, "left", "right")
    live.draw(points(status=place), "status")
    both = live.live.spec["layer"][0]["encoding"]["color"]["scale"]
    live.zoom_to({"map_x": (0.1, 1.0), "map_y": (-1.0, 1.0)})
    assert set(live.frame["status"]) == {"right"}
    assert live.live.spec["layer"][0]["encoding"]["color"]["scale"] == both


@pytest.mark.parametrize("color", ["share", "class_size"])
def test_points_without_a_quantity_are_grey(color):
    share = np.where(np.arange(300) % 2, np.nan, np.arange(300) / 300)
    live = LiveMap("semantic", "")
    live.draw(points(share=share), color)
    encoding = live.live.spec["layer"][0]["encoding"]["color"]
    assert encoding["value"] == theme.GREY and encoding["condition"]["field"] == "shade"
    table = csv_of(live.live.spec)
    assert table["shade"].notna().all() and table[color].isna().any()


def test_twenty_thousand_points_take_less_than_four_megabytes():
    live = LiveMap("syntactic", "")
    live.draw(points(theme.MAX_POINTS), "part")
    assert len(json.dumps(live.live.spec)) < 4_000_000


# ---------------------------------------------------------------- without a redraw


def test_paint_mark_and_star_change_parameters_and_not_the_picture(live):
    spec, codes = live.live.spec, np.arange(300) % 4
    live.paint(codes.astype(np.uint8))
    live.mark(codes == 2)
    live.star(np.float32(0.5), -1)
    assert live.live.params.parts[:6] == "012301" and live.live.params.marks[:6] == "001000"
    assert live.live.params.star == [0.5, -1.0] and live.live.spec is spec
    live.mark(np.zeros(300, dtype=bool))
    live.star(float("nan"), 1.0)
    assert live.live.params.marks == "" and live.live.params.star == []


@pytest.mark.parametrize("codes", [np.zeros(299), np.full(300, 4), np.full(300, -1)])
def test_codes_must_fit_the_drawn_rows(live, codes):
    with pytest.raises(ConfigurationError, match="0 to 3 for each of 300"):
        live.paint(codes)
    with pytest.raises(ConfigurationError, match="300 drawn rows"):
        live.mark(np.ones(299, dtype=bool))


def test_a_redraw_keeps_colours_of_the_same_rows_and_the_star(live):
    live.paint(np.ones(300, dtype=np.uint8))
    live.mark(np.arange(300) < 5)
    live.star(1, 1)
    live.draw(points(), "part")
    assert live.live.params.parts == "1" * 300 and live.live.params.marks == "" and live.live.params.star == [1, 1]
    live.zoom_to({"map_x": (0.0, 1.0), "map_y": (0.0, 1.0)})
    assert live.live.params.parts == "3" * len(live.rows)
    live.paint(np.zeros(len(live.rows), dtype=np.uint8))
    assert live.live.params.parts == "0" * len(live.rows)


def test_a_browser_that_draws_anew_is_told_what_holds_now(live):
    live.paint(np.ones(300, dtype=np.uint8))
    for _ in range(2):
        live.live._params = {"parts": "3" * 300, "marks": "1" * 300, "star": [1, 2], "place": []}
        now = live.live.params
        assert now.parts == "1" * 300 == live.live._params["parts"] and now.marks == "" and now.star == []
        live.draw(points(), "leaves")


# ---------------------------------------------------------------- what the user does


def test_brushes_are_heard_after_every_redraw(live):
    heard = []
    live.on_brush(heard.append)
    for view in (points(), points(x_name="axis_0", y_name="axis_4"), points()):
        live.draw(view, "part")
        brush(live, {view.x_name: [1.0, -2.0], view.y_name: [0.0, 3.0]})
        brush(live, {})
        assert heard[-2:] == [{view.x_name: (-2.0, 1.0), view.y_name: (0.0, 3.0)}, {}]
        brush(live, None)
    assert len(heard) == 6


def test_a_click_picks_the_nearest_point_and_an_empty_one_nothing(live):
    picked, heard = [], []
    live.on_pick(picked.append), live.on_brush(heard.append)
    for row in (7, 7, 200):
        click(live, float(live.frame["map_x"][row]) + 1e-4, float(live.frame["map_y"][row]))
    assert picked == [1007, 1007, 1200]
    click(live, *(float(ends[1]) for ends in live.extent))
    live.live._params = live.live._params | {"place": None}
    live.live._params = live.live._params | {"place": []}
    assert len(picked) == 3 and not heard
    live.zoom_to({"map_x": (0.0, 1.0), "map_y": (0.0, 1.0)})
    click(live, float(live.frame["map_x"][0]), float(live.frame["map_y"][0]))
    assert picked[-1] == live.rows[0]


def test_it_says_when_a_browser_shows_it():
    live, shown = LiveMap("semantic", ""), []
    live.on_shown(shown.append)
    live.draw(points(), "part")
    live.on_shown(lambda change: shown.append(change))
    assert not shown
    live.live.local_tz = "Europe/Oslo"
    assert len(shown) == 2


# ---------------------------------------------------------------- pictures


def test_the_static_picture_shows_what_the_live_one_shows(live, tmp_path):
    live.paint(np.arange(300) % 4)
    live.star(0, 0)
    plain = live.static().to_dict()
    assert "params" not in plain and live.static().config is alt.Undefined
    assert csv_of(plain)["part"][:3].tolist() == list(theme.REGION_PARTS[:3])
    live.mark(np.arange(300) == 1)
    assert csv_of(live.static().to_dict())["is_marked"].sum() == 1
    pair = alt.hconcat(live.static(), live.static())
    pair.save(tmp_path / "pair.png")
    pixels = np.asarray(Image.open(tmp_path / "pair.png").convert("RGB")).reshape(-1, 3)
    red, yellow = (tuple(bytes.fromhex(c[1:])) for c in (theme.RED, theme.YELLOW))
    assert {red, yellow} <= {tuple(p) for p in np.unique(pixels, axis=0).tolist()}


def test_cells_hold_the_points_that_a_histogram_counts():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 5000))
    x[:10], y[10:20] = np.nan, np.inf
    extent = ((-1.0, 2.0), (-1.5, 1.0))
    counts = bin_counts(x, y, extent, (6, 9))
    expected, *_ = np.histogram2d(y, x, bins=(6, 9), range=extent[::-1])
    assert np.array_equal(counts, expected)
    assert bin_counts(np.array([2.0]), np.array([1.0]), extent, (6, 9))[5, 8] == 1
    assert not bin_counts(x[:10], y[:10], extent, (2, 2)).any()


def test_density_is_darker_where_more_lie_and_transparent_where_none_do():
    url = density_url(np.array([[0, 1], [10, 1000]]))
    image = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    alpha = np.asarray(image)[::-1, :, 1].astype(int)
    assert alpha[0, 0] == 0 < alpha[0, 1] < alpha[1, 0] < alpha[1, 1] < 255
    assert density_url(np.zeros((2, 2), dtype=int)).startswith("data:")
