"""The chart of one map: density, drawn points, highlighted points and a star, whose looks follow parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthlab.views import charts, theme
from synthlab.views.explorer.raster import Extent

WIDTH, HEIGHT = 400, 330
"""Pixels of the plotting area."""
TOOLTIP = ("program", "leaves", "nodes", "depth", "root", "class_size", "part")
"""Columns a point shows under the mouse, where there are such; and the column that colours it."""
_DIGITS = 5
_CLEAR, _FADED = 0.75, 0.12
_BRUSH = alt.BrushConfig(fill="#333333", fillOpacity=0.06, stroke="#222222", strokeWidth=1.5)
_UNITLESS = "(no units)"
_STAR = (
    "M0,-1L0.235,-0.324L0.951,-0.309L0.38,0.124L0.588,0.809L0,0.4L-0.588,0.809L-0.38,0.124L-0.951,-0.309L-0.235,-0.324Z"
)

# Vega-Lite has no parameter that is the place of a click, and its nearest-point selection draws a polygon per
# point; two signals of Vega do it. A click that ends a drag is none, and the time tells two clicks apart.
_PRESSED = {"name": "pressed", "value": [0, 0], "on": [{"events": "pointerdown", "update": "[x(), y()]"}]}
_NEAR = "abs(x() - pressed[0]) + abs(y() - pressed[1]) < 5"
_WITHIN = "inrange(x(), [0, width]) && inrange(y(), [0, height])"
_CLICK = {
    "name": "click",
    "value": [],
    "on": [
        {"events": "click", "update": f"{_NEAR} && {_WITHIN} ? [invert('x', x()), invert('y', y()), now()] : click"}
    ],
}
PATCH = [{"op": "add", "path": "/signals/0", "value": signal} for signal in (_CLICK, _PRESSED)]
"""Option ``patch`` of vega-embed for a live map: the signals behind its parameter ``place``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What a map shows.

    Attributes
    ----------
    frame
        The drawn points: columns ``x_name``, ``y_name``, the one that colours them, and those of `TOOLTIP`.
    color
        Column that colours the points; ``part`` follows the parameter of that name.
    x_name, y_name, x_title, y_title
        Columns of the places, and their titles; one that ends in "(no units)" gets no numbers.
    extent
        Ends of the axes.
    density
        URL of the image below the points, or empty.
    title, subtitle
        Heading.
    parts
        A digit per point, its number in `theme.REGION_PARTS`.
    marks
        A digit per point, 1 if it is highlighted; empty while all points look alike.
    star
        Place of the star: two numbers, or none.
    """

    frame: pd.DataFrame
    color: str
    x_name: str
    y_name: str
    x_title: str
    y_title: str
    extent: Extent
    density: str
    title: str
    subtitle: str
    parts: str
    marks: str
    star: list[float]


def live_map(scene: Scene) -> alt.LayerChart:
    """Chart of a map that follows its parameters, is brushed and clicked, and needs `PATCH`.

    Its parameters are ``parts``, ``marks`` and ``star``, as in `Scene`; ``place``, of the last click and its time;
    and the selection ``brush``.

    Raises
    ------
    ConfigurationError
        If there are no points, or they lack the column that colours them.
    """
    points, data = _points(scene)
    if scene.color == "part":
        points = points.transform_calculate(part=f"{json.dumps(list(theme.REGION_PARTS))}[toNumber(parts[datum.i])]")
    params = [alt.param(name=name, value=getattr(scene, name)) for name in ("parts", "marks", "star")]
    params += [alt.param(name="place", expr="click"), alt.selection_interval(name="brush", mark=_BRUSH)]
    marked = _as_points(points.transform_filter("marks && marks[datum.i] == '1'"), scene, opacity=1, larger=2)
    drawn = _as_points(points.add_params(*params), scene, opacity=alt.expr(f"marks ? {_FADED} : {_CLEAR}"))
    layers = _stack(scene, data, drawn, marked, _star(scene, "star"))
    return layers.configure_legend(orient="bottom", labelFontSize=13, titleFontSize=13, symbolSize=90)


def static_map(scene: Scene) -> alt.LayerChart:
    """Chart of a map as it is, without parameters, so that many can stand side by side.

    Raises
    ------
    ConfigurationError
        As `live_map`.
    """
    points, data = _points(scene, is_marked=_digits_of(scene.marks) if scene.marks else 0)
    above = [_star(scene, str(scene.star))] if scene.star else []
    if scene.marks:
        above = [_as_points(points.transform_filter("datum.is_marked"), scene, opacity=1, larger=2), *above]
    drawn = _as_points(points, scene, opacity=_FADED if scene.marks else _CLEAR)
    return _stack(scene, data, drawn, *above)


def _stack(scene: Scene, data: alt.Data, *layers: alt.Chart) -> alt.LayerChart:
    """Layers over the density; those without data of their own share the points'."""
    below = [_density(scene.density)] if scene.density else []
    title = theme.titled(scene.title, scene.subtitle)
    return theme.layers(*below, *layers, data=data, width=WIDTH, height=HEIGHT, title=title)


def _points(scene: Scene, **columns: Any) -> tuple[alt.Chart, alt.Data]:
    """Layer of all drawn points, and their rows as CSV: a quarter of the size of JSON's records."""
    frame = scene.frame.assign(i=np.arange(len(scene.frame)), **columns)
    if scene.color == "part":
        frame["part"] = pd.Categorical.from_codes(_digits_of(scene.parts), pd.Index(theme.REGION_PARTS))
    if "class_size" in frame:
        frame["class_size"] = frame["class_size"].where(frame["class_size"] > 0)  # 0 would spoil a log scale
    if _type(frame[scene.color]) == "Q" and frame[scene.color].isna().any():
        # Vega-Lite leaves out what has no number, unless its colour is another column's
        frame["shade"] = frame[scene.color].fillna(frame[scene.color].min()).fillna(1)
    shown = [c for c in dict.fromkeys((*TOOLTIP, scene.color)) if c in frame]
    tooltip = [alt.Tooltip(f"{c}:{_type(frame[c])}", title=theme.TITLES.get(c, c)) for c in shown]
    chart = charts.space_map(frame, scene.color, "", x=scene.x_name, y=scene.y_name)
    chart.data = chart.title = chart.width = chart.height = alt.Undefined
    if "shade" in frame:
        chart = chart.encode(color=_known_or_grey(scene.color))
    sent = [c for c in (scene.x_name, scene.y_name, "i", "shade", *columns) if c in frame]
    return (
        chart.encode(_axis(alt.X, scene, "x"), _axis(alt.Y, scene, "y"), tooltip=tooltip),
        _as_csv(frame[list(dict.fromkeys((*shown, *sent)))]),
    )


def _known_or_grey(column: str) -> Any:
    scale = alt.Scale(scheme="viridis", type="log" if column == "class_size" else "linear", nice=False)
    shade = alt.Color("shade:Q", title=theme.TITLES.get(column, column), scale=scale)
    return alt.condition(f"isValid(datum[{json.dumps(column)}])", shade, alt.value(theme.GREY))


def _digits_of(text: str) -> NDArray[np.int8]:
    return np.frombuffer(text.encode(), dtype=np.int8) - np.int8(ord("0"))


def _as_points(points: alt.Chart, scene: Scene, *, opacity: Any, larger: int = 1) -> alt.Chart:
    size = larger * min(60, max(10, 60_000 // len(scene.frame)))
    return points.mark_point(filled=True, strokeWidth=0, size=size, opacity=opacity)


def _axis(channel: Any, scene: Scene, side: str) -> Any:
    """Channel of a place, over the whole extent."""
    name, title = getattr(scene, f"{side}_name"), getattr(scene, f"{side}_title")
    ends = scene.extent["xy".index(side)]
    labels = not title.endswith(_UNITLESS)
    axis = alt.Axis(title=title, labels=labels, ticks=labels, grid=labels)
    return channel(f"{name}:Q", axis=axis, scale=alt.Scale(domain=list(ends), nice=False, zero=False))


def _density(url: str) -> alt.Chart:
    image = alt.Chart(alt.Data(values=[{}])).mark_image(
        url=url, width=WIDTH, height=HEIGHT, align="left", baseline="top", aspect=False
    )
    return image.encode(x=alt.value(0), y=alt.value(0))


def _star(scene: Scene, place: str) -> alt.Chart:
    """Layer of the star at an expression of two numbers or none; it stays at the edge if its place lies beyond."""
    (x0, x1), (y0, y1) = scene.extent
    inside = {
        scene.x_name: f"clamp({place}[0], {x0}, {x1})",
        scene.y_name: f"clamp({place}[1], {y0}, {y1})",
    }
    return (
        alt.Chart(alt.Data(values=[{}]))
        .transform_filter(f"length({place}) == 2")
        .transform_calculate(**inside)
        .mark_point(
            shape=_STAR, size=500, filled=True, fill=theme.YELLOW, stroke=theme.BLACK, strokeWidth=1.5, opacity=1
        )
        .encode(_axis(alt.X, scene, "x"), _axis(alt.Y, scene, "y"))
        .encode(fill=alt.value(theme.YELLOW), stroke=alt.value(theme.BLACK))
    )


def _as_csv(frame: pd.DataFrame) -> alt.Data:
    text = frame.round(_DIGITS).to_csv(index=False)
    kinds = {"Q": "number", "N": "string"}
    parse = {str(column): kinds[_type(values)] for column, values in frame.items()}
    return alt.Data(values=text, format=alt.CsvDataFormat(type="csv", parse=parse))


def _type(values: pd.Series) -> str:
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return "Q" if is_number else "N"
