"""Neighbours are exact, samples are fair to small strata, and only vectors that differ are searched."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from synthlab.errors import ConfigurationError
from synthlab.spaces import neighbors as module
from synthlab.spaces.neighbors import (
    Neighbors,
    distinct_vectors,
    find_neighbors,
    nearest,
    sample_sizes,
    stratified_sample,
)
from synthlab.spaces.projection import program_strata


@pytest.fixture
def tiny_blocks(monkeypatch):
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 7)


@pytest.fixture
def scattered(spaces4):
    """A space of 200 random vectors, each three times, and 40 rows without a place."""
    values = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    rows = np.concatenate([values, values, np.full((40, 6), np.nan), values]).astype(np.float32)
    return replace(spaces4["semantic"], coordinates=rows)


@pytest.mark.usefixtures("tiny_blocks")
def test_nearest_points_are_those_of_all_distances():
    generator = np.random.default_rng(1)
    queries, points = (generator.normal(size=(num, 5)).astype(np.float32) for num in (40, 30))
    indices, distances = nearest(queries, points, 4)
    exact = cdist(queries, points)
    assert np.array_equal(indices, np.argsort(exact, axis=1)[:, :4])
    assert np.allclose(distances, np.sort(exact, axis=1)[:, :4], atol=1e-6)


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_and_anchors_are_exact_in_the_metric(scattered, metric):
    found = find_neighbors(scattered, num_points=None, num_fit=80, neighbors=9, metric=metric)
    vectors = scattered.coordinates[found.vector_rows].astype(np.float64)
    exact = cdist(vectors, vectors[:80], metric)
    assert (len(vectors), found.num_fitted, found.anchors.shape) == (200, 80, (120, 5))
    assert np.array_equal(found.indices, np.argsort(exact[:80], axis=1)[:, :9])
    assert np.allclose(found.distances, np.sort(exact[:80], axis=1)[:, :9], atol=1e-5)
    assert (found.distances[:, 0] == 0).all()
    assert np.array_equal(found.anchors, np.argsort(exact[80:], axis=1)[:, :5])
    assert np.allclose(found.anchor_distances, np.sort(exact[80:], axis=1)[:, :5], atol=1e-5)


def test_every_row_with_a_place_is_shown_and_knows_its_vector(scattered):
    found = find_neighbors(scattered, num_points=None, num_fit=80, neighbors=9)
    assert found.rows.tolist() == [*range(400), *range(440, 640)]
    assert np.array_equal(scattered.coordinates[found.vector_rows[found.vector]], scattered.coordinates[found.rows])
    assert set(found.vector_rows) == set(range(200))  # the least row stands for its vector
    assert sorted(found.rows[found.fitted]) == sorted(found.fitted_rows) and found.fitted.sum() == 80


def test_a_number_of_points_shows_so_many_distinct_vectors(scattered):
    found = find_neighbors(scattered, num_points=120, num_fit=500, neighbors=9)
    assert len(found.rows) == 120 and found.fitted.all() and found.anchors.shape == (0, 5)
    assert (np.diff(found.rows) > 0).all() and found.rows.max() < 200
    assert np.array_equal(found.vector_rows[found.vector], found.rows)
    assert len(find_neighbors(scattered, num_points=5000, num_fit=500, neighbors=9).rows) == 200


def test_vectors_without_a_direction_have_no_cosine_neighbours(scattered):
    scattered.coordinates[5::200][:2] = 0
    found = find_neighbors(scattered, num_points=None, num_fit=80, neighbors=9, metric="cosine")
    assert not {5, 205} & set(found.rows) and len(found.rows) == 598


def test_a_point_is_its_own_first_neighbour_even_where_others_are_as_near(spaces4):
    values = 1 + np.arange(20, dtype=np.float32)[:, None] * np.float32(2e-4) * np.ones(3, dtype=np.float32)
    found = find_neighbors(
        replace(spaces4["semantic"], coordinates=1000 * values), num_points=20, num_fit=20, neighbors=4
    )
    assert found.indices[:, 0].tolist() == list(range(20)) and (found.distances[:, 0] == 0).all()
    mixed = np.array([[1, 0, 2], [0, 2, 1], [0, 1, 3]], dtype=np.int32)
    indices, distances = module._own_first(mixed, np.array([[1e-7, 2e-7, 1], [0, 0, 1], [1, 2, 3]], dtype=np.float32))
    assert indices.tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 3]]  # 2 is not even in its row: the nearest makes way
    assert distances[:, 0].tolist() == [0, 0, 0] and distances[0, 1] == np.float32(1e-7)


@pytest.mark.usefixtures("tiny_blocks")
def test_distinct_vectors_are_told_apart_as_a_dictionary_does():
    values = np.random.default_rng(2).integers(0, 3, size=(60, 3)).astype(np.float32)
    values[::9, 1] = np.nan
    first, vector_of = distinct_vectors(values)
    expected: dict[tuple[float, ...], int] = {}
    for row, value in enumerate(values):
        if not np.isnan(value).any():
            expected.setdefault(tuple(value), row)
    assert sorted(first) == sorted(expected.values())
    rows = np.flatnonzero(vector_of >= 0)
    assert np.array_equal(rows, np.flatnonzero(~np.isnan(values).any(axis=1)))
    assert [first[v] for v in vector_of[rows]] == [expected[tuple(values[row])] for row in rows]


# ---------------------------------------------------------------- samples


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.data())
def test_sample_sizes_add_up_complete_small_strata_and_are_proportional_above(sizes, data):
    num = data.draw(st.integers(1, sum(sizes)))
    drawn = sample_sizes(np.array(sizes), num)
    share = num // (4 * len(sizes))
    assert drawn.sum() == num and (drawn <= sizes).all() and (drawn >= np.minimum(sizes, share)).all()
    free = [(d, s) for d, s in zip(drawn, sizes) if share + 1 < d < s - 1]
    assert all(abs(d / s - e / t) <= 1 / s + 1 / t for d, s in free for e, t in free)


def test_a_stratified_sample_holds_what_was_counted_and_is_drawn_at_random():
    strata = np.repeat([3, 1, 2], [5, 1000, 200])
    drawn = stratified_sample(strata, 120, np.random.default_rng(0))
    assert dict(zip(*np.unique(strata[drawn], return_counts=True))) == {3: 5, 1: 96, 2: 19}
    assert (np.diff(drawn) > 0).all() and set(range(5)) <= set(drawn)
    again = [stratified_sample(strata, 120, np.random.default_rng(seed)) for seed in (0, 1)]
    assert np.array_equal(drawn, again[0]) and not np.array_equal(drawn, again[1])
    assert stratified_sample(strata, 5000, np.random.default_rng(0)).tolist() == list(range(1205))
    hits = sum(np.isin(np.arange(1205), stratified_sample(strata, 120, np.random.default_rng(s))) for s in range(200))
    assert abs(hits[5:505].mean() - hits[505:1005].mean()) < 2  # of 19 each: no end of a stratum is preferred


@pytest.mark.parametrize(("kind", "num"), [("syntactic", 2000), ("semantic", 700)])
def test_the_small_strata_of_a_universe_are_all_fitted(corpus4, spaces4, kind, num):
    space, strata = spaces4[kind], program_strata(corpus4, spaces4[kind])
    leaves = corpus4.leaves if kind == "syntactic" else corpus4.class_leaves
    shown = {"num_points": num + 200, "num_fit": num, "neighbors": 5}
    stratified, plain = find_neighbors(space, **shown, strata=strata), find_neighbors(space, **shown)
    small = np.flatnonzero(leaves <= (2 if kind == "syntactic" else 1))

    def fitted(found):
        fitted = {tuple(v) for v in np.round(space.coordinates[found.fitted_rows], 3) + 0.0}
        return [tuple(v) in fitted for v in np.round(space.coordinates[small], 3) + 0.0]

    assert stratified.num_fitted == plain.num_fitted == num
    assert all(fitted(stratified)) and not all(fitted(plain))


# ---------------------------------------------------------------- carrier


def test_neighbours_are_saved_and_tabulated(scattered, store):
    found = find_neighbors(scattered, num_points=None, num_fit=80, neighbors=4)
    loaded = Neighbors.load(store, found.save(store))
    assert loaded.identity == found.identity
    assert all(np.array_equal(values, loaded.payload()[name]) for name, values in found.payload().items())
    table = loaded.frame()
    assert table.columns.tolist() == ["row", "neighbor", "rank", "distance"] and len(table) == 320
    third = table[table["rank"] == 2].reset_index(drop=True)
    places = scattered.coordinates[third["row"]], scattered.coordinates[third["neighbor"]]
    assert np.allclose(np.linalg.norm(places[0] - places[1], axis=1), third["distance"], atol=1e-6)


def test_wrong_labels_and_too_few_vectors_are_refused_with_their_numbers(scattered):
    with pytest.raises(ConfigurationError, match=r"strata of shape \(3,\): the space has 640 rows"):
        find_neighbors(scattered, num_points=None, num_fit=80, neighbors=4, strata=np.arange(3))
    with pytest.raises(ConfigurationError, match="unknown metric 'manhattan': use one of euclidean, cosine"):
        find_neighbors(scattered, num_points=None, num_fit=80, neighbors=4, metric="manhattan")
    few = replace(scattered, coordinates=np.repeat(scattered.coordinates[:9], 3, axis=0))
    with pytest.raises(ConfigurationError, match="9 distinct points of 27 are too few for a map: it takes 10"):
        find_neighbors(few, num_points=None, num_fit=80, neighbors=4)
    enough = replace(scattered, coordinates=np.repeat(scattered.coordinates[:10], 3, axis=0))
    assert find_neighbors(enough, num_points=None, num_fit=80, neighbors=40).indices.shape == (10, 9)
