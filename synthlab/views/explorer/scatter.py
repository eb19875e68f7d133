"""A map drawn by jupyter-scatter: for a GPU, on which it shows a million points and selects them with a lasso.

The optional extra ``scatter``; `maps.LiveMap` needs nothing else and is the default.
"""

from __future__ import annotations

import html
import importlib
from collections.abc import Callable
from typing import Any

import altair as alt
import ipywidgets as W
import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError
from synthlab.views import theme
from synthlab.views.explorer.live import INK
from synthlab.views.explorer.map_chart import HEIGHT, WIDTH
from synthlab.views.explorer.maps import Bounds, LiveMap, MapPoints
from synthlab.views.explorer.raster import Extent
from synthlab.views.explorer.space_map import SpaceMap

MAX_SCATTERED = 1_000_000
"""Most points that are drawn when coloured by part, which asks for no texts; else it is `theme.MAX_POINTS`."""

_COLORS = {part: theme.PARTS[part][0] for part in theme.REGION_PARTS}
_CLEAR, _FADED = 0.7, 0.1


class ScatterMap(SpaceMap):
    """A map with a lasso, behind the interface of `LiveMap`.

    A point that is clicked is picked; two or more that are selected are a lasso's. Zoom and pan are the
    browser's; `zoom_to` moves the camera. There is no brush, so `on_brush` only hears that a lasso was cleared.

    Parameters
    ----------
    kind, title
        As of `LiveMap`.

    Attributes
    ----------
    widget, rows, points, extent, bounds
        As of `LiveMap`; there are never bounds.

    Raises
    ------
    ConfigurationError
        If jupyter-scatter is not installed.
    """

    def __init__(self, kind: str, title: str) -> None:
        try:
            self._library: Any = importlib.import_module("jscatter")
        except ImportError as error:
            raise ConfigurationError(
                "maps by jupyter-scatter need the extra 'scatter': pip install 'synthlab[scatter]'"
            ) from error
        super().__init__(kind, title)
        self.heading, self.legend = W.HTML(), W.HTML()
        self.widget = W.VBox([self.heading, self.legend], layout=W.Layout(flex="0 0 auto", width=f"{WIDTH + 60}px"))
        self.widget.add_class(f"synthlab-map-{kind}")
        self.extent: Extent = ((0.0, 1.0), (0.0, 1.0))
        self._scatter: Any = None
        self._frame, self._is_asking = pd.DataFrame(), False
        self._codes, self._marks = np.empty(0, dtype=np.uint8), np.empty(0, dtype=bool)
        self._star: tuple[float, float] | None = None
        self._lassoed: list[Callable[[np.ndarray], None]] = []

    # ------------------------------------------------------------ what is drawn

    def draw(self, points: MapPoints, color: str, extent: Extent | None = None) -> None:
        """Draw anew, as `LiveMap.draw`: a million points by part, and 20,000 by a column of their description.

        Raises
        ------
        ConfigurationError
            If no point lies there, or there is no such column.
        """
        chosen = self._sample(points, color, extent)
        rows = points.rows[chosen]
        frame = pd.DataFrame({points.x_name: points.x[chosen], points.y_name: points.y[chosen]})
        if color != "part":
            frame[color] = theme.checked("a map's colour", points.describe(rows), color)[color].to_numpy()
        if not np.array_equal(rows, self.rows):
            self._codes = np.full(len(rows), len(_COLORS) - 1, dtype=np.uint8)
        self.points, self.rows, self.extent = points, rows, extent or points.extent()
        self.color, self._marks = color, np.zeros(len(rows), dtype=bool)
        self._show(frame)

    def static(self) -> alt.LayerChart:
        """The same picture without a kernel or a GPU, of at most `theme.MAX_POINTS` points.

        Raises
        ------
        ConfigurationError
            If nothing was drawn yet.
        """
        live = LiveMap(self.kind, self.title)
        live.draw(self._drawn_points(), self.color, self.extent)
        # both draw a sample of the same rows; what only the other one drew is unused here
        codes = pd.Series(self._codes, index=self.rows).reindex(live.rows, fill_value=len(_COLORS) - 1)
        live.paint(codes.to_numpy())
        live.mark(np.isin(live.rows, self.rows[self._marks]))
        live.star(*(self._star or (None,)))
        return live.static()

    def zoom_to(self, bounds: Bounds) -> None:
        """Move the camera over the points within bounds; nothing is drawn anew.

        Raises
        ------
        ConfigurationError
            If there are no bounds, or no drawn point lies within them.
        """
        points, inside = self._drawn_points(), np.ones(len(self.rows), dtype=bool)
        for name, (low, high) in bounds.items():
            inside &= self._frame[name].between(low, high).to_numpy()
        if {points.x_name, points.y_name} - set(bounds) or not inside.any():
            raise ConfigurationError("nothing to zoom to: turn the mouse wheel over the map instead")
        self._scatter.zoom(to=np.flatnonzero(inside))

    def zoom_out(self) -> None:
        """Move the camera back."""
        self._drawn_points()
        self._scatter.zoom(to=None)

    # ------------------------------------------------------------ what changes without a redraw

    def paint(self, codes: np.ndarray) -> None:
        """Give every drawn point a part, as `LiveMap.paint`.

        Raises
        ------
        ConfigurationError
            If there is not one code per drawn point.
        """
        self._codes = self._part_codes(codes)
        if self._scatter is not None and self.color == "part":
            self._send_codes()

    def mark(self, mask: np.ndarray | None) -> None:
        """Select drawn points (k,) bool, and let the others fade; None or nothing marked clears.

        Raises
        ------
        ConfigurationError
            If there is not one value per drawn point.
        """
        mask = self._marked(mask)
        self._marks = mask
        if self._scatter is not None:
            self._is_asking = True  # what the kernel selects is no lasso
            try:
                self._scatter.selection(np.flatnonzero(mask))
            finally:
                self._is_asking = False

    def star(self, x: float | None, y: float | None = None) -> None:
        """Cross two lines at a place, in the units of the axes; None, or a place that is no number, removes them."""
        is_place = x is not None and y is not None and bool(np.isfinite([x, y]).all())
        self._star = (float(x), float(y)) if is_place else None  # type: ignore[arg-type]  # both are numbers then
        if self._scatter is not None:
            lines = [self._library.VLine(self._star[0]), self._library.HLine(self._star[1])] if self._star else []
            self._scatter.annotations(lines)

    # ------------------------------------------------------------ what the user does

    def on_lasso(self, function: Callable[[np.ndarray], None]) -> None:
        """Call a function with the rows (m,), ascending, of every lasso that holds two points or more."""
        self._lassoed.append(function)

    def _select(self, change: Any) -> None:
        if self._is_asking:
            return
        rows = np.sort(self.rows[np.asarray(change["new"] if change["new"] is not None else [], dtype=np.int64)])
        for lassoed in self._lassoed if len(rows) > 1 else ():
            lassoed(rows)
        for picked in self._picked if len(rows) == 1 else ():
            picked(int(rows[0]))
        for cleared in self._brushed if not len(rows) else ():
            cleared({})

    # ------------------------------------------------------------ how it is done

    def _sample(self, points: MapPoints, color: str, extent: Extent | None) -> np.ndarray:
        """Indices of the points to draw, ascending."""
        found = np.flatnonzero(points.inside(extent) if extent else points.placed)
        if not len(found):
            raise ConfigurationError(f"no point of the {self.kind} map lies there: zoom out")
        most = MAX_SCATTERED if color == "part" else theme.MAX_POINTS
        if len(found) > most:
            found = np.sort(np.random.default_rng(0).choice(found, most, replace=False))
        unit = f"{len(found):,} of {len(points.rows):,} points drawn"
        self.heading.value = f'<b style="color: {INK}">{html.escape(self.title)}</b><br>{unit}'
        return found

    def _show(self, frame: pd.DataFrame) -> None:
        points, old, self._frame = self._drawn_points(), self._scatter, frame
        self._scatter = self._library.Scatter(
            data=frame, x=points.x_name, y=points.y_name, x_scale=self.extent[0], y_scale=self.extent[1],
            height=HEIGHT, background_color="white", opacity=_CLEAR, opacity_unselected=_FADED,
            axes_labels=[points.x_title, points.y_title],
        )  # fmt: skip
        if self.color == "part":
            self._send_codes()
        else:
            self._scatter.color(by=self.color, map="viridis" if frame[self.color].dtype.kind in "iuf" else "auto")
            self._scatter.legend(True)
        self.star(*(self._star or (None,)))
        drawn = self._scatter.widget
        drawn.observe(self._select, "selection")
        drawn.observe(self._tell_shown, "camera_view")  # which a browser sets when it draws
        self.widget.children = (self.heading, self.legend, self._scatter.show())
        if old is not None:
            old.widget.close()

    def _tell_shown(self, change: Any) -> None:
        for function in self._shown:
            function(change)

    def _send_codes(self) -> None:
        """Colours are numbers in the third column of the points, which index a list of colours."""
        drawn = self._scatter.widget
        places = drawn.points.copy()
        places[:, 2] = self._codes
        drawn.color = [(*(channel / 255 for channel in bytes.fromhex(c[1:])), 1.0) for c in _COLORS.values()]
        drawn.color_by = "valueA"
        drawn.points = places
        swatches = (f'<span style="color: {color}">&#9632;</span> {part}' for part, color in _COLORS.items())
        self.legend.value = f'<span style="color: {INK}">{" &nbsp; ".join(swatches)}</span>'
