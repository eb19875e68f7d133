"""The checks that say whether a space can be trusted, on spaces whose answer is known."""

import functools
from dataclasses import replace

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import spearmanr

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import POLYNOMIAL, Grammar
from synthlab.language.operator import ADD, MULTIPLY, Operator
from synthlab.language.program import Program, parse
from synthlab.spaces.projection import Projection
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic, pq_distances
from synthlab.spaces.validation import (
    distance_agreement,
    distance_pairs,
    map_trust,
    rank_agreement,
    stability,
    tree_edit_distance,
    trust_report,
)


def drawn(space, xy, rows):
    return Projection(space.key, {}, rows, xy.astype(np.float32))


def test_pairs_hold_both_distances(corpus4, spaces4):
    pairs = distance_pairs(corpus4, spaces4["semantic"], num_pairs=50)
    rows = np.random.default_rng(0).choice(corpus4.num_classes, size=(50, 2))
    outputs = corpus4.outputs[rows]
    assert pairs["exact"].to_numpy() == pytest.approx((outputs[:, 0] != outputs[:, 1]).mean(axis=1))
    places = spaces4["semantic"].coordinates[rows].astype(float)
    assert pairs["in_space"].to_numpy() == pytest.approx(np.linalg.norm(places[:, 0] - places[:, 1], axis=1), abs=1e-4)


def test_the_syntactic_space_follows_the_pq_gram_metric_and_a_shuffled_one_does_not(corpus4, spaces4):
    space = spaces4["syntactic"]
    shuffled = replace(space, coordinates=np.random.default_rng(1).permutation(space.coordinates))
    assert rank_agreement(distance_pairs(corpus4, space, num_pairs=300)) > 0.7
    assert abs(rank_agreement(distance_pairs(corpus4, shuffled, num_pairs=300))) < 0.3


def test_a_faithful_map_is_trusted_and_a_random_one_is_not(spaces4):
    space = spaces4["semantic"]
    rows = np.arange(0, len(space.coordinates), 8)
    flat = replace(space, coordinates=np.pad(space.coordinates[:, :2], ((0, 0), (0, 3))))
    faithful = map_trust(flat, drawn(flat, flat.coordinates[rows, :2], rows)).iloc[0]
    assert faithful["trustworthiness"] > 0.99 and faithful["continuity"] > 0.99
    random = np.random.default_rng(2).normal(size=(len(rows), 2))
    assert map_trust(flat, drawn(flat, random, rows)).iloc[0]["trustworthiness"] < 0.6


def test_the_report_has_a_row_for_every_space(corpus4, spaces4):
    rows = {kind: np.arange(0, len(space.coordinates), 700) for kind, space in spaces4.items()}
    maps = {kind: drawn(s, s.coordinates[rows[kind], :2], rows[kind]) for kind, s in spaces4.items()}
    report = trust_report(corpus4, spaces4, maps, num_pairs=40)
    assert report["space"].tolist() == ["syntactic", "semantic"]
    assert report["rank_agreement"].between(-1, 1).all()


def test_syntactic_pairs_hold_the_metric_of_the_spaces_own_grams(corpus3):
    space = fit_syntactic(corpus3, p=1, q=2, num_axes=1000)
    pairs = distance_pairs(corpus3, space, num_pairs=40, seed=5)
    rows = np.random.default_rng(5).choice(corpus3.num_programs, size=(40, 2))
    expected = [pq_distances(corpus3.program(a), corpus3.program(b), 1, 2)["metric"] for a, b in rows]
    assert pairs["exact"].to_numpy() == pytest.approx(expected)


# ---------------------------------------------------------------- tree edit distance

TERNARY = Operator(symbol="mid", arity=3, meaning=lambda a, b, c: a * b + c)
MIXED = Grammar(name="mixed", variables=("x", "y"), operators=(ADD, MULTIPLY, TERNARY))
ARITIES = dict(zip(MIXED.tokens, MIXED.arities.tolist(), strict=True))


@functools.cache
def forest_distance(first, second):
    """Edit distance of two ordered forests by its recursive definition."""
    if not first or not second:
        return sum(len(naive.flatten(tree)) for tree in first + second)
    one, two = first[-1], second[-1]
    return min(
        forest_distance(first[:-1] + one[1:], second) + 1,
        forest_distance(first, second[:-1] + two[1:]) + 1,
        forest_distance(first[:-1], second[:-1]) + forest_distance(one[1:], two[1:]) + (one[0] != two[0]),
    )


@given(naive.random_trees(ARITIES, 5), naive.random_trees(ARITIES, 5))
@settings(max_examples=60, deadline=None)
def test_edit_distances_are_those_of_the_definition(first, second):
    one, two = (Program(MIXED, tuple(MIXED.index[t] for t in naive.flatten(tree))) for tree in (first, second))
    assert tree_edit_distance(one, two) == forest_distance((first,), (second,))


@pytest.mark.parametrize(("other", "edits"), [("x + y", 0), ("x + 1", 1), ("y - x", 3), ("x", 2), ("x + y * 1", 2)])
def test_edits_are_counted(other, edits):
    assert tree_edit_distance(parse(POLYNOMIAL, "x + y"), parse(POLYNOMIAL, other)) == edits


def test_distances_agree_as_spearman_says(corpus3):
    space = fit_syntactic(corpus3, num_axes=1000)
    table = distance_agreement(corpus3, space, num_pairs=80, seed=3)
    names = ["pq-gram metric", "tree edit distance", "SVD distance"]
    assert table.index.tolist() == table.columns.tolist() == names
    rows = np.random.default_rng(3).choice(corpus3.num_programs, size=(80, 2))
    programs = [(corpus3.program(a), corpus3.program(b)) for a, b in rows]
    metric = [pq_distances(a, b)["metric"] for a, b in programs]
    edits = [
        forest_distance(
            *((naive.tree([POLYNOMIAL.tokens[t] for t in p.prefix], naive.POLYNOMIAL_ARITIES),) for p in pair)
        )
        for pair in programs
    ]
    assert table.loc[names[0], names[1]] == pytest.approx(spearmanr(metric, edits).statistic)
    assert table.loc[names[0], names[2]] > 0.9  # with all axes, distances follow the bags
    assert (np.diag(table) == pytest.approx(1)) and np.allclose(table, table.T)


def test_agreement_needs_a_syntactic_space_and_pairs(corpus4, spaces4):
    with pytest.raises(ConfigurationError, match="not of a semantic space"):
        distance_agreement(corpus4, spaces4["semantic"])
    with pytest.raises(ConfigurationError, match="2 pairs have no rank correlation"):
        distance_agreement(corpus4, spaces4["syntactic"], num_pairs=2)


# ---------------------------------------------------------------- stability


def test_a_turned_space_is_the_same_and_a_shuffled_one_is_chance(spaces4):
    space = spaces4["semantic"]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(space.num_axes, space.num_axes)))[0]
    turned = replace(space, coordinates=space.coordinates.astype(float) @ turn)
    same = stability(space, turned, neighbors=10, num_points=300).iloc[0]
    assert same["neighbors_kept"] > 0.99 and same["rank_agreement"] > 0.999
    shuffled = replace(space, coordinates=np.random.default_rng(1).permutation(space.coordinates))
    chance = stability(space, shuffled, neighbors=10, num_points=300).iloc[0]
    assert chance["neighbors_kept"] == pytest.approx(chance["by_chance"], abs=0.03)
    assert chance["by_chance"] == pytest.approx(10 / 299) and abs(chance["rank_agreement"]) < 0.1


def test_stability_counts_the_neighbours_that_stay(corpus3):
    one, two = fit_semantic(corpus3, num_axes=2), fit_semantic(corpus3, num_axes=2, scaling="raw")
    found = stability(one, two, neighbors=4, num_points=60, seed=2).iloc[0]
    rows = np.sort(np.random.default_rng(2).permutation(corpus3.num_classes)[:60])
    kept = 0
    for row in rows:
        near = []
        for space in (one, two):
            distances = np.linalg.norm(space.coordinates[rows].astype(float) - space.coordinates[row], axis=1)
            near.append(set([r for r in np.argsort(distances, kind="stable") if rows[r] != row][:4]))
        kept += len(near[0] & near[1])
    assert found["neighbors_kept"] == pytest.approx(kept / 240, abs=0.02)  # but for ties


def test_maps_are_compared_on_the_rows_that_both_draw(spaces4):
    space, xy = spaces4["semantic"], np.random.default_rng(3).normal(size=(100, 2))
    first = drawn(space, xy, np.arange(100))
    backwards = np.arange(99, 19, -1)
    second = drawn(space, -xy[backwards], backwards)
    found = stability(first, second, neighbors=5).iloc[0]
    assert found["points"] == 80 and found["neighbors_kept"] == 1 and found["rank_agreement"] == pytest.approx(1)


def test_what_cannot_be_compared_is_refused(spaces4, corpus3):
    semantic, syntactic = spaces4["semantic"], spaces4["syntactic"]
    with pytest.raises(ConfigurationError, match="2217 rows of a semantic space and 86705 rows of a syntactic space"):
        stability(semantic, syntactic)
    with pytest.raises(ConfigurationError, match="1 space and 1 map"):
        stability(semantic, drawn(semantic, np.zeros((3, 2)), np.arange(3)))
    with pytest.raises(ConfigurationError, match="15 neighbors of 5 shared points"):
        stability(semantic, semantic, num_points=5)
    with pytest.raises(ConfigurationError, match="0 neighbors of 1000 shared points"):
        stability(semantic, semantic, neighbors=0)
