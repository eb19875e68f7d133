"""What the model sees of numbers and tokens, computed by hand."""

import math
from decimal import Decimal

import numpy as np
import pytest
import torch

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL, Grid
from synthlab.learning.encoding import EXPONENTS, IGNORED, check_outputs, num_patches, patches, token_targets

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
    features = patches(torch.tensor([[float(value)]], dtype=torch.float64), POINT)
    assert features.shape == (1, 1, 20) and features.dtype == torch.float32
    np.testing.assert_allclose(features[0, 0].numpy(), by_hand(value), atol=1e-6, rtol=1e-6)


def test_features_of_a_fraction():
    features = patches(torch.tensor([[2.5]], dtype=torch.float64), POINT)[0, 0]
    assert features[:4].tolist() == pytest.approx([1, math.log(3.5), math.tanh(0.25), math.tanh(0.025)])
    assert features[4 + 1].item() == pytest.approx(math.sin(2 * math.pi * 2.5 / 3), abs=1e-6)
    assert features[12 + 0].item() == pytest.approx(math.cos(math.pi * 2.5), abs=1e-6)


def test_rows_of_the_grid_are_patches_in_its_order():
    outputs = np.arange(36, dtype=np.float64).reshape(1, 36) - 17
    features = patches(torch.from_numpy(outputs), POLYNOMIAL.grid)
    assert features.shape == (1, 6, 120) and num_patches(POLYNOMIAL.grid) == 6
    for row in range(6):
        for column in range(6):
            expected = by_hand(int(outputs[0, 6 * row + column]))
            found = features[0, row, 20 * column : 20 * column + 20].numpy()
            np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"{row}, {column}")


@pytest.mark.parametrize(("shape", "rows"), [((6,), 1), ((4, 5), 4), ((2, 3, 4), 6)])
def test_grids_of_any_dimension(shape, rows):
    grid = Grid(tuple(tuple(range(n)) for n in shape))
    assert num_patches(grid) == rows
    features = patches(torch.zeros(3, math.prod(shape)), grid)
    assert features.shape == (3, rows, shape[-1] * 20)


def test_no_two_functions_of_the_universe_look_alike(corpus4):
    features = patches(torch.from_numpy(corpus4.outputs.astype(np.float64)), POLYNOMIAL.grid)
    assert len(np.unique(features.flatten(1).numpy(), axis=0)) == corpus4.num_classes


def test_no_two_rational_functions_look_alike(rational3):
    features = patches(torch.from_numpy(rational3.outputs), RATIONAL.grid)
    assert len(np.unique(features.flatten(1).numpy(), axis=0)) == rational3.num_classes


def test_large_whole_numbers_stay_apart():
    values = torch.arange(10**12, 10**12 + 1000, dtype=torch.float64)[:, None]
    assert len(np.unique(patches(values, POINT)[:, 0].numpy(), axis=0)) == 1000


def as_text(value):
    """Sign, digits and exponent of a number, rounded to four digits by Python's decimal arithmetic."""
    if value == 0:
        return "0", [0, 0, 0, 0], 0
    digits, exponent = f"{Decimal(abs(value)):.3e}".split("e")
    return ("-" if value < 0 else "+"), [int(d) for d in digits if d != "."], int(exponent)


SPREAD = np.concatenate([
    np.random.default_rng(0).uniform(-9, 9, size=300) * 10.0 ** np.random.default_rng(1).integers(-12, 17, 300),
    [0.0, -0.0, 1, -1, 10, 99, 999, 1000, 9999, 99995, 99994, 0.1, 0.001, 1 / 3, -2 / 3, 9.9996, 999.96, 123456789],
    [5e-16],
    10.0 ** np.arange(-15, 18), 2.0 ** np.arange(-40, 58), -(3.0 ** np.arange(-30, 30)),
])  # fmt: skip


def test_floats_are_sign_digits_and_exponent():
    features = patches(torch.from_numpy(SPREAD)[:, None], POINT, "floats")[:, 0]
    assert features.shape == (len(SPREAD), 77) and set(features.unique().tolist()) == {0.0, 1.0}
    for value, row in zip(SPREAD, features, strict=True):
        sign, digits, exponent = as_text(value)
        assert row[:2].tolist() == [sign == "-", sign == "+"], value
        assert row[2:42].reshape(4, 10).argmax(1).tolist() == digits, value
        assert row[42:].argmax().item() + EXPONENTS[0] == exponent and row[2:].sum() == 5, value


def test_floats_confuse_what_agrees_in_four_digits():
    values = torch.tensor([[12345.0], [12346.0], [12354.0], [-12345.0]], dtype=torch.float64)
    one, two, three, four = patches(values, POINT, "floats")
    assert torch.equal(one, two) == (as_text(12345.0) == as_text(12346.0))
    assert not torch.equal(one, three) and not torch.equal(one, four)


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
