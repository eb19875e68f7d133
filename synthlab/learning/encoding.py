"""Numbers and tokens as the model sees them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, Grid

MODULI = (2, 3, 4, 5, 7, 9, 11, 16)
NUM_FEATURES = 4 + 2 * len(MODULI)
IGNORED = -100
_LARGEST = 1e18


def check_outputs(outputs: np.ndarray) -> None:
    """Refuse outputs that the encoder cannot represent.

    Raises
    ------
    ConfigurationError
        For NaN, infinite or huge outputs.
    """
    bad = ~np.isfinite(outputs) | (np.abs(np.nan_to_num(outputs)) > _LARGEST)
    if bad.any():
        raise ConfigurationError(
            f"{int(bad.any(axis=1).sum())} tasks have outputs that are no finite numbers below 1e18"
        )


def row_features(outputs: Tensor, grid: Grid) -> Tensor:
    """Features of the outputs, one patch per row of the grid.

    Each output enters as its sign, log1p|v|, tanh(v/10), tanh(v/100), and sine and cosine of 2 pi v/m for
    eight moduli m, which keep apart large whole numbers that the first four blur.

    Parameters
    ----------
    outputs
        (B, G), float32 or float64.
    grid
        Its last axis is the row length.

    Returns
    -------
    Tensor
        (B, R, F) float32, R rows of F = row length x 20 features.
    """
    value = outputs.double()
    moduli = torch.tensor(MODULI, dtype=torch.float64, device=outputs.device)
    angle = 2 * torch.pi * torch.remainder(value[..., None], moduli) / moduli
    scale = [value.sign(), value.abs().log1p(), (value / 10).tanh(), (value / 100).tanh()]
    features = torch.cat([torch.stack(scale, dim=-1), angle.sin(), angle.cos()], dim=-1).float()
    return features.reshape(len(outputs), -1, grid.shape[-1] * NUM_FEATURES)


def num_rows(grid: Grid) -> int:
    """Number of patches, R."""
    return int(np.prod(grid.shape[:-1])) if len(grid.shape) > 1 else 1


def token_targets(prefix: Tensor) -> Tensor:
    """Targets (B, L) of the loss: tokens, and `IGNORED` behind the end (a prefix text ends by itself)."""
    return torch.where(prefix == PAD, IGNORED, prefix.long())
