"""Figures of a study against what was spent: training programs, samples, and training compute."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import pandas as pd

from synthlab.views import theme

_SHIFT = 1.05


def data_size_curve(
    frame: pd.DataFrame, title: str = "Do more random programs make up for diversity?", subtitle: str = ""
) -> alt.FacetChart:
    """pass@1 against the number of training programs by regime with intervals, a panel per score.

    Parameters
    ----------
    frame
        Columns score (mean of tests, worst test), regime, num_train, value, low, high.
    title, subtitle
        The claim or question, and its details.
    """
    table = theme.checked("data_size_curve", frame, "score", "regime", "num_train", "value", "low", "high")
    ticks = alt.Axis(values=sorted(table["num_train"].unique().tolist()), format=",", labelOverlap=True)
    regimes = theme.order(table["regime"])
    # intervals at one number would hide each other
    shift = table["regime"].astype(str).map(regimes.index).astype(float) - (len(regimes) - 1) / 2
    table = table.assign(place=table["num_train"] * _SHIFT**shift)
    ends = [float(table["num_train"].min()) / 1.25, float(table["num_train"].max()) * 1.25]
    scale = alt.Scale(type="log", nice=False, domain=ends)
    x = alt.X("place:Q", title="training programs (log scale)", scale=scale, axis=ticks)
    y = alt.Y("value:Q", title="pass@1", axis=alt.Axis(format="%"), scale=alt.Scale(zero=True))
    share = [alt.Tooltip(f"{c}:Q", format=".1%") for c in ("value", "low", "high")]
    base = alt.Chart(table, width=300, height=280).encode(
        x, theme.color(table["regime"], "trained on"), tooltip=["score", "regime", "num_train", *share]
    )
    lines = base.mark_line(opacity=0.6).encode(y)
    rules = base.mark_rule(strokeWidth=1.5).encode(alt.Y("low:Q", title="pass@1"), alt.Y2("high:Q"))
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(y, theme.shape(table["regime"], "trained on"))
    column = alt.Column("score:N", title=None, sort=list(dict.fromkeys(table["score"])))
    layers = alt.layer(lines, rules, dots, data=table)
    return layers.facet(column=column, title=theme.titled(title, subtitle or "95 % intervals"))


def pass_at_k_lines(
    frame: pd.DataFrame, title: str = "Do more samples close the gap?", subtitle: str = ""
) -> alt.FacetChart:
    """pass@k with its interval by part on a log axis, a panel per space (columns space, k, part, value, low, high)."""
    table = theme.checked("pass_at_k_lines", frame, "space", "k", "part", "value", "low", "high")
    table = table.assign(panel=table["space"] + " regions")
    ticks = alt.Axis(values=sorted(table["k"].unique().tolist()), format="d", labelOverlap=True)
    x = alt.X("k:Q", title="k, samples per task (log scale)", scale=theme.LOG, axis=ticks)
    y = alt.Y("value:Q", title="pass@k", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    lines: Any = theme.curves(table, x, y, "part", ["panel", "part", "k", "value", "low", "high"])
    column = alt.Column("panel:N", title=None, sort=list(dict.fromkeys(table["panel"])))
    note = subtitle or "share of tasks with a right answer among k samples at temperature 1; bands: 95 %"
    chart: alt.FacetChart = lines.properties(width=290, height=280).facet(
        column=column, title=theme.titled(title, note)
    )
    return chart


def scaling_figure(
    points: pd.DataFrame,
    curves: pd.DataFrame | None = None,
    title: str = "Which law predicts the largest runs?",
    subtitle: str = "",
    *,
    y_title: str = "pass@1",
) -> alt.HConcatChart:
    """A metric against training compute, a panel per part: runs with intervals, and fitted laws with their bands.

    Parameters
    ----------
    points
        Columns part, model, flops, value, low, high, held_out (whether the laws are judged by the run).
    curves
        From `study.scaling.fitted_curves`, of one metric: part, law, flops, value, low, high; None for none.
    title, subtitle
        The claim or question, and its details.
    y_title
        What was measured; pass@1 is shown as a percentage from 0, anything else as a number.
    """
    table = theme.checked("scaling_figure", points, "part", "model", "flops", "value", "low", "high", "held_out")
    table = table.assign(runs=table["held_out"].map({True: _HELD_OUT, False: _FITTED}))
    lines = None
    if curves is not None and len(curves):
        lines = theme.checked("scaling_figure", curves, "part", "law", "flops", "value", "low", "high")
        lines = lines.assign(law=pd.Categorical(lines["law"], list(dict.fromkeys(lines["law"]))))
    ends = [float(table["low"].min()), float(table["high"].max())]
    is_share = y_title == "pass@1"
    scale = alt.Scale(domain=[0, 1.1 * ends[1] or 1.0]) if is_share else alt.Scale(domain=ends, padding=12, zero=False)
    y = alt.Y("value:Q", title=y_title, axis=alt.Axis(format="%" if is_share else ".3~g"), scale=scale)
    parts = theme.order(table["part"])
    panels = [_scaling_panel(table[table["part"] == part], lines, part, y) for part in parts]
    note = subtitle or "95 % intervals; lines: laws fitted to all runs"
    note += "; diamonds: the largest runs, by which fits to the others are judged"
    return alt.hconcat(*panels, spacing=24, title=theme.titled(title, note)).resolve_scale(y="shared")


_FITTED, _HELD_OUT = "others", "the largest"


def _scaling_panel(points: pd.DataFrame, lines: pd.DataFrame | None, part: str, y: alt.Y) -> alt.LayerChart:
    ink = theme.PARTS.get(part, (theme.BLACK, ""))[0]
    axis = alt.Axis(values=_ticks(points["flops"]), labelExpr="replace(format(datum.value, '.0e'), 'e+', 'e')")
    x = alt.X("flops:Q", title="training compute (FLOPs, log scale)", scale=theme.LOG, axis=axis)
    low = alt.Y("low:Q", title=y["title"], axis=y["axis"], scale=y["scale"])
    runs = alt.Scale(domain=[_FITTED, _HELD_OUT], range=["circle", "diamond"])
    legend = alt.Legend(symbolFillColor="#777777", symbolStrokeColor="#777777")
    base = alt.Chart(points).encode(x, tooltip=["model", "part", "flops", "value", "low", "high", "runs"])
    dots = base.mark_point(filled=True, size=110, opacity=1, color=ink)
    marks = [
        base.mark_rule(strokeWidth=1.5, color=ink).encode(low, alt.Y2("high:Q")),
        dots.encode(y, alt.Shape("runs:N", title="runs", scale=runs, legend=legend)),
    ]
    if lines is not None:
        stroke = alt.Legend(symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=300)
        law = alt.Chart(lines[lines["part"] == part]).encode(x, tooltip=["law", "flops", "value", "low", "high"])
        law = law.encode(theme.color(lines["law"], "law", legend=stroke))
        band = law.mark_area(opacity=0.12, clip=True).encode(low, alt.Y2("high:Q"))
        line = law.mark_line(strokeWidth=2, clip=True).encode(y, theme.dash(lines["law"], "law"))
        marks = [band, line, *marks]
    return theme.layers(*marks, title=alt.Title(part, fontSize=14, fontWeight="normal"), width=330, height=280)


def _ticks(flops: pd.Series) -> list[float]:
    """One and three times every power of ten in a range, or its ends."""
    powers = range(math.floor(math.log10(flops.min())), math.ceil(math.log10(flops.max())) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 3)]
    inside = [t for t in ticks if flops.min() / 1.1 <= t <= flops.max() * 1.1]
    return inside if len(inside) > 1 else [float(flops.min()), float(flops.max())]
