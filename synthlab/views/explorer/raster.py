"""Density of all points of a map as a small grey image, which lies under those that are drawn one by one."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

Extent = tuple[tuple[float, float], tuple[float, float]]
"""Ends of a map: ``((x0, x1), (y0, y1))``."""

_FAINTEST, _DENSEST = 45, 150
_GREY = 110


def bin_counts(x: np.ndarray, y: np.ndarray, extent: Extent, shape: tuple[int, int]) -> np.ndarray:
    """Points per cell of a regular grid.

    Parameters
    ----------
    x, y
        Places (n,), in the units of the extent; those outside it, and those that are no number, are not counted.
    extent
        Ends of the grid, both included.
    shape
        Numbers of rows and columns.

    Returns
    -------
    numpy.ndarray
        Counts (rows, columns), row 0 at the least y.
    """
    rows, columns = shape
    (x0, x1), (y0, y1) = extent
    # float32 halves the memory that is moved; at a cell's edge a point may fall into the next one, which no eye sees
    across = (np.asarray(x, dtype=np.float32) - np.float32(x0)) * np.float32(columns / (x1 - x0))
    up = (np.asarray(y, dtype=np.float32) - np.float32(y0)) * np.float32(rows / (y1 - y0))
    inside = (across >= 0) & (across <= columns) & (up >= 0) & (up <= rows)
    if not inside.all():
        across, up = across[inside], up[inside]
    column = np.minimum(across.astype(np.int32), columns - 1)
    cell = np.minimum(up.astype(np.int32), rows - 1) * columns + column
    return np.bincount(cell, minlength=rows * columns).reshape(rows, columns)


def density_url(counts: np.ndarray) -> str:
    """Grey PNG of counts (rows, columns) as a ``data:`` URL: darker by the logarithm, transparent where empty."""
    shade = np.log1p(counts) / max(np.log1p(counts.max()), 1e-9)
    alpha = np.where(counts > 0, _FAINTEST + (_DENSEST - _FAINTEST) * shade, 0).astype(np.uint8)
    grey = np.full_like(alpha, _GREY)
    buffer = io.BytesIO()
    Image.fromarray(np.stack([grey, alpha], axis=-1)[::-1], "LA").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
