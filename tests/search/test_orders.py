"""Small rests first, and what learning corrects of that order."""

import math
from fractions import Fraction

import numpy as np
import pytest

from synthlab.language.residues import PRIME, residue
from synthlab.search.budget import Cost
from synthlab.search.orders import CorrectedOrder, SmallRests, smallness


def rows(*values):
    codes = np.array([[residue(Fraction(v)) for v in row] for row in values], dtype=np.uint64)
    return codes, np.ones(codes.shape, dtype=bool)


def test_smallness_is_the_length_of_fractions():
    codes, known = rows([3, -4, "1/2"], [0, 0, 0], ["-7/3", "7/3", 1])
    expected = [
        math.log(4) + math.log(5) + math.log(2) + math.log(2), 0.0, 2 * (math.log(8) + math.log(3)) + math.log(2)
    ]  # fmt: skip
    assert smallness(codes, known) == pytest.approx([-e for e in expected])


def test_constant_outputs_count_once_and_unknown_ones_not_at_all():
    codes, known = rows([6, 6, 6], [6, 6, 50])
    known[1, 2] = False
    assert smallness(codes, known) == pytest.approx([-math.log(7), -math.log(7)])


def test_smaller_rests_come_first_whatever_is_unknown():
    codes, known = rows([1, 2, 3, 4], [10, 20, 30, 40], [1000, 2000, 3000, 4000])
    known[2, 1:] = False
    scores = SmallRests()(codes, known)
    assert scores[0] > scores[1] > scores[2]
    assert SmallRests().training == Cost()


def test_what_is_no_small_fraction_comes_last():
    codes, known = rows([1 << 29, 1 << 29, 5], [1, 2, 3])
    codes[1] = PRIME // 3 + np.arange(3, dtype=np.uint64) * np.uint64(987654321987)
    assert SmallRests()(codes, known)[0] > SmallRests()(codes, known)[1]


class Fixed:
    training = Cost(seconds=3.0, flops=5.0)

    def __init__(self, scores):
        self.scores = np.array(scores)

    def __call__(self, codes, known):
        return self.scores


def test_a_learned_guide_decides_among_equals_and_is_outweighed_by_size():
    codes, known = rows([1, 2], [2, 1], [1, 2])
    order = CorrectedOrder(Fixed([0.0, 5.0, 1.0]))
    assert np.argmax(order(codes, known)) == 1
    codes, known = rows([1, 2], [9**6, 9**7], [1, 3])
    scores = CorrectedOrder(Fixed([0.0, 1.0, 0.0]))(codes, known)
    assert np.argmin(scores) == 1
    assert np.argmax(CorrectedOrder(Fixed([0.0, 1.0, 0.0]), weight=50.0)(codes, known)) == 1
    assert order.training == Cost(seconds=3.0, flops=5.0)


def test_no_rests_have_no_scores():
    empty = np.empty((0, 4), dtype=np.uint64), np.empty((0, 4), dtype=bool)
    assert len(CorrectedOrder(Fixed([]))(*empty)) == 0
