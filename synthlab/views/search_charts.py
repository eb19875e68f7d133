"""Figures of the contests between model, search and both: against a budget, and by part.

Their tables come from `views.search_frames`. A kind of method has one colour and one shape; the guided one is loud, the
others are quiet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from synthlab.views import search_marks as marks
from synthlab.views import theme
from synthlab.views.search_frames import KINDS
from synthlab.views.search_gain_charts import rounds as rounds
from synthlab.views.search_gain_charts import scaling_with_search as scaling_with_search
from synthlab.views.study_frames import size_shares

_AXES = {"seconds": "seconds per task", "tested": "programs tested per task"}
_WIDTH, _HEIGHT, _LINE = 350, 320, 14  # pixels of a panel, and of a line of small text
_COLUMN, _NAMES = 190, 235

# ---------------------------------------------------------------- against a budget


def decisive(
    curves: pd.DataFrame,
    title: str = "Does guided search leave the model's line?",
    subtitle: str = "",
    *,
    budgets: Mapping[str, float] | None = None,
) -> alt.HConcatChart:
    """Share solved against what was spent on a task, a panel per axis: guided search, symbolic search, the best model.

    Parameters
    ----------
    curves
        From `search_frames.solved_curves`.
    title, subtitle
        The claim or question, and its details.
    budgets
        By axis, where a thin line stands; one second by default.
    """
    columns = ("axis", "method", "kind", "leads", "budget", "value", "low", "high")
    table = theme.checked("decisive", curves, *columns)
    is_model = table["kind"] == KINDS[0]
    limits = {"seconds": 1.0} if budgets is None else budgets
    shown = table[~is_model | table["leads"]].groupby("axis", sort=False)
    panels = [_budget_panel(rows, str(axis), limits.get(str(axis))) for axis, rows in shown]
    num = table.loc[is_model, "method"].nunique()
    notes = [f"model: the best of {num} ways to answer"] * (num > 1) + ["bands: 95 % intervals of the bold lines"]
    notes += ["a line ends at the most that was spent on a task", *(["thin rule: the budget"] if limits else [])]
    return alt.hconcat(*panels, spacing=24, title=marks.titled(title, subtitle, "; ".join(notes)))


def _budget_panel(rows: pd.DataFrame, axis: str, budget: float | None) -> alt.LayerChart:
    ends = [float(rows["budget"].min()), 1.15 * float(rows["budget"].max())]
    ticks = alt.Axis(values=marks.log_ticks(*ends), labelExpr="format(datum.value, datum.value < 1 ? '~g' : '~s')")
    title = f"{_AXES.get(axis, axis)} (log scale)"
    x = alt.X("budget:Q", title=title, axis=ticks, scale=alt.Scale(type="log", domain=ends, nice=False))
    y = marks.share_axis("value")
    color = marks.kind_channel(alt.Color, marks.COLORS, alt.Legend(orient="top"))
    names = list(dict.fromkeys(rows["method"]))
    dashes = alt.Scale(domain=names, range=[_dash(rows, name) for name in names])
    share = [alt.Tooltip(f"{c}:Q", format=".1%") for c in ("value", "low", "high")]
    base = alt.Chart(rows).encode(x, color, tooltip=["method", "budget", *share])
    best, others = (base.transform_filter(f"{no}datum.leads") for no in ("", "!"))
    band = best.mark_area(interpolate="step-after", opacity=0.13).encode(marks.share_axis("low"), alt.Y2("high:Q"))
    layers: list[Any] = [band]
    if budget is not None and ends[0] <= budget <= ends[1]:
        rule = alt.Chart(pd.DataFrame({"budget": [budget]})).mark_rule(color="#555555", strokeWidth=1)
        layers.append(rule.encode(x))
    layers += [
        line.mark_line(interpolate="step-after", strokeWidth=width, opacity=opacity).encode(
            y, alt.StrokeDash("method:N", scale=dashes, legend=None)
        )
        for line, width, opacity in ((others, 1.6, 0.85), (best, 3.2, 1.0))
    ]
    return theme.layers(*layers, *_end_labels(rows, x, y, color), width=_WIDTH, height=_HEIGHT)


def _dash(rows: pd.DataFrame, method: str) -> list[int]:
    """Lines of one kind are told apart by their dashes, in the order in which they come."""
    kind = rows.loc[rows["method"] == method, "kind"].iloc[0]
    names = list(dict.fromkeys(rows.loc[rows["kind"] == kind, "method"]))
    return list(theme.DASHES[names.index(method) % len(theme.DASHES)])


def _end_labels(rows: pd.DataFrame, x: alt.X, y: alt.Y, color: Any) -> list[alt.Chart]:
    """Shares and names at the ends of lines, in the right margin; thin threads lead to them."""
    ends = rows.groupby("method", sort=False).tail(1)
    ends = ends.assign(rank=ends["kind"].map(KINDS.index)).sort_values(["value", "rank"])
    labels = [f"{value:.0%} {method}" for value, method in zip(ends["value"], ends["method"], strict=True)]
    ends = ends.assign(place=marks.spread(ends["value"].tolist(), _LINE / _HEIGHT), label=labels)
    base = alt.Chart(ends).encode(color)
    thread: dict[str, Any] = {"strokeWidth": 0.8, "opacity": 0.6}
    names = base.encode(marks.share_axis("place"), alt.Text("label:N"), x=alt.value(_WIDTH + 22))
    return [
        base.mark_rule(**thread, strokeDash=[1, 3]).encode(x, y, x2=alt.value(_WIDTH)),
        base.mark_rule(**thread).encode(y, alt.Y2("place:Q"), x=alt.value(_WIDTH), x2=alt.value(_WIDTH + 18)),
        base.mark_point(filled=True, size=45, opacity=1).encode(x, y, marks.kind_channel(alt.Shape, marks.SHAPES)),
        names.transform_filter("datum.leads").mark_text(align="left", fontSize=12, fontWeight="bold"),
        names.transform_filter("!datum.leads").mark_text(align="left", fontSize=12),
    ]


# ---------------------------------------------------------------- by part


def by_part(
    frame: pd.DataFrame,
    tasks: pd.DataFrame,
    title: str = "Who climbs the wall?",
    subtitle: str = "",
    *,
    x_title: str = "solved within 1 s",
) -> alt.HConcatChart:
    """Share solved by every method with its interval, a column per part, over the sizes of the tasks of that part.

    Parameters
    ----------
    frame
        From `search_frames.solved_by_part`.
    tasks
        From `search_frames.compared_tasks`.
    title, subtitle, x_title
        The claim or question, its details, and what is counted.
    """
    table = theme.checked("by_part", frame, "part", "method", "kind", "value", "low", "high")
    sizes = size_shares(theme.checked("by_part", tasks, "part", "leaves"))
    parts = theme.order(table["part"])
    last = table["method"].map(table[table["part"] == parts[-1]].set_index("method")["value"])
    ranked = table.assign(rank=table["kind"].map(KINDS.index), last=last)
    ranked = ranked.sort_values(["rank", "last"], ascending=[True, False], kind="stable")
    columns = []
    for number, part in enumerate(parts):
        blocks = list(ranked[ranked["part"] == part].groupby("rank"))
        drawn = [_dots(rows, not number, x_title if rank == blocks[-1][0] else None) for rank, rows in blocks]
        drawn[0] = drawn[0].properties(title=marks.heading(part))
        sizes_below = marks.sizes_panel(sizes, part, _COLUMN, None if number else _NAMES)
        columns.append(alt.vconcat(*drawn, sizes_below, spacing=8))
    return alt.hconcat(*columns, spacing=18, title=marks.titled(title, subtitle))


def _dots(rows: pd.DataFrame, first: bool, x_title: str | None) -> alt.LayerChart:
    """Methods of one kind on one part; names stand beside the first part, numbers below the last kind."""
    names, numbered = rows["method"].tolist(), x_title is not None
    axis = alt.Axis(labels=first, ticks=first, labelLimit=_NAMES - 10, minExtent=_NAMES if first else 0)
    y = alt.Y("method:N", sort=names, title=str(rows["kind"].iloc[0]) if first else None, axis=axis)
    ticks = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], labels=numbered, ticks=numbered)
    x, low = (
        alt.X(f"{column}:Q", title=x_title, axis=ticks, scale=alt.Scale(domain=[-0.03, 1.03], nice=False))
        for column in ("value", "low")
    )
    share = [alt.Tooltip(f"{c}:Q", format=".1%") for c in ("value", "low", "high")]
    color = marks.kind_channel(alt.Color, marks.COLORS, None)
    base = alt.Chart(rows).encode(y, color, tooltip=["method", "part", *share])
    rules = base.mark_rule(strokeWidth=2).encode(low, alt.X2("high:Q"))
    shape = marks.kind_channel(alt.Shape, marks.SHAPES, None)
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(x, shape)
    return theme.layers(rules, dots, width=_COLUMN, height=21 * len(names))


def sizes(
    tasks: pd.DataFrame, title: str = "Do the compared tasks differ in size?", subtitle: str = ""
) -> alt.HConcatChart:
    """Share of each size among the compared tasks of every part, side by side.

    Parameters
    ----------
    tasks
        From `search_frames.compared_tasks`.
    title, subtitle
        The claim or question, and its details.
    """
    shares = size_shares(theme.checked("sizes", tasks, "part", "leaves"))
    width = max(110, 32 * shares["leaves"].nunique())
    panels = [
        marks.sizes_panel(shares, part, width, None if number else 0).properties(title=marks.heading(part))
        for number, part in enumerate(theme.order(tasks["part"]))
    ]
    return alt.hconcat(*panels, spacing=12, title=marks.titled(title, subtitle))
