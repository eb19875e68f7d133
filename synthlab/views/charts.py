"""Figures as pure functions from tidy tables to Altair charts, in one theme.

Titles are the caller's claims; a question stands in where none is given. A table without rows, or without
a column that a figure reads, raises `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from synthlab.presets import MEASURES
from synthlab.views import theme
from synthlab.views.theme import show_static as show_static
from synthlab.views.theme import use_theme as use_theme

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
    shown = theme.checked("space_map", frame, x, y, color)
    if len(shown) > theme.MAX_POINTS:
        shown = shown.sample(theme.MAX_POINTS, random_state=0).sort_index()
    columns = ("program", "leaves", "root", "class_size", "part", color)
    tooltip = [c for c in dict.fromkeys(columns) if c in shown]
    return (
        alt.Chart(shown, title=theme.titled(title, subtitle), width=420, height=380)
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
    title = theme.TITLES.get(color, color.replace("_", " "))
    if color == "class_size":
        scale = alt.Scale(type="log", scheme="viridis")
        some = alt.Color("class_size:Q", title=title, scale=scale)
        # programs that are undefined as functions have no class; a logarithm has no place for them
        return {"color": alt.condition("datum.class_size > 0", some, alt.value(theme.GREY))}
    if color == "leaves":
        return {"color": alt.Color("leaves:O", title=title, scale=alt.Scale(scheme="viridis"))}
    if pd.api.types.is_numeric_dtype(frame[color]) and not pd.api.types.is_bool_dtype(frame[color]):
        return {"color": alt.Color(f"{color}:Q", title=title, scale=alt.Scale(scheme="viridis"))}
    return {"color": theme.color(frame[color], title), "shape": theme.shape(frame[color], title)}


def map_pair(
    syntactic_frame: pd.DataFrame, semantic_frame: pd.DataFrame, color: str, title: str = "", subtitle: str = ""
) -> alt.HConcatChart:
    """The maps of both spaces side by side, coloured alike."""
    frames = [theme.checked("map_pair", f, color) for f in (syntactic_frame, semantic_frame)]
    if not pd.api.types.is_numeric_dtype(frames[0][color]):
        order = theme.order(pd.concat([f[color] for f in frames]))
        frames = [f.assign(**{color: pd.Categorical(f[color], categories=order)}) for f in frames]
    maps = (
        space_map(frames[0], color, "By what is written", "syntactic space: one point per program"),
        space_map(frames[1], color, "By what is computed", "semantic space: one point per function"),
    )
    return alt.hconcat(*maps, spacing=30, title=theme.titled(title, subtitle))


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
        theme.checked("explained_variance", frame, "axis", "explained", "cumulative")
    table = pd.concat([f.assign(space=name) for name, f in frames.items()]) if frames else pd.DataFrame()
    table = theme.checked("explained_variance", table, "axis").assign(axes=lambda t: t["axis"] + 1)
    x = alt.X("axes:Q", title="number of axes", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False))
    y = alt.Y("cumulative:Q", title="explained share", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    return theme.curves(table, x, y, "space", ["space", "axes", "explained", "cumulative"]).properties(
        title=theme.titled(title, subtitle), width=480, height=300
    )


def _measure_of(frame: pd.DataFrame) -> str:
    """The column that holds sizes; leaves if there is none, which the check of columns then reports."""
    return next((measure for measure in MEASURES if measure in frame), "leaves")


def counts_chart(
    frame: pd.DataFrame, title: str = "How fast does the universe grow?", subtitle: str = ""
) -> alt.LayerChart:
    """Programs and functions per size on a log scale (columns programs, functions, and leaves, nodes or depth)."""
    size = _measure_of(frame)
    table = theme.checked("counts_chart", frame, size, "programs", "functions")
    long = table.melt(size, ["programs", "functions"], var_name="what", value_name="count").query("count > 0")
    x = alt.X(f"{size}:O", title=size)
    y = alt.Y(
        "count:Q", title="count (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=5)
    )
    lines = theme.curves(long, x, y, "what", ["what", size, alt.Tooltip("count:Q", format=",")])
    side = "datum.what == 'programs' ? -1 : 1"
    text = (
        alt.Chart(long)
        .transform_calculate(text="format(datum.count, datum.count < 1e5 ? ',' : '.3~s')")
        .mark_text(dx=alt.expr(f"16 * ({side})"), dy=alt.expr(f"13 * ({side})"), fontSize=12)
        .encode(x, y, alt.Text("text:N"))
    )
    return theme.layers(lines, text, title=theme.titled(title, subtitle), width=max(320, 70 * len(table)), height=320)


# ---------------------------------------------------------------- splits and results


def size_histogram(
    frame: pd.DataFrame, title: str = "Do the parts differ in size?", subtitle: str = ""
) -> alt.FacetChart:
    """Share of each size, one row per part (columns part, items, share, and leaves, nodes or depth)."""
    size = _measure_of(frame)
    table = theme.checked("size_histogram", frame, "part", size, "items", "share")
    base = alt.Chart(table, width=max(220, 44 * table[size].nunique()), height=52).encode(
        alt.X(f"{size}:O", title=size),
        alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=2), scale=alt.Scale(domain=[0, 1.25])),
        tooltip=["part", size, alt.Tooltip("items:Q", format=","), alt.Tooltip("share:Q", format=".1%")],
    )
    bars = base.mark_bar().encode(theme.color(table["part"], "part", legend=None))
    text = base.mark_text(dy=-8, fontSize=11).encode(alt.Text("share:Q", format=".0%"))
    row = alt.Row("part:N", title=None, sort=theme.order(table["part"]), header=theme.ROW_HEADER)
    return alt.layer(bars, text, data=table).facet(row=row, spacing=8, title=theme.titled(title, subtitle))


def density_matrix(
    frame: pd.DataFrame, title: str = "Which training density carries over best?", subtitle: str = ""
) -> alt.LayerChart:
    """Heat map of pass@1; the best training regime of every column is framed.

    Parameters
    ----------
    frame
        Columns ``train_regime``, ``test_regime``, ``pass_at_1``, one row per pair.
    """
    table = theme.checked("density_matrix", frame, "train_regime", "test_regime", "pass_at_1")
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
    frames = base.transform_filter("datum.best").mark_rect(filled=False, stroke=theme.RED, strokeWidth=4)
    text = base.mark_text(fontSize=15).encode(
        alt.Text("pass_at_1:Q", format=".1%"), color=theme.on_viridis(table["pass_at_1"], "pass_at_1")
    )
    size = {"width": 92 * len(columns), "height": 56 * len(rows)}
    return theme.layers(cells, frames, text, title=theme.titled(title, subtitle), **size)


def support_bars(
    frame: pd.DataFrame, title: str = "What is still solved in a region never trained on?", subtitle: str = ""
) -> alt.FacetChart:
    """pass@1 with its interval by part, one panel per region.

    Parameters
    ----------
    frame
        Columns ``region``, ``part``, ``pass_at_1``, ``low``, ``high``, ``num_tasks``.
    """
    table = theme.checked("support_bars", frame, "region", "part", "pass_at_1", "low", "high", "num_tasks")
    order = theme.order(table["part"])
    x = alt.X("part:N", sort=order, title=None, axis=alt.Axis(labelAngle=-35))
    top = 1.12 * float(table["high"].max()) or 1.0  # room for the numbers above the intervals
    y = alt.Y("pass_at_1:Q", title="pass@1", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, top]))
    number = alt.Tooltip("num_tasks:Q", format=",")
    base = alt.Chart(table, width=54 * len(order), height=260).encode(
        x, tooltip=["region", "part", "pass_at_1", number]
    )
    bars = base.mark_bar(width=36).encode(y, theme.color(table["part"], "part", legend=None))
    rules = base.mark_rule(strokeWidth=2).encode(alt.Y("low:Q"), alt.Y2("high:Q"))
    text = base.mark_text(dy=-9, fontSize=11).encode(alt.Y("high:Q"), alt.Text("num_tasks:Q", format=","))
    regions = list(dict.fromkeys(table["region"]))
    column = alt.Facet("region:N", title=None, sort=regions, header=alt.Header(labelFontSize=14, labelLimit=260))
    note = subtitle or "bars: share solved, with 95 % intervals; numbers: tasks"
    layers = alt.layer(bars, rules, text, data=table)
    return layers.facet(
        column, columns=len(regions) if len(regions) < 5 else (len(regions) + 1) // 2, title=theme.titled(title, note)
    )


def failure_bars(
    frame: pd.DataFrame, title: str = "What becomes of the answers?", subtitle: str = ""
) -> alt.LayerChart:
    """Stacked shares of what became of the candidates, by part (columns part, status, share)."""
    table = theme.checked("failure_bars", frame, "part", "status", "share")
    statuses = [*theme.STATUSES, *(s for s in dict.fromkeys(table["status"]) if s not in theme.STATUSES)]
    colors = (theme.STATUS_COLORS + theme.COLORS)[: len(statuses)]
    # explicit ends, so that labels can be centred in their segments
    table = table.assign(rank=table["status"].map(statuses.index)).sort_values(["part", "rank"])
    table = table.assign(end=table.groupby("part")["share"].cumsum()).assign(start=lambda t: t["end"] - t["share"])
    table = table.assign(middle=(table["start"] + table["end"]) / 2)
    parts = theme.order(table["part"])
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
    return theme.layers(bars, text, title=theme.titled(title, subtitle), width=560, height=44 * len(parts))


def learning_curve(
    frame: pd.DataFrame, title: str = "Has the model finished learning?", subtitle: str = ""
) -> alt.HConcatChart:
    """Loss and pass@1 over training steps, a panel each (columns step, name, value).

    Names that contain "loss" are drawn in the first panel, all others in the second.
    """
    table = theme.checked("learning_curve", frame, "step", "name", "value")
    is_loss = table["name"].str.contains("loss")
    panels = [
        _panel(table[mask], heading, shape)
        for mask, heading, shape in ((is_loss, "loss", ""), (~is_loss, "pass@1", "%"))
        if mask.any()
    ]
    return (
        alt.hconcat(*panels, spacing=30, title=theme.titled(title, subtitle))
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
            theme.color(table["name"], None, legend=alt.Legend(orient="top")),
            theme.dash(table["name"], None),
            tooltip=["name", "step", "value"],
        )
    )


def pass_at_k(frame: pd.DataFrame, title: str = "Do more samples help?", subtitle: str = "") -> alt.LayerChart:
    """pass@k with its interval by part on a log axis (columns k, part, value, low, high)."""
    table = theme.checked("pass_at_k", frame, "k", "part", "value", "low", "high")
    ticks = alt.Axis(values=sorted(table["k"].unique().tolist()), format="d", labelOverlap=True)
    x = alt.X("k:Q", title="k, samples per task (log scale)", scale=theme.LOG, axis=ticks)
    y = alt.Y("value:Q", title="pass@k", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    return theme.curves(table, x, y, "part", ["part", "k", "value", "low", "high"]).properties(
        title=theme.titled(title, subtitle), width=460, height=320
    )
