"""The checks that say whether a space can be trusted, on spaces whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from synthlab.spaces.projection import Projection
from synthlab.spaces.validation import distance_pairs, map_trust, rank_agreement, trust_report


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
