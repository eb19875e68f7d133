"""A brush on a map as a region that anybody can draw again.

A rectangle on axes of a space is a box. A shape on a UMAP map is no region, since its coordinates mean nothing
elsewhere: the cells of the space that lie mostly under it are one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.spaces.space import SEMANTIC
from synthlab.splits.preview import Preview
from synthlab.splits.regions import Region

NUM_CELLS = 200
_DIGITS = 4
_AXIS = "axis_"


@dataclass(frozen=True, kw_only=True)
class BrushFit:
    """How well a region agrees with a brush, over the drawn rows.

    Attributes
    ----------
    recall
        Share of the brushed rows that the region holds.
    precision
        Share of the held rows that were brushed; NaN if none is held.
    num_brushed, num_held
        Drawn rows of either kind.
    """

    recall: float
    precision: float
    num_brushed: int
    num_held: int


def cells_under(
    preview: Preview,
    space_name: str,
    drawn_rows: np.ndarray,
    brushed: np.ndarray,
    *,
    num_cells: int = NUM_CELLS,
    seed: int = 0,
) -> Region:
    """The cells of a space more than half of whose drawn rows are brushed, as a region.

    Parameters
    ----------
    preview, space_name
        The universe, and the space that the map shows.
    drawn_rows
        Rows of the space (k,) that the map draws.
    brushed
        Which of them are under the brush (k,), bool.
    num_cells, seed
        How many k-means cells the space is cut into (fewer if it has fewer places), and their draw.

    Raises
    ------
    ConfigurationError
        If nothing is brushed, no cell mostly is, or every cell is.
    """
    _check_brushed(brushed)
    num_cells = min(num_cells, preview.num_places(space_name, seed))
    labels = preview.cluster_labels(space_name, num_cells, seed)[drawn_rows]
    drawn = np.bincount(labels[labels >= 0], minlength=num_cells)
    under = np.bincount(labels[brushed & (labels >= 0)], minlength=num_cells)
    held = np.flatnonzero(2 * under > drawn)
    if not len(held):
        raise ConfigurationError(
            f"none of {num_cells:,} cells lies mostly under the brush: brush more, or use more cells"
        )
    if len(held) == num_cells:
        raise ConfigurationError(f"all {num_cells:,} cells lie mostly under the brush: brush less, or use more cells")
    return Region(space=space_name, rule="cluster", num_clusters=num_cells, seed=seed, held=tuple(held.tolist()))


def fit_of(preview: Preview, region: Region, space_name: str, drawn_rows: np.ndarray, brushed: np.ndarray) -> BrushFit:
    """How well a region agrees with a brush on a map of a space.

    Parameters
    ----------
    preview, region
        The universe, and the region.
    space_name, drawn_rows, brushed
        As for `cells_under`; a drawn class counts as held if its minimal text is.

    Raises
    ------
    ConfigurationError
        If nothing is brushed.
    """
    _check_brushed(brushed)
    is_semantic = preview.spaces[space_name].kind == SEMANTIC
    ids = preview.corpus.class_id[drawn_rows] if is_semantic else drawn_rows
    held = preview.held(region).inside[ids]
    both, num_brushed, num_held = (int(np.count_nonzero(mask)) for mask in (held & brushed, brushed, held))
    precision = both / num_held if num_held else np.nan
    return BrushFit(recall=both / num_brushed, precision=precision, num_brushed=num_brushed, num_held=num_held)


def box_under(space_name: str, bounds: Mapping[str, tuple[float, float]]) -> Region:
    """The box of a space under a rectangle on some of its axes, rounded outwards to four decimals.

    Parameters
    ----------
    space_name
        The space that the map shows.
    bounds
        Ends of the rectangle by name of the axis, such as ``{"axis_0": (-0.2, 0.1)}``; in either order.

    Raises
    ------
    ConfigurationError
        If nothing is brushed, or the rectangle lies on a map whose coordinates are no axes.
    """
    if not bounds:
        raise ConfigurationError("nothing is brushed: drag over a map")
    axes = [name.removeprefix(_AXIS) for name in bounds]
    if not all(name.startswith(_AXIS) for name in bounds) or not all(axis.isdecimal() for axis in axes):
        raise ConfigurationError(
            f"{', '.join(bounds)}: a box needs axes of a space, such as {_AXIS}0; hold out the cells under the brush"
        )
    ends = [(_rounded(min(pair), math.floor), _rounded(max(pair), math.ceil)) for pair in bounds.values()]
    box = tuple((int(axis), low, high) for axis, (low, high) in zip(axes, ends, strict=True))
    return Region(space=space_name, rule="box", box=box)


def _rounded(end: float, outwards: Callable[[float], int]) -> float:
    """An end that leaves out nothing which the brush held."""
    return round(outwards(round(float(end) * 10**_DIGITS, _DIGITS)) / 10**_DIGITS, _DIGITS)


def _check_brushed(brushed: np.ndarray) -> None:
    if not np.any(brushed):
        raise ConfigurationError("nothing is brushed: drag over points of a map")
