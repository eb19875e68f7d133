"""Brushes as regions: what is held follows the brush, and anybody can draw it again."""

import numpy as np
import pytest

from synthlab.errors import ConfigurationError
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.boundaries import num_places
from synthlab.splits.brushing import box_under, cells_under, fit_of
from synthlab.splits.preview import Preview
from synthlab.splits.regions import Region, hold_out


@pytest.fixture(scope="module")
def preview(corpus3):
    return Preview(corpus3, {"syntactic": fit_syntactic(corpus3), "semantic": fit_semantic(corpus3)})


@pytest.fixture(scope="module", params=["syntactic", "semantic"])
def drawn(request, preview):
    """A space, some of its rows in the order of a map, and a brush over the upper third of an axis."""
    coordinates = preview.spaces[request.param].coordinates
    num_drawn = 800 if request.param == "syntactic" else len(coordinates)
    rows = np.random.default_rng(1).permutation(len(coordinates))[:num_drawn]
    values = coordinates[rows, 2]
    return request.param, rows, values > np.quantile(values, 0.67)


def test_cells_are_held_where_more_than_half_of_their_drawn_rows_are_brushed(preview, drawn):
    name, rows, brushed = drawn
    region = cells_under(preview, name, rows, brushed, num_cells=12, seed=3)
    labels = preview.cluster_labels(name, 12, 3)
    expected = [c for c in range(12) if 2 * (brushed & (labels[rows] == c)).sum() > (labels[rows] == c).sum()]
    assert region == Region(space=name, rule="cluster", num_clusters=12, seed=3, held=tuple(expected))


def test_the_region_can_be_drawn_again_from_its_settings(preview, drawn):
    name, rows, brushed = drawn
    region = Region(**cells_under(preview, name, rows, brushed, num_cells=12).settings())
    again = hold_out(region, preview.corpus, preview.spaces)
    assert np.array_equal(again.inside, preview.held(region).inside)


def test_half_of_a_cell_is_not_most_of_it(preview):
    labels = preview.cluster_labels("syntactic", 3, 0)
    rows = np.concatenate([np.flatnonzero(labels == cell)[:4] for cell in range(3)])
    brushed = np.array([1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
    assert cells_under(preview, "syntactic", rows, brushed, num_cells=3).held == (1,)


def test_there_are_no_more_cells_than_places(preview, drawn):
    name, rows, brushed = drawn
    places = num_places(preview.spaces[name], 0)
    assert cells_under(preview, name, rows, brushed, num_cells=10**6).num_clusters == places


def test_the_fit_counts_what_brush_and_region_share(preview, drawn):
    name, rows, brushed = drawn
    region = cells_under(preview, name, rows, brushed, num_cells=60)
    held = np.isin(preview.cluster_labels(name, 60, 0)[rows], region.held)
    fit = fit_of(preview, region, name, rows, brushed)
    assert (fit.num_brushed, fit.num_held) == (brushed.sum(), held.sum())
    assert fit.recall == (held & brushed).sum() / brushed.sum() > 0.5
    assert fit.precision == (held & brushed).sum() / held.sum() > 0.5


def test_the_more_cells_the_closer_the_fit(preview):
    values = preview.spaces["syntactic"].coordinates
    rows = np.arange(len(values))
    brushed = np.hypot(values[:, 0] - 0.2, values[:, 1]) < 0.3  # a lasso is a mask like any other
    coarse, fine = (
        fit_of(preview, cells_under(preview, "syntactic", rows, brushed, num_cells=n), "syntactic", rows, brushed)
        for n in (15, 200)
    )
    assert fine.recall + fine.precision > coarse.recall + coarse.precision


def test_the_fit_of_a_region_of_texts_is_that_of_the_drawn_programs(preview, corpus3):
    rows = np.arange(0, corpus3.num_programs, 3)
    root = corpus3.root[rows] == corpus3.grammar.index["*"]
    fit = fit_of(preview, Region(rule="root", root="*"), "syntactic", rows, root)
    assert (fit.recall, fit.precision) == (1, 1)
    nothing = fit_of(preview, Region(rule="size", size=9), "syntactic", rows, root)
    assert nothing.recall == 0 and np.isnan(nothing.precision)


@pytest.mark.parametrize(
    ("share", "message"), [(0, "nothing is brushed"), (0.001, "none of 4 cells"), (1, "all 4 cells")]
)
def test_brushes_that_mean_no_region_are_refused(preview, share, message):
    rows = np.arange(preview.corpus.num_programs)
    brushed = rows < share * len(rows)
    with pytest.raises(ConfigurationError, match=message):
        cells_under(preview, "syntactic", rows, brushed, num_cells=4)


def test_an_empty_brush_fits_nothing(preview):
    with pytest.raises(ConfigurationError, match="nothing is brushed"):
        fit_of(preview, Region(), "syntactic", np.arange(5), np.zeros(5, dtype=bool))


def test_unknown_spaces_are_refused(preview):
    with pytest.raises(ConfigurationError, match="no space 'shape'"):
        cells_under(preview, "shape", np.arange(5), np.ones(5, dtype=bool))


def test_a_rectangle_on_axes_is_a_box(preview):
    region = box_under("semantic", {"axis_0": (0.123456, -1.0), "axis_12": (np.float64(2.00004), 3)})
    assert region == Region(space="semantic", rule="box", box=((0, -1.0, 0.1235), (12, 2.0, 3.0)))
    assert all(type(end) is float for _, *ends in region.box for end in ends)
    values = preview.spaces["syntactic"].coordinates
    inside = preview.held(box_under("syntactic", {"axis_1": (0.0, 0.25)})).inside
    assert np.array_equal(inside, (values[:, 1] >= 0) & (values[:, 1] <= 0.25))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "nothing is brushed: drag over a map"),
        ({"map_x": (0, 1), "map_y": (0, 1)}, "map_x, map_y: a box needs axes of a space"),
        ({"axis_0": (0, 1), "axis_": (0, 1)}, "axis_0, axis_: a box needs axes"),
    ],
)
def test_rectangles_that_are_no_boxes_are_refused(bounds, message):
    with pytest.raises(ConfigurationError, match=message):
        box_under("semantic", bounds)
