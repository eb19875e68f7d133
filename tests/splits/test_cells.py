"""Cells, and draws from them whose numbers follow a dial."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import ConfigurationError
from synthlab.splits.cells import draw_from_cells, farthest_points, quotas, space_cells


def is_even(drawn, available):
    """Whether counts differ by at most one, but for cells that gave all they have."""
    open_cells = [drawn[c] for c in available if drawn[c] < available[c]]
    most = max(drawn.values(), default=0)
    return all(most - n <= 1 for n in open_cells)


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(0, 70), st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_draws_are_even_over_cells_and_never_repeat(cells, num, seed):
    cells = np.array(cells, dtype=np.int64) * 1000 - 7
    drawn = draw_from_cells(cells, num, np.random.default_rng(seed))
    assert len(drawn) == len(set(drawn.tolist())) == min(num, len(cells))
    assert is_even(Counter(cells[drawn].tolist()), Counter(cells.tolist()))


def test_draws_are_seeded_and_reach_everything():
    cells = np.array([0] * 50 + [1] * 3)
    first, again, other = (draw_from_cells(cells, 10, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    seen = {int(k) for s in range(200) for k in draw_from_cells(cells, 10, np.random.default_rng(s))}
    assert seen == set(range(53))


def test_a_short_draw_chooses_cells_and_items_without_preference():
    sizes = np.repeat(np.arange(4), [1, 2, 3, 10])
    draws = [draw_from_cells(sizes, 1, np.random.default_rng(s))[0] for s in range(400)]
    cells = Counter(sizes[draws].tolist())
    assert all(60 < cells[c] < 140 for c in range(4))


@pytest.mark.parametrize("concentration", [0.0, 0.5, 1.0, 1.5])
def test_numbers_follow_a_power_of_the_cells_sizes(concentration):
    sizes = np.array([100, 400, 1600, 6400])
    cells = np.repeat(np.arange(4), sizes)
    drawn = np.bincount(cells[draw_from_cells(cells, 200, np.random.default_rng(3), concentration=concentration)])
    weights = sizes.astype(float) ** concentration
    np.testing.assert_allclose(drawn, 200 * weights / weights.sum(), atol=1.01)


def test_the_dial_leads_from_even_to_concentrated():
    generator = np.random.default_rng(0)
    cells = np.repeat(np.arange(30), generator.integers(50, 2000, 30))

    def entropy(concentration):
        counts = np.bincount(cells[draw_from_cells(cells, 600, generator, concentration=concentration)])
        shares = counts[counts > 0] / counts.sum()
        return -(shares * np.log(shares)).sum()

    found = [entropy(c) for c in (0, 0.5, 1, 2, 4)]
    assert found[0] == pytest.approx(np.log(30), abs=1e-3)
    assert all(a > b for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("concentration", [-1.0, np.nan, np.inf])
def test_a_dial_without_meaning_is_refused(concentration):
    with pytest.raises(ConfigurationError, match="use 0"):
        draw_from_cells(np.zeros(5), 2, np.random.default_rng(0), concentration=concentration)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.data())
@settings(max_examples=200, deadline=None)
def test_quotas_are_proportional_whole_and_within_the_counts(counts, data):
    counts = np.array(counts)
    num = data.draw(st.integers(0, int(counts.sum())))
    found = quotas(counts, num)
    assert found.sum() == num and (found >= 0).all() and (found <= counts).all()
    assert (np.abs(found - counts * num / max(1, counts.sum())) < 1).all()


# ---------------------------------------------------------------- cells of a space


@pytest.mark.parametrize("kind", ["kmeans", "grid", "farthest"])
@pytest.mark.parametrize("space", ["syntactic", "semantic"])
def test_cells_are_functions_of_the_vector(corpus4, spaces4, kind, space):
    ids = np.arange(0, corpus4.num_programs, 20)
    rows = ids if space == "syntactic" else corpus4.class_index[ids]
    cells = space_cells(corpus4, spaces4[space], ids, num_cells=16, seed=0, kind=kind)
    assert 4 < len(np.unique(cells)) <= 16
    places, vectors = {}, np.round(spaces4[space].coordinates[rows], 4).tolist()
    alike = [
        places.setdefault(tuple(vector), cell) == cell for cell, vector in zip(cells.tolist(), vectors, strict=True)
    ]
    assert np.mean(alike) > 0.99  # rounding decides where a place is as near to one centre as to another
    assert np.array_equal(cells, space_cells(corpus4, spaces4[space], ids, num_cells=16, seed=0, kind=kind))


def test_grid_cells_are_intervals_of_both_leading_axes(corpus4, spaces4):
    ids = np.arange(0, corpus4.num_programs, 20)
    cells = space_cells(corpus4, spaces4["syntactic"], ids, num_cells=9, seed=0, kind="grid")
    places = spaces4["syntactic"].coordinates[ids]
    for axis, interval in ((0, cells // 3), (1, cells % 3)):
        ends = [(places[interval == k, axis].min(), places[interval == k, axis].max()) for k in range(3)]
        assert all(below[1] <= above[0] for below, above in itertools.pairwise(ends))


def test_farthest_points_are_the_greedy_choice_and_within_twice_the_best_radius():
    points = np.random.default_rng(1).normal(size=(9, 2))
    chosen = farthest_points(points, 3, seed=4)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    for k in (1, 2):
        assert chosen[k] == distances[:, chosen[:k]].min(axis=1).argmax()
    radius = distances[:, chosen].min(axis=1).max()
    import itertools

    best = min(distances[:, list(c)].min(axis=1).max() for c in itertools.combinations(range(9), 3))
    assert best <= radius <= 2 * best + 1e-12


def test_fewer_vectors_than_cells_is_no_problem(corpus4, spaces4):
    for kind in ("kmeans", "grid", "farthest"):
        cells = space_cells(corpus4, spaces4["syntactic"], np.arange(4), num_cells=50, seed=0, kind=kind)
        assert len(np.unique(cells)) <= 4


def test_unknown_cells_are_refused(corpus4, spaces4):
    with pytest.raises(ConfigurationError, match="kmeans, grid, farthest"):
        space_cells(corpus4, spaces4["semantic"], np.arange(9), num_cells=3, seed=0, kind="hexagons")
