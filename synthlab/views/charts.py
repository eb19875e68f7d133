"""Figures as pure functions from tidy tables to Altair charts, in one theme.

Categories carry a colour (Okabe and Ito, safe for colour blindness) and a second mark (shape, dash or place);
quantities are viridis. A part of a split has one colour and one shape in every figure. Titles are the
caller's claims; a question stands in where none is given. A table without rows, or without a column that
a figure reads, raises `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import Operator
from synthlab.language.program import Program

MAX_POINTS = 20_000
"""Most points a scatter draws; more are sampled, since a browser's canvas becomes slow."""

REGION_PARTS = ("train", "held out", "reserved", "unused")
"""Parts of a split that a program can lie in, in the order of the legend."""

STATUSES = ("solved", "right on grid", "wrong function", "ungrammatical", "too long", "undefined")
"""What can become of a candidate, in the order in which bars are stacked."""

_BLUE, _ORANGE, _GREEN, _RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_PURPLE, _SKY, _BLACK, _YELLOW, _GREY = "#CC79A7", "#56B4E9", "#000000", "#F0E442", "#BBBBBB"
_COLORS = (_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _SKY, _BLACK, _YELLOW)
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 1], [1, 3], [10, 2, 2, 2, 2, 2])
_PARTS = {
    "train": (_BLUE, "circle"),
    "held out": (_RED, "diamond"),
    "reserved": (_GREEN, "square"),
    "unused": (_GREY, "cross"),
    "id": (_GREEN, "square"),
    "open": (_ORANGE, "triangle-up"),
    "forced": (_RED, "diamond"),
    "matched_id": (_SKY, "triangle-down"),
    "matched_forced": (_PURPLE, "triangle-right"),
}
_STATUS_COLORS = (_GREEN, _SKY, _ORANGE, _PURPLE, _YELLOW, _GREY)
_TITLES = {"class_size": "programs per function", "root": "root", "part": "part of the split", "leaves": "leaves"}
_FONT = "Helvetica Neue, Arial, Liberation Sans, DejaVu Sans, sans-serif"


@alt.theme.register("synthlab", enable=False)
def _theme() -> alt.theme.ThemeConfig:
    label = {"labelFontSize": 13, "titleFontSize": 14, "titleFontWeight": "normal"}
    config: dict[str, Any] = {
        "font": _FONT,
        "background": "white",
        "view": {"continuousWidth": 420, "continuousHeight": 300, "stroke": "#DDDDDD"},
        "title": {"anchor": "start", "fontSize": 17, "subtitleFontSize": 13, "subtitleColor": "#555555", "offset": 10},
        "axis": {**label, "gridColor": "#EEEEEE", "domainColor": "#888888", "tickColor": "#888888"},
        "axisX": {"labelAngle": 0},
        "header": {**label, "labelAnchor": "start"},
        "legend": {**label, "symbolSize": 110, "symbolOpacity": 1, "labelLimit": 260},
        "range": {"category": list(_COLORS), "symbol": list(_SHAPES), "heatmap": {"scheme": "viridis"}},
        "line": {"strokeWidth": 2.5},
        "text": {"font": _FONT, "fontSize": 13},
    }
    # vega-embed draws SVG unless told otherwise, which is three times slower for a scatter
    theme: Any = {"config": config, "usermeta": {"embedOptions": {"renderer": "canvas"}}}
    return theme


def use_theme() -> None:
    """Draw every following chart in the package's theme, and lift Altair's limit of 5,000 rows."""
    alt.theme.enable("synthlab")
    alt.data_transformers.disable_max_rows()


def show_static() -> None:
    """Show charts in notebooks as sharp PNG images, which need neither network nor JavaScript."""
    alt.renderers.enable("png", ppi=144)


# ---------------------------------------------------------------- the universe and its spaces


def space_map(
    frame: pd.DataFrame, color: str, title: str, subtitle: str = "", *, x: str = "map_x", y: str = "map_y"
) -> alt.Chart:
    """Scatter of a space: its UMAP map, or two of its axes.

    Parameters
    ----------
    frame
        From `spaces.projection.map_frame`, with any further columns.
    color
        Column that colours the points; a text column also gives them shapes.
    title, subtitle
        The claim or question, and its details.
    x, y
        Columns of the places. Only SVD/PCA axes get numbers: UMAP's units mean nothing.
    """
    shown = _checked("space_map", frame, x, y, color)
    if len(shown) > MAX_POINTS:
        shown = shown.sample(MAX_POINTS, random_state=0).sort_index()
    columns = ("program", "leaves", "root", "class_size", "part", color)
    tooltip = [c for c in dict.fromkeys(columns) if c in shown]
    return (
        alt.Chart(shown, title=_title(title, subtitle), width=420, height=380)
        .mark_point(filled=True, opacity=0.75, size=min(60, max(10, 60_000 // len(shown))), strokeWidth=0)
        .encode(_place(alt.X, x), _place(alt.Y, y), tooltip=tooltip, **_map_color(shown, color))
    )


def _place(channel: Any, column: str) -> Any:
    if column.startswith("map_"):
        axis = alt.Axis(labels=False, ticks=False, grid=False, title=f"UMAP {'12'[column == 'map_y']} (no units)")
    else:
        axis = alt.Axis(title=column.replace("_", " "))
    return channel(f"{column}:Q", axis=axis, scale=alt.Scale(zero=False))


def _map_color(frame: pd.DataFrame, color: str) -> dict[str, Any]:
    title = _TITLES.get(color, color.replace("_", " "))
    if color == "class_size":
        scale = alt.Scale(type="log", scheme="viridis")
        some = alt.Color("class_size:Q", title=title, scale=scale)
        # programs that are undefined as functions have no class; a logarithm has no place for them
        return {"color": alt.condition("datum.class_size > 0", some, alt.value(_GREY))}
    if color == "leaves":
        return {"color": alt.Color("leaves:O", title=title, scale=alt.Scale(scheme="viridis"))}
    if pd.api.types.is_numeric_dtype(frame[color]) and not pd.api.types.is_bool_dtype(frame[color]):
        return {"color": alt.Color(f"{color}:Q", title=title, scale=alt.Scale(scheme="viridis"))}
    return {"color": _color(frame[color], title), "shape": _shape(frame[color], title)}


def map_pair(
    syntactic_frame: pd.DataFrame, semantic_frame: pd.DataFrame, color: str, title: str = "", subtitle: str = ""
) -> alt.HConcatChart:
    """The maps of both spaces side by side, coloured alike."""
    frames = [_checked("map_pair", f, color) for f in (syntactic_frame, semantic_frame)]
    if not pd.api.types.is_numeric_dtype(frames[0][color]):
        order = _order(pd.concat([f[color] for f in frames]))
        frames = [f.assign(**{color: pd.Categorical(f[color], categories=order)}) for f in frames]
    maps = (
        space_map(frames[0], color, "By what is written", "syntactic space: one point per program"),
        space_map(frames[1], color, "By what is computed", "semantic space: one point per function"),
    )
    return alt.hconcat(*maps, spacing=30, title=_title(title, subtitle))


def explained_variance(
    frames: Mapping[str, pd.DataFrame], title: str = "How many axes does a space need?", subtitle: str = ""
) -> alt.LayerChart:
    """Cumulative explained share per axis, one line per named space.

    Parameters
    ----------
    frames
        Per name, columns ``axis``, ``explained``, ``cumulative`` (`Space.frame`).
    """
    for frame in frames.values():
        _checked("explained_variance", frame, "axis", "explained", "cumulative")
    table = pd.concat([f.assign(space=name) for name, f in frames.items()]) if frames else pd.DataFrame()
    table = _checked("explained_variance", table, "axis").assign(axes=lambda t: t["axis"] + 1)
    x = alt.X("axes:Q", title="number of axes", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False))
    y = alt.Y("cumulative:Q", title="explained share", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    return _curves(table, x, y, "space", ["space", "axes", "explained", "cumulative"]).properties(
        title=_title(title, subtitle), width=480, height=300
    )


def counts_chart(
    frame: pd.DataFrame, title: str = "How fast does the universe grow?", subtitle: str = ""
) -> alt.LayerChart:
    """Programs and functions per number of leaves on a log scale (columns leaves, programs, functions)."""
    table = _checked("counts_chart", frame, "leaves", "programs", "functions")
    long = table.melt("leaves", ["programs", "functions"], var_name="what", value_name="count").query("count > 0")
    x = alt.X("leaves:O", title="leaves")
    y = alt.Y(
        "count:Q", title="count (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=5)
    )
    lines = _curves(long, x, y, "what", ["what", "leaves", alt.Tooltip("count:Q", format=",")])
    side = "datum.what == 'programs' ? -1 : 1"
    text = (
        alt.Chart(long)
        .transform_calculate(text="format(datum.count, datum.count < 1e5 ? ',' : '.3~s')")
        .mark_text(dx=alt.expr(f"16 * ({side})"), dy=alt.expr(f"13 * ({side})"), fontSize=12)
        .encode(x, y, alt.Text("text:N"))
    )
    return _layers(lines, text, title=_title(title, subtitle), width=max(320, 70 * len(table)), height=320)


def outputs_heatmap(
    frame: pd.DataFrame, title: str = "What does the solver see?", subtitle: str = ""
) -> alt.LayerChart:
    """Outputs of one program on the grid (columns x, y, value); a pole stays grey."""
    table = _checked("outputs_heatmap", frame, "x", "y", "value")
    columns, rows = list(dict.fromkeys(table["x"])), list(dict.fromkeys(table["y"]))[::-1]
    base = alt.Chart(table).encode(
        alt.X("x:O", sort=columns, axis=alt.Axis(format=".3~f" if table["x"].dtype.kind == "f" else "")),
        alt.Y("y:O", sort=rows, axis=alt.Axis(format=".3~f" if table["y"].dtype.kind == "f" else "")),
        tooltip=["x", "y", "value"],
    )
    defined = base.transform_filter("isValid(datum.value)")
    cells = defined.mark_rect(stroke="white").encode(alt.Color("value:Q", scale=alt.Scale(scheme="viridis")))
    text = defined.mark_text().encode(alt.Text("value:Q", format=".4~g"), color=_on_viridis(table["value"], "value"))
    poles = base.mark_rect(stroke="white", color=_GREY)
    size = {"width": 56 * len(columns), "height": 42 * len(rows)}
    return _layers(poles, cells, text, title=_title(title, subtitle), **size)


def program_tree(program: Program, title: str = "", subtitle: str = "") -> alt.LayerChart:
    """Drawing of a program as a tree: operators are circles, variables and constants are squares."""
    width, _, nodes, edges = program.fold(
        lambda token: (1, 0.5, [(0.5, 0, program.grammar.tokens[token], "leaf")], []), _place_operands
    )
    table = pd.DataFrame(nodes, columns=["x", "depth", "token", "kind"])
    links = pd.DataFrame(edges, columns=["x", "depth", "x2", "depth2"])
    depth = int(table["depth"].max())
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, width], nice=False))
    y = alt.Y("depth:Q", axis=None, scale=alt.Scale(domain=[depth + 0.5, -0.5], nice=False))
    lines = alt.Chart(links).mark_rule(color="#888888", strokeWidth=2).encode(x, y, x2="x2", y2="depth2")
    kinds = ["operator", "leaf"]
    marks = (
        alt.Chart(table)
        .mark_point(filled=True, size=900, opacity=1)
        .encode(
            x,
            y,
            alt.Color("kind:N", legend=None, scale=alt.Scale(domain=kinds, range=[_BLUE, _ORANGE])),
            alt.Shape("kind:N", legend=None, scale=alt.Scale(domain=kinds, range=["circle", "square"])),
        )
    )
    ink = alt.condition("datum.kind == 'leaf'", alt.value("black"), alt.value("white"))
    text = alt.Chart(table).mark_text(fontSize=17, fontWeight="bold").encode(x, y, text="token:N", color=ink)
    heading = _title(title or program.infix_text(), subtitle)
    drawn = [lines, marks, text] if len(links) else [marks, text]
    size = {"width": max(120, 64 * width), "height": 70 * (depth + 1)}
    return _layers(*drawn, title=heading, view=alt.ViewBackground(stroke=None), **size)


def _place_operands(operator: Operator, below: Sequence[Any]) -> Any:
    """Set subtrees side by side under an operator: width, place of the root, nodes and edges."""
    nodes: list[tuple[float, int, str, str]] = []
    edges: list[tuple[float, int, float, int]] = []
    width, roots = 0, []
    for part_width, root, part_nodes, part_edges in below:
        nodes += [(width + x, depth + 1, text, kind) for x, depth, text, kind in part_nodes]
        edges += [(width + x, d + 1, width + x2, d2 + 1) for x, d, x2, d2 in part_edges]
        roots.append(width + root)
        width += part_width
    place = (roots[0] + roots[-1]) / 2
    nodes.append((place, 0, operator.symbol, "operator"))
    return width, place, nodes, edges + [(place, 0, root, 1) for root in roots]


# ---------------------------------------------------------------- splits and results


def size_histogram(
    frame: pd.DataFrame, title: str = "Do the parts differ in size?", subtitle: str = ""
) -> alt.FacetChart:
    """Share of each number of leaves, one row per part (columns part, leaves, items, share)."""
    table = _checked("size_histogram", frame, "part", "leaves", "items", "share")
    base = alt.Chart(table, width=max(220, 44 * table["leaves"].nunique()), height=52).encode(
        alt.X("leaves:O", title="leaves"),
        alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=2), scale=alt.Scale(domain=[0, 1.25])),
        tooltip=["part", "leaves", alt.Tooltip("items:Q", format=","), alt.Tooltip("share:Q", format=".1%")],
    )
    bars = base.mark_bar().encode(_color(table["part"], "part", legend=None))
    text = base.mark_text(dy=-8, fontSize=11).encode(alt.Text("share:Q", format=".0%"))
    row = alt.Row("part:N", title=None, sort=_order(table["part"]), header=_ROW_HEADER)
    return alt.layer(bars, text, data=table).facet(row=row, spacing=8, title=_title(title, subtitle))


def density_matrix(
    frame: pd.DataFrame, title: str = "Which training density carries over best?", subtitle: str = ""
) -> alt.LayerChart:
    """Heat map of pass@1; the best training regime of every column is framed.

    Parameters
    ----------
    frame
        Columns ``train_regime``, ``test_regime``, ``pass_at_1``, one row per pair.
    """
    table = _checked("density_matrix", frame, "train_regime", "test_regime", "pass_at_1")
    best = table.groupby("test_regime")["pass_at_1"].transform("max")
    table = table.assign(best=table["pass_at_1"] == best)
    rows, columns = (list(dict.fromkeys(table[c])) for c in ("train_regime", "test_regime"))
    base = alt.Chart(table).encode(
        alt.X("test_regime:N", sort=columns, title="tested on", axis=alt.Axis(orient="top", domain=False, ticks=False)),
        alt.Y("train_regime:N", sort=rows, title="trained on", axis=alt.Axis(domain=False, ticks=False)),
        tooltip=["train_regime", "test_regime", alt.Tooltip("pass_at_1:Q", format=".3f")],
    )
    scale = alt.Scale(scheme="viridis", zero=False)
    cells = base.mark_rect().encode(
        alt.Color("pass_at_1:Q", title="pass@1", scale=scale, legend=alt.Legend(format="%"))
    )
    frames = base.transform_filter("datum.best").mark_rect(filled=False, stroke=_RED, strokeWidth=4)
    text = base.mark_text(fontSize=15).encode(
        alt.Text("pass_at_1:Q", format=".1%"), color=_on_viridis(table["pass_at_1"], "pass_at_1")
    )
    size = {"width": 92 * len(columns), "height": 56 * len(rows)}
    return _layers(cells, frames, text, title=_title(title, subtitle), **size)


def support_bars(
    frame: pd.DataFrame, title: str = "What is still solved in a region never trained on?", subtitle: str = ""
) -> alt.FacetChart:
    """pass@1 with its interval by part, one panel per region.

    Parameters
    ----------
    frame
        Columns ``region``, ``part``, ``pass_at_1``, ``low``, ``high``, ``num_tasks``.
    """
    table = _checked("support_bars", frame, "region", "part", "pass_at_1", "low", "high", "num_tasks")
    order = _order(table["part"])
    x = alt.X("part:N", sort=order, title=None, axis=alt.Axis(labelAngle=-35))
    top = 1.12 * float(table["high"].max()) or 1.0  # room for the numbers above the intervals
    y = alt.Y("pass_at_1:Q", title="pass@1", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, top]))
    number = alt.Tooltip("num_tasks:Q", format=",")
    base = alt.Chart(table, width=54 * len(order), height=260).encode(
        x, tooltip=["region", "part", "pass_at_1", number]
    )
    bars = base.mark_bar(width=36).encode(y, _color(table["part"], "part", legend=None))
    rules = base.mark_rule(strokeWidth=2).encode(alt.Y("low:Q"), alt.Y2("high:Q"))
    text = base.mark_text(dy=-9, fontSize=11).encode(alt.Y("high:Q"), alt.Text("num_tasks:Q", format=","))
    regions = list(dict.fromkeys(table["region"]))
    column = alt.Facet("region:N", title=None, sort=regions, header=alt.Header(labelFontSize=14, labelLimit=260))
    note = subtitle or "bars: share solved, with 95 % intervals; numbers: tasks"
    layers = alt.layer(bars, rules, text, data=table)
    return layers.facet(
        column, columns=len(regions) if len(regions) < 5 else (len(regions) + 1) // 2, title=_title(title, note)
    )


def failure_bars(
    frame: pd.DataFrame, title: str = "What becomes of the answers?", subtitle: str = ""
) -> alt.LayerChart:
    """Stacked shares of what became of the candidates, by part (columns part, status, share)."""
    table = _checked("failure_bars", frame, "part", "status", "share")
    statuses = [*STATUSES, *(s for s in dict.fromkeys(table["status"]) if s not in STATUSES)]
    colors = (_STATUS_COLORS + _COLORS)[: len(statuses)]
    # explicit ends, so that labels can be centred in their segments
    table = table.assign(rank=table["status"].map(statuses.index)).sort_values(["part", "rank"])
    table = table.assign(end=table.groupby("part")["share"].cumsum()).assign(start=lambda t: t["end"] - t["share"])
    table = table.assign(middle=(table["start"] + table["end"]) / 2)
    parts = _order(table["part"])
    base = alt.Chart(table).encode(
        y=alt.Y("part:N", sort=parts, title=None), tooltip=["part", "status", alt.Tooltip("share:Q", format=".1%")]
    )
    legend = alt.Color(
        "status:N", title=None, scale=alt.Scale(domain=statuses, range=list(colors)), legend=alt.Legend(orient="top")
    )
    x = alt.X("start:Q", title="share of tasks", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    bars = base.mark_bar(height=30, stroke="white").encode(x, alt.X2("end:Q"), legend)
    text = base.transform_filter("datum.share >= 0.04").mark_text(fontSize=12)
    text = text.encode(alt.X("middle:Q"), alt.Text("share:Q", format=".0%"))
    return _layers(bars, text, title=_title(title, subtitle), width=560, height=44 * len(parts))


def learning_curve(
    frame: pd.DataFrame, title: str = "Has the model finished learning?", subtitle: str = ""
) -> alt.HConcatChart:
    """Loss and pass@1 over training steps, a panel each (columns step, name, value).

    Names that contain "loss" are drawn in the first panel, all others in the second.
    """
    table = _checked("learning_curve", frame, "step", "name", "value")
    is_loss = table["name"].str.contains("loss")
    panels = [
        _panel(table[mask], heading, shape)
        for mask, heading, shape in ((is_loss, "loss", ""), (~is_loss, "pass@1", "%"))
        if mask.any()
    ]
    return (
        alt.hconcat(*panels, spacing=30, title=_title(title, subtitle))
        .resolve_scale(color="independent", strokeDash="independent")
        .resolve_legend(color="independent", strokeDash="independent")
    )


def _panel(table: pd.DataFrame, heading: str, number_format: str) -> alt.Chart:
    scale = alt.Scale(domainMin=0) if number_format else alt.Scale(zero=False)
    return (
        alt.Chart(table, width=380, height=280)
        .mark_line()
        .encode(
            alt.X("step:Q", title="training step", axis=alt.Axis(format="~s", tickCount=5)),
            alt.Y("value:Q", title=heading, axis=alt.Axis(format=number_format), scale=scale),
            _color(table["name"], None, legend=alt.Legend(orient="top")),
            _dash(table["name"], None),
            tooltip=["name", "step", "value"],
        )
    )


def scaling_chart(
    points: pd.DataFrame,
    fits: pd.DataFrame | None = None,
    title: str = "Does more compute close the gap?",
    subtitle: str = "",
) -> alt.LayerChart:
    """pass@1 against training compute, with fitted curves.

    Parameters
    ----------
    points
        Columns ``flops``, ``pass_at_1``, ``low``, ``high``, ``part``, ``model``.
    fits
        Columns ``flops``, ``value``, ``form``, ``part``; None or no row draws the points alone.
    """
    table = _checked("scaling_chart", points, "flops", "pass_at_1", "low", "high", "part", "model")
    x = alt.X(
        "flops:Q", title="training compute (FLOPs, log scale)", scale=_LOG, axis=alt.Axis(format=".0e", tickCount=6)
    )
    y = alt.Y("pass_at_1:Q", title="pass@1", axis=alt.Axis(format="%"), scale=alt.Scale(domainMin=0))
    color = _color(table["part"], "part")
    base = alt.Chart(table).encode(x, color, tooltip=["model", "part", "flops", "pass_at_1", "low", "high"])
    layers = [
        base.mark_rule(strokeWidth=1.5).encode(alt.Y("low:Q"), alt.Y2("high:Q")),
        base.mark_point(filled=True, size=90, opacity=1).encode(y, _shape(table["model"], "model")),
    ]
    if fits is not None and len(fits):
        lines = _checked("scaling_chart", fits, "flops", "value", "form", "part")
        curve = alt.Chart(lines).mark_line().encode(x, alt.Y("value:Q", title="pass@1"), color)
        layers.insert(0, curve.encode(_dash(lines["form"], "fitted form")))
    return _layers(*layers, title=_title(title, subtitle), width=520, height=340)


def solved_within(
    frame: pd.DataFrame, title: str = "How much must be spent to solve a task?", subtitle: str = ""
) -> alt.FacetChart:
    """Share solved within a budget, a row per part and a column per unit of budget.

    Parameters
    ----------
    frame
        Columns ``method``, ``part``, ``budget`` (positive), ``solved``, ``low``, ``high``, ``unit``.
    """
    table = _checked("solved_within", frame, "method", "part", "budget", "solved", "low", "high", "unit")
    table = _checked("solved_within", table[table["budget"] > 0])  # nothing else has a place on a log axis
    table = table.assign(limit="budget: " + table["unit"].astype(str))
    x = alt.X("budget:Q", title="spent (log scale)", scale=_LOG, axis=_LOG_AXIS)
    y = alt.Y("solved:Q", title="solved", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    layers = _curves(table, x, y, "method", ["method", "part", "unit", "budget", "solved"], interpolate="step-after")
    row = alt.Row("part:N", title=None, sort=_order(table["part"]), header=_ROW_HEADER)
    return (
        layers.properties(width=380, height=190)
        .facet(row=row, column=alt.Column("limit:N", title=None), title=_title(title, subtitle))
        .resolve_scale(x="independent")
    )


def pass_at_k(frame: pd.DataFrame, title: str = "Do more samples help?", subtitle: str = "") -> alt.LayerChart:
    """pass@k with its interval by part on a log axis (columns k, part, value, low, high)."""
    table = _checked("pass_at_k", frame, "k", "part", "value", "low", "high")
    ticks = alt.Axis(values=sorted(table["k"].unique().tolist()), format="d", labelOverlap=True)
    x = alt.X("k:Q", title="k, samples per task (log scale)", scale=_LOG, axis=ticks)
    y = alt.Y("value:Q", title="pass@k", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    return _curves(table, x, y, "part", ["part", "k", "value", "low", "high"]).properties(
        title=_title(title, subtitle), width=460, height=320
    )


# ---------------------------------------------------------------- what the figures share

_LOG = alt.Scale(type="log", nice=False, padding=12)
_LOG_AXIS = alt.Axis(tickCount=6, labelExpr="format(datum.value, datum.value < 1 ? '~g' : '~s')")
_ROW_HEADER = alt.Header(labelAngle=0, labelAlign="left", labelAnchor="middle", labelFontSize=13)


def _checked(name: str, frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame, if it has rows and the columns that a figure reads."""
    if frame.empty:
        raise ConfigurationError(f"{name}: there are no rows to draw; give a table with at least one")
    missing = [c for c in columns if c not in frame]
    if missing:
        raise ConfigurationError(f"{name}: the table lacks {', '.join(missing)}; it has {', '.join(map(str, frame))}")
    return frame


def _layers(*charts: Any, **properties: Any) -> alt.LayerChart:
    layered: Any = alt.layer(*charts)  # lifts the common data out of the layers, which facets rely on
    return layered.properties(**{k: v for k, v in properties.items() if v is not alt.Undefined})


def _title(text: str, subtitle: str) -> Any:
    return alt.Title(text, subtitle=subtitle or alt.Undefined) if text else alt.Undefined


def _order(values: pd.Series) -> list[str]:
    """Categories in the order of the legend: parts of a split as declared, others as they come."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return list(values.cat.categories)
    present = list(dict.fromkeys(values.astype(str)))
    if values.name == "root":
        present.sort(key=str.isalnum)  # operators first: they are many and get the strongest colours
    if set(present) <= set(REGION_PARTS):
        return list(REGION_PARTS)  # a map that happens to lack a part keeps its legend
    return [p for p in _PARTS if p in present] + [v for v in present if v not in _PARTS]


def _styles(values: pd.Series) -> list[tuple[str, str, str, list[int]]]:
    """(category, colour, shape, dash) of every category."""
    order, styles = _order(values), []
    for number, name in enumerate(order):
        kept = _PARTS.get(name, (_COLORS[number % len(_COLORS)], _SHAPES[number % len(_SHAPES)]))
        styles.append((name, *kept, list(_DASHES[number % len(_DASHES)])))
    return styles


def _color(values: pd.Series, title: str | None, *, legend: Any = alt.Undefined) -> alt.Color:
    names, colors, _, _ = zip(*_styles(values), strict=True)
    return alt.Color(f"{values.name}:N", title=title, scale=alt.Scale(domain=names, range=colors), legend=legend)


def _shape(values: pd.Series, title: str | None) -> alt.Shape:
    names, _, shapes, _ = zip(*_styles(values), strict=True)
    return alt.Shape(f"{values.name}:N", title=title, scale=alt.Scale(domain=names, range=shapes))


def _dash(values: pd.Series, title: str | None) -> alt.StrokeDash:
    names, _, _, dashes = zip(*_styles(values), strict=True)
    return alt.StrokeDash(f"{values.name}:N", title=title, scale=alt.Scale(domain=names, range=dashes))


def _on_viridis(values: pd.Series, column: str) -> Any:
    """Ink that can be read on viridis: black on its bright half, white on its dark one."""
    middle = float(values.min() + values.max()) / 2
    return alt.condition(f"datum.{column} > {middle}", alt.value("black"), alt.value("white"))


def _curves(
    table: pd.DataFrame, x: Any, y: Any, by: str, tooltip: list[Any], interpolate: str = "linear"
) -> alt.LayerChart:
    """Lines with points by category, over a band where the table has `low` and `high`."""
    base = alt.Chart(table).encode(x, _color(table[by], None), tooltip=tooltip)
    lines = base.mark_line(interpolate=interpolate).encode(y)  # type: ignore[arg-type]
    points = base.mark_point(filled=True, size=55, opacity=1).encode(y, _shape(table[by], None))
    if "low" not in table:
        return _layers(lines, points)
    band = base.mark_area(interpolate=interpolate, opacity=0.15)  # type: ignore[arg-type]
    return _layers(band.encode(alt.Y("low:Q"), alt.Y2("high:Q")), lines, points)
