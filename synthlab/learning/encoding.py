"""Numbers and tokens as a network sees them: one patch of features per row of the grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, Grid

MODULI = (2, 3, 4, 5, 7, 9, 11, 16)
MANTISSA_DIGITS = 4
EXPONENTS = (-16, 18)
IGNORED = -100
LARGEST = 1e18


def check_outputs(outputs: np.ndarray) -> None:
    """Refuse outputs that no encoding can represent.

    Raises
    ------
    ConfigurationError
        For NaN, infinite or huge outputs.
    """
    bad = ~np.isfinite(outputs) | (np.abs(np.nan_to_num(outputs)) > LARGEST)
    if bad.any():
        raise ConfigurationError(
            f"{int(bad.any(axis=1).sum())} tasks have outputs that are no finite numbers below 1e18: "
            "leave them out, or use a smaller grid"
        )


def feature_values(outputs: Tensor) -> Tensor:
    """Every number as 20 features (..., 20), float32.

    Sign, log1p|v|, tanh(v/10), tanh(v/100), then sine and cosine of 2 pi v/m for eight moduli m, which keep
    apart large whole numbers that the first four blur.
    """
    value = outputs.double()
    moduli = torch.tensor(MODULI, dtype=torch.float64, device=outputs.device)
    angle = 2 * torch.pi * torch.remainder(value[..., None], moduli) / moduli
    scale = [value.sign(), value.abs().log1p(), (value / 10).tanh(), (value / 100).tanh()]
    return torch.cat([torch.stack(scale, dim=-1), angle.sin(), angle.cos()], dim=-1).float()


def float_values(outputs: Tensor) -> Tensor:
    """Every number as sign, four digits of mantissa and exponent, one-hot (..., 77), float32.

    What Kamienny et al. (2022) give as three tokens, entered as features: a linear layer on them adds up one
    vector per sign, digit and exponent. Numbers are rounded to four digits, so some functions look alike.
    """
    value = outputs.double()
    mantissa, exponent = _scientific(value)
    places = 10 ** torch.arange(MANTISSA_DIGITS - 1, -1, -1, device=outputs.device)
    digits = F.one_hot((mantissa[..., None] // places) % 10, 10).flatten(-2)
    lowest, highest = EXPONENTS
    power = F.one_hot(exponent.clamp(lowest, highest) - lowest, highest - lowest + 1)
    signs = torch.stack([value < 0, value > 0], dim=-1)
    return torch.cat([signs.float(), digits.float(), power.float()], dim=-1)


def _scientific(value: Tensor) -> tuple[Tensor, Tensor]:
    """Whole mantissas of four digits and exponents, int64: |v| rounds to mantissa x 10^(exponent - 3)."""
    size = value.abs()
    exponent = size.clamp(min=1e-300).log10().floor()
    for _ in range(2):  # the logarithm may land beside a power of ten, and rounding may reach the next one
        mantissa = (size * 10.0 ** (MANTISSA_DIGITS - 1 - exponent)).round()
        exponent = exponent + (mantissa >= 10**MANTISSA_DIGITS).double()
        exponent = exponent - ((mantissa < 10 ** (MANTISSA_DIGITS - 1)) & (size > 0)).double()
    mantissa = (size * 10.0 ** (MANTISSA_DIGITS - 1 - exponent)).round()
    zero = size == 0
    return mantissa.masked_fill(zero, 0).long(), exponent.masked_fill(zero, 0).long()


@dataclass(frozen=True)
class Encoding:
    """A way to show numbers: what it makes of each, and how many features that is."""

    values: Callable[[Tensor], Tensor]
    width: int


_ENCODINGS = {
    "features": Encoding(feature_values, 4 + 2 * len(MODULI)),
    "floats": Encoding(float_values, 2 + 10 * MANTISSA_DIGITS + EXPONENTS[1] - EXPONENTS[0] + 1),
}


def patch_features(grid: Grid, encoding: str = "features") -> int:
    """Number of features of a patch, F."""
    return grid.shape[-1] * _ENCODINGS[encoding].width


def patches(outputs: Tensor, grid: Grid, encoding: str = "features") -> Tensor:
    """Features of outputs, one patch per row of the grid.

    Parameters
    ----------
    outputs
        (B, G), any numbers; computed in float64.
    grid
        Its last axis is the row length.
    encoding
        ``features`` (`feature_values`) or ``floats`` (`float_values`).

    Returns
    -------
    Tensor
        (B, R, F) float32, R rows of F features.
    """
    return _ENCODINGS[encoding].values(outputs).reshape(len(outputs), -1, patch_features(grid, encoding))


def num_patches(grid: Grid) -> int:
    """Number of patches, R."""
    return int(np.prod(grid.shape[:-1])) if len(grid.shape) > 1 else 1


def token_targets(text: Tensor) -> Tensor:
    """Targets (B, L) of the loss: tokens, and `IGNORED` behind the end."""
    return torch.where(text == PAD, IGNORED, text.long())
