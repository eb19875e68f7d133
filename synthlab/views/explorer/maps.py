"""One live map of a space: drawn points over the density of all, with a brush, a pick, a zoom and a star.

What changes often reaches the browser as parameters (a digit per drawn point), so that colours, highlights and
the star change without a redraw and without losing the brush. A map knows nothing of splits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import ipywidgets as W
import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError
from synthlab.spaces.space import SYNTACTIC
from synthlab.views import theme
from synthlab.views.explorer import map_chart
from synthlab.views.explorer.chart_widget import ChartWidget
from synthlab.views.explorer.raster import Extent, bin_counts, density_url
from synthlab.views.explorer.space_map import SpaceMap

Bounds = Mapping[str, tuple[float, float]]
"""Ends of a brush by the name of what it lies on; empty without a brush."""

_PARTS = theme.REGION_PARTS
_CELLS = (map_chart.HEIGHT // 2, map_chart.WIDTH // 2)
REACH = 20.0
"""A click picks the nearest drawn point within that many pixels."""


@dataclass(frozen=True, eq=False)
class MapPoints:
    """All points that a map may draw.

    Attributes
    ----------
    rows
        Rows of the space (n,), integers.
    x, y
        Their places (n,); a point that has none (NaN) is left out.
    x_title, y_title
        Titles of the axes; one that ends in "(no units)" gets neither ticks nor numbers.
    x_name, y_name
        What a brush calls them: ``map_x`` or ``axis_3``.
    describe
        From rows (k,) to a table of k rows: program, leaves (or nodes or depth), root, class_size and further
        columns to colour by. It is asked for the drawn rows only.
    total
        Rows of the space that have a place in it, if a map knows places of some of them only.
    """

    rows: np.ndarray
    x: np.ndarray
    y: np.ndarray
    x_title: str
    y_title: str
    x_name: str
    y_name: str
    describe: Callable[[np.ndarray], pd.DataFrame]
    total: int = 0

    @property
    def placed(self) -> np.ndarray:
        """Which points have a place, (n,) bool."""
        return np.isfinite(self.x) & np.isfinite(self.y)

    def extent(self) -> Extent:
        """Ends of the map, a little beyond the outermost points."""
        placed = self.placed
        return _ends(self.x[placed]), _ends(self.y[placed])

    def inside(self, extent: Extent) -> np.ndarray:
        """Which points lie in an extent, (n,) bool; a point without a place does not."""
        (x0, x1), (y0, y1) = extent
        return (self.x >= x0) & (self.x <= x1) & (self.y >= y0) & (self.y <= y1)


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin


class LiveMap(SpaceMap):
    """A map that a kernel can repaint and that tells the kernel what was brushed or picked.

    Parameters
    ----------
    kind
        Kind of the space, ``syntactic`` (a point is a program) or ``semantic`` (a point is a function).
    title
        Heading of the map.

    Attributes
    ----------
    widget
        The box to show; it is empty until something is drawn.
    rows
        Rows of the space that are drawn now, (k,).
    frame
        What `MapPoints.describe` says of them, and their places (k rows).
    extent
        Ends of what is shown.
    bounds
        Of the present brush; empty without one.
    live
        The chart as a widget, None until something is drawn.
    """

    def __init__(self, kind: str, title: str) -> None:
        theme.use_theme()
        super().__init__(kind, title)
        self.widget = W.VBox([], layout=W.Layout(flex="0 0 auto"))  # or the output area clips the legend
        self.widget.add_class(f"synthlab-map-{kind}")
        self.live: ChartWidget | None = None
        self.extent, self.frame = ((0.0, 1.0), (0.0, 1.0)), pd.DataFrame()
        self._params: dict[str, Any] = {"parts": "", "marks": "", "star": []}
        self._density, self._subtitle = "", ""
        self._zoomed: Extent | None = None
        self._order = np.empty(0, dtype=np.float32)
        self._categories: dict[str, list[str]] = {}

    # ------------------------------------------------------------ what is drawn

    def draw(self, points: MapPoints, color: str, extent: Extent | None = None) -> None:
        """Draw anew: at most `theme.MAX_POINTS` points of an extent (everything if None), over the density of all.

        Highlights and the brush are gone afterwards, and all points are unused until they are painted, unless the
        same rows are drawn again; the star stays. A map that was zoomed shows the points it showed, and more.

        Parameters
        ----------
        points
            All points.
        color
            ``part`` (see `paint`) or a column of their description.
        extent
            Ends of what is shown, ``((x0, x1), (y0, y1))``.

        Raises
        ------
        ConfigurationError
            If no point lies there, or there is no such column.
        """
        there = points.inside(extent) if extent else points.placed
        num_there = int(np.count_nonzero(there))
        if not num_there:
            raise ConfigurationError(f"no point of the {self.kind} map lies there: zoom out, or brush elsewhere")
        chosen = self._sample(points, there, num_there)
        rows = points.rows[chosen]
        frame = points.describe(rows).reset_index(drop=True)
        frame = frame.assign(**{points.x_name: points.x[chosen], points.y_name: points.y[chosen]})
        if color != "part":
            theme.checked("a map's colour", frame, color)
            frame = self._with_lasting_colors(frame, color)
        if not np.array_equal(rows, self.rows):
            self._params["parts"] = str(len(theme.REGION_PARTS) - 1) * len(rows)
        self._params["marks"] = ""
        self.points, self.color, self.rows, self.frame = points, color, rows, frame
        self.extent, self._zoomed = extent or points.extent(), extent
        self._describe_sample(num_there, zoomed=extent is not None)
        self._show()

    def recolor(self, color: str) -> None:
        """Draw what is shown in other colours."""
        self.draw(self._drawn_points(), color, self._zoomed)

    def static(self) -> alt.LayerChart:
        """The same picture without a kernel.

        Raises
        ------
        ConfigurationError
            If nothing was drawn yet.
        """
        return map_chart.static_map(self._scene())

    def zoom_to(self, bounds: Bounds) -> None:
        """Draw what lies in the bounds of a brush; the brush is cleared without a call of `on_brush`.

        Raises
        ------
        ConfigurationError
            If nothing is brushed, or no point lies there.
        """
        points = self._drawn_points()
        missing = {points.x_name, points.y_name} - set(bounds)
        if missing or any(low >= high for low, high in bounds.values()):
            raise ConfigurationError("nothing to zoom to: drag over the map first")
        self.draw(points, self.color, (bounds[points.x_name], bounds[points.y_name]))

    def zoom_out(self) -> None:
        """Draw everything again."""
        self.draw(self._drawn_points(), self.color)

    # ------------------------------------------------------------ what changes without a redraw

    def paint(self, codes: np.ndarray) -> None:
        """Give every drawn point a part; seen when coloured by ``part``.

        Parameters
        ----------
        codes
            Numbers (k,) in `theme.REGION_PARTS`, in the order of `rows`.

        Raises
        ------
        ConfigurationError
            If there is not one such number per drawn point.
        """
        self._set("parts", _digits(self._part_codes(codes)))

    def mark(self, mask: np.ndarray | None) -> None:
        """Highlight drawn points (k,) bool, and let the others fade; None or nothing marked clears.

        Raises
        ------
        ConfigurationError
            If there is not one value per drawn point.
        """
        mask = self._marked(mask)
        self._set("marks", _digits(mask) if mask.any() else "")

    def star(self, x: float | None, y: float | None = None) -> None:
        """Set a star at a place, in the units of the axes; None, or a place that is no number, removes it."""
        place = [] if x is None or y is None else [float(x), float(y)]
        self._set("star", place if np.isfinite(place).all() else [])

    def at_once(self) -> contextlib.AbstractContextManager[None]:
        """Tell the browser of all changes within the context in one message, so that it draws once."""
        return super().at_once() if self.live is None else self.live.hold_sync()

    # ------------------------------------------------------------ what the user does

    def on_pick(self, function: Callable[[int], None]) -> None:
        """Call a function with the row of the point that is nearest to a click, if one is within `REACH` pixels."""
        super().on_pick(function)

    def on_shown(self, function: Callable[[Any], None]) -> None:
        """Call a function, with whatever argument, when a browser first shows the map."""
        super().on_shown(function)
        if self.live is not None:
            self.live.observe(function, "local_tz")

    def _brush(self, change: Any) -> None:
        self.bounds = {name: (min(ends), max(ends)) for name, ends in (change["new"].value or {}).items()}
        for function in self._brushed:
            function(dict(self.bounds))

    def _answer(self, change: Any) -> None:
        """A parameter came back from the browser: a click, or an outdated value of ours."""
        name, value = change["name"], change["new"]
        if name == "place":
            self._pick(value or ())
        elif name in self._params and value != self._params[name]:
            # a browser that draws the map anew reports what it was first drawn with; tell it what holds now
            self._set(name, self._params[name])

    def _pick(self, place: Sequence[float]) -> None:
        if len(place) < 2 or self.points is None:
            return
        (x0, x1), (y0, y1) = self.extent
        across = (self.frame[self.points.x_name].to_numpy() - place[0]) * (map_chart.WIDTH / (x1 - x0))
        up = (self.frame[self.points.y_name].to_numpy() - place[1]) * (map_chart.HEIGHT / (y1 - y0))
        distances = np.hypot(across, up)
        nearest = int(np.argmin(distances))
        if distances[nearest] <= REACH:
            for function in self._picked:
                function(int(self.rows[nearest]))

    # ------------------------------------------------------------ how it is done

    def _sample(self, points: MapPoints, there: np.ndarray, num_there: int) -> np.ndarray:
        """Indices of the points to draw, ascending: those that are first in an order which lasts across zooms."""
        found = np.flatnonzero(there)
        if num_there <= theme.MAX_POINTS:
            return found
        if len(self._order) != len(points.rows):
            self._order = np.random.default_rng(0).random(len(points.rows), dtype=np.float32)
        first = np.argpartition(self._order[found], theme.MAX_POINTS)[: theme.MAX_POINTS]
        return np.sort(found[first])

    def _with_lasting_colors(self, frame: pd.DataFrame, color: str) -> pd.DataFrame:
        """A text column as categories in an order that outlasts a zoom, so that no category changes its colour."""
        if pd.api.types.is_numeric_dtype(frame[color]) or isinstance(frame[color].dtype, pd.CategoricalDtype):
            return frame
        known = self._categories.get(color, [])
        self._categories[color] = list(dict.fromkeys([*known, *theme.order(frame[color])]))
        return frame.assign(**{color: pd.Categorical(frame[color].astype(str), categories=self._categories[color])})

    def _describe_sample(self, num_there: int, *, zoomed: bool) -> None:
        """Density below the points if some are left out, and a subtitle that says how many."""
        points, num_drawn = self._drawn_points(), len(self.rows)
        unit = "programs" if self.kind == SYNTACTIC else "functions"
        self._density, where = "", " in view" if zoomed else ""
        self._subtitle = f"{num_there:,} {unit}{where}"
        if points.total > len(points.rows) and not zoomed:
            self._subtitle = f"{num_there:,} of {points.total:,} {unit}"
        if num_there > num_drawn:
            self._density = density_url(bin_counts(points.x, points.y, self.extent, _CELLS))
            self._subtitle = f"{num_drawn:,} of {num_there:,} {unit}{where} drawn; grey: all of them"

    def _scene(self) -> map_chart.Scene:
        points = self._drawn_points()
        return map_chart.Scene(
            frame=self.frame, color=self.color, extent=self.extent, density=self._density,
            title=self.title, subtitle=self._subtitle,
            x_name=points.x_name, y_name=points.y_name, x_title=points.x_title, y_title=points.y_title,
            **self._params,
        )  # fmt: skip

    def _show(self) -> None:
        chart = map_chart.live_map(self._scene())
        self.bounds = {}
        if self.live is None:
            self.live = ChartWidget(chart, patch=map_chart.PATCH)
            for function in self._shown:
                self.live.observe(function, "local_tz")  # which a browser sets when it draws
            self.widget.children = (self.live,)
        else:
            self.live.chart = chart
        # a new chart comes with new selections and parameters
        self.live.selections.observe(self._brush, ["brush"])
        self.live.params.observe(self._answer)

    def _set(self, name: str, value: Any) -> None:
        self._params[name] = value
        if self.live is not None:
            self.live.params.set_trait(name, value)


def _digits(numbers: np.ndarray) -> str:
    """One digit a number (k,), which must be less than 10."""
    return (numbers.astype(np.uint8) + ord("0")).tobytes().decode()
