"""What every map of a space is, whatever draws it: its points, who listens to it, and what may be told to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.views import theme

if TYPE_CHECKING:
    from synthlab.views.explorer.maps import MapPoints

_PARTS = theme.REGION_PARTS


class SpaceMap:
    """Base of `maps.LiveMap` and `scatter.ScatterMap`.

    Parameters
    ----------
    kind
        Kind of the space, ``syntactic`` (a point is a program) or ``semantic`` (a point is a function).
    title
        Heading of the map.

    Attributes
    ----------
    points
        All points that may be drawn; None until something is.
    rows
        Rows of the space that are drawn now, (k,).
    color
        What they are coloured by.
    bounds
        Of the present brush; empty without one.
    """

    def __init__(self, kind: str, title: str) -> None:
        self.kind, self.title, self.color = kind, title, "part"
        self.points: MapPoints | None = None
        self.rows = np.empty(0, dtype=np.int64)
        self.bounds: dict[str, tuple[float, float]] = {}
        self._brushed: list[Callable[[dict[str, tuple[float, float]]], None]] = []
        self._picked: list[Callable[[int], None]] = []
        self._shown: list[Callable[[Any], None]] = []

    def draw(self, points: MapPoints, color: str, extent: Any = None) -> None:
        """Draw anew."""
        raise NotImplementedError

    def recolor(self, color: str) -> None:
        """Draw what is shown in other colours."""
        self.draw(self._drawn_points(), color)

    def at_once(self) -> contextlib.AbstractContextManager[None]:
        """Tell the browser of all changes within the context in one message, where that can be."""
        return contextlib.nullcontext()

    def on_brush(self, function: Callable[[dict[str, tuple[float, float]]], None]) -> None:
        """Call a function with the bounds of every brush that is released; with ``{}`` when it is cleared."""
        self._brushed.append(function)

    def on_pick(self, function: Callable[[int], None]) -> None:
        """Call a function with the row of every point that is clicked."""
        self._picked.append(function)

    def on_shown(self, function: Callable[[Any], None]) -> None:
        """Call a function, with whatever argument, when a browser first shows the map."""
        self._shown.append(function)

    def _drawn_points(self) -> MapPoints:
        if self.points is None:
            raise ConfigurationError("the map is empty: draw points first")
        return self.points

    def _part_codes(self, codes: np.ndarray) -> np.ndarray:
        """Codes of the drawn points (k,), uint8.

        Raises
        ------
        ConfigurationError
            If there is not one number in `theme.REGION_PARTS` per drawn point.
        """
        codes = np.asarray(codes)
        if codes.shape != self.rows.shape or (len(codes) and not 0 <= codes.min() <= codes.max() < len(_PARTS)):
            raise ConfigurationError(f"give one code of 0 to {len(_PARTS) - 1} for each of {len(self.rows):,} rows")
        return codes.astype(np.uint8)

    def _marked(self, mask: np.ndarray | None) -> np.ndarray:
        """Which drawn points are highlighted (k,), bool; none for None.

        Raises
        ------
        ConfigurationError
            If there is not one value per drawn point.
        """
        mask = np.zeros(len(self.rows), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
        if mask.shape != self.rows.shape:
            raise ConfigurationError(f"give one value for each of {len(self.rows):,} drawn rows, or None")
        return mask
