"""What the model sees of numbers and tokens, computed by hand."""

import math

import numpy as np
import pytest
import torch

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL, Grid
from synthlab.learning.encoding import IGNORED, check_outputs, num_rows, row_features, token_targets

MODULI = (2, 3, 4, 5, 7, 9, 11, 16)
POINT = Grid.regular(0, num=1)


def by_hand(value):
    """Features of one whole number, from the remainders that Python computes exactly."""
    sign = (value > 0) - (value < 0)
    angles = [2 * math.pi * (value % m) / m for m in MODULI]
    scale = [sign, math.log1p(abs(value)), math.tanh(value / 10), math.tanh(value / 100)]
    return scale + [math.sin(a) for a in angles] + [math.cos(a) for a in angles]


@pytest.mark.parametrize("value", [0, 1, -1, 3, -3, 10, 57, -123, 4096, 123_456_789, -(10**15), 2**53])
def test_features_of_one_number(value):
    features = row_features(torch.tensor([[float(value)]], dtype=torch.float64), POINT)
    assert features.shape == (1, 1, 20) and features.dtype == torch.float32
    np.testing.assert_allclose(features[0, 0].numpy(), by_hand(value), atol=1e-6, rtol=1e-6)


def test_features_of_a_fraction():
    features = row_features(torch.tensor([[2.5]], dtype=torch.float64), POINT)[0, 0]
    assert features[:4].tolist() == pytest.approx([1, math.log(3.5), math.tanh(0.25), math.tanh(0.025)])
    assert features[4 + 1].item() == pytest.approx(math.sin(2 * math.pi * 2.5 / 3), abs=1e-6)
    assert features[12 + 0].item() == pytest.approx(math.cos(math.pi * 2.5), abs=1e-6)


def test_rows_of_the_grid_are_patches_in_its_order():
    outputs = np.arange(36, dtype=np.float64).reshape(1, 36) - 17
    features = row_features(torch.from_numpy(outputs), POLYNOMIAL.grid)
    assert features.shape == (1, 6, 120) and num_rows(POLYNOMIAL.grid) == 6
    for row in range(6):
        for column in range(6):
            expected = by_hand(int(outputs[0, 6 * row + column]))
            found = features[0, row, 20 * column : 20 * column + 20].numpy()
            np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"{row}, {column}")


@pytest.mark.parametrize(("shape", "rows"), [((6,), 1), ((4, 5), 4), ((2, 3, 4), 6)])
def test_grids_of_any_dimension(shape, rows):
    grid = Grid(tuple(tuple(range(n)) for n in shape))
    assert num_rows(grid) == rows
    features = row_features(torch.zeros(3, math.prod(shape)), grid)
    assert features.shape == (3, rows, shape[-1] * 20)


def test_no_two_functions_of_the_universe_look_alike(corpus4):
    features = row_features(torch.from_numpy(corpus4.outputs.astype(np.float64)), POLYNOMIAL.grid)
    assert len(np.unique(features.flatten(1).numpy(), axis=0)) == corpus4.num_classes


def test_no_two_rational_functions_look_alike(rational3):
    features = row_features(torch.from_numpy(rational3.outputs), RATIONAL.grid)
    assert len(np.unique(features.flatten(1).numpy(), axis=0)) == rational3.num_classes


def test_large_whole_numbers_stay_apart():
    values = torch.arange(10**12, 10**12 + 1000, dtype=torch.float64)[:, None]
    assert len(np.unique(row_features(values, POINT)[:, 0].numpy(), axis=0)) == 1000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.1e18, -2e18])
def test_outputs_that_are_no_numbers_are_refused_and_counted(bad):
    outputs = np.ones((5, 4))
    outputs[1, 2] = outputs[3, 0] = outputs[3, 1] = bad
    with pytest.raises(ConfigurationError, match="2 tasks have outputs that are no finite numbers"):
        check_outputs(outputs)


@pytest.mark.parametrize("outputs", [np.array([[10**17, -(10**17)]]), np.array([[0.0, -1e18]]), np.zeros((0, 3))])
def test_finite_outputs_pass(outputs):
    assert check_outputs(outputs) is None


def test_targets_ignore_what_stands_behind_the_end():
    prefix = torch.tensor([[5, 0, 1, PAD, PAD], [0, PAD, PAD, PAD, PAD]], dtype=torch.uint8)
    assert token_targets(prefix).tolist() == [[5, 0, 1, IGNORED, IGNORED], [0] + [IGNORED] * 4]
    assert token_targets(prefix).dtype == torch.int64
