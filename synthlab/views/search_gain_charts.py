"""Figures of what search adds to a model: with its size, and when the model learns what search finds.

Their tables come from `views.search_gain_frames`.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from synthlab.study.contests import GUIDED, MODEL
from synthlab.views import search_marks as marks
from synthlab.views import theme
from synthlab.views.study_frames import size_shares

_WIDTH, _HEIGHT, _LABEL = 290, 270, 52  # pixels of a panel, and of a label of three lines
_SHIFT = 1.04  # intervals at one compute would hide each other

# ---------------------------------------------------------------- against training compute


def scaling_with_search(
    points: pd.DataFrame,
    lines: pd.DataFrame,
    tasks: pd.DataFrame | None = None,
    title: str = "Does search add what compute does not?",
    subtitle: str = "",
) -> alt.HConcatChart:
    """Share solved against the compute of training and test with and without search, a column per part.

    Parameters
    ----------
    points, lines
        From `search_gain_frames.search_scaling_points` and `search_scaling_lines`.
    tasks
        From `search_frames.compared_tasks`, whose sizes stand below; None for none.
    title, subtitle
        The claim or question, and its details.
    """
    table = theme.checked("scaling_with_search", points, "part", "method", "model", "flops", "value", "low", "high")
    fitted = theme.checked("scaling_with_search", lines, "part", "method", "flops", "value", "low", "high", "slope")
    table, fitted = (frame.assign(kind=_kinds(frame["method"])) for frame in (table, fitted))
    table = table.assign(place=table["flops"] * _SHIFT ** table["kind"].map({MODEL: -1, GUIDED: 1}))
    y = marks.share_axis("value", min(1.0, 1.08 * float(max(table["high"].max(), fitted["high"].max()))))
    shares = None if tasks is None else size_shares(theme.checked("scaling_with_search", tasks, "part", "leaves"))
    columns: list[Any] = []
    for number, part in enumerate(theme.order(table["part"])):
        panel = _scaling_panel(table[table["part"] == part], fitted[fitted["part"] == part], y)
        panel = panel.properties(title=marks.heading(part))
        below = [] if shares is None else [marks.sizes_panel(shares, part, _WIDTH, None if number else 0)]
        columns.append(alt.vconcat(panel, *below, spacing=8))
    note = "points: one model size each, 95 % intervals; lines: least squares in the logarithm of compute"
    return alt.hconcat(*columns, spacing=24, title=marks.titled(title, subtitle, note))


def _kinds(methods: pd.Series) -> pd.Series:
    """Kind of every method of the scaling grid: the model alone, or with search."""
    return methods.str.startswith(MODEL).map({True: MODEL, False: GUIDED})


def _scaling_panel(points: pd.DataFrame, lines: pd.DataFrame, y: alt.Y) -> alt.LayerChart:
    ends = [float(points["flops"].min()) / 1.3, float(points["flops"].max()) * 1.3]
    label = "replace(format(datum.value, '.0e'), 'e+', 'e')"
    x = alt.X(
        "flops:Q", title="training and test compute (FLOPs, log scale)",
        axis=alt.Axis(values=marks.log_ticks(*ends), labelExpr=label),
        scale=alt.Scale(type="log", domain=ends, nice=False),
    )  # fmt: skip
    low = alt.Y("low:Q", title=y["title"], axis=y["axis"], scale=y["scale"])
    color, shape = (
        marks.kind_channel(channel, looks, None)
        for channel, looks in ((alt.Color, marks.COLORS), (alt.Shape, marks.SHAPES))
    )
    share = [alt.Tooltip(f"{c}:Q", format=".1%") for c in ("value", "low", "high")]
    shifted = alt.X("place:Q", title=x["title"], axis=x["axis"], scale=x["scale"])
    dots = alt.Chart(points).encode(shifted, color, tooltip=["method", "model", "flops", *share])
    fits = alt.Chart(lines).encode(x, color, tooltip=["method", "flops", *share])
    band = fits.mark_area(opacity=0.13).encode(low, alt.Y2("high:Q"))
    line = fits.mark_line(strokeWidth=2).encode(y)
    rules = dots.mark_rule(strokeWidth=1.5).encode(low, alt.Y2("high:Q"))
    points_ = dots.mark_point(filled=True, size=85, opacity=1).encode(y, shape)
    names = _slopes(lines, y, color)
    return theme.layers(band, line, rules, points_, names, width=_WIDTH, height=_HEIGHT)


def _slopes(lines: pd.DataFrame, y: alt.Y, color: Any) -> alt.Chart:
    """Names and slopes at the right ends of lines."""
    ends = lines.sort_values("flops").groupby("method", sort=False).tail(1)
    top = y["scale"]["domain"][1]
    texts = [f"{m}\n{_points(s)} [{_points(a)}, {_points(b)}]\npoints per decade" for m, s, a, b in zip(
        ends["method"], ends["slope"], ends["slope_low"], ends["slope_high"], strict=True
    )]  # fmt: skip
    places = top * marks.spread((ends["value"] / top).tolist(), _LABEL / _HEIGHT, _LABEL / _HEIGHT / 2)
    base = alt.Chart(ends.assign(label=texts, place=places)).encode(color)
    at = alt.Y("place:Q", title=y["title"], axis=y["axis"], scale=y["scale"])
    text = base.mark_text(align="left", baseline="middle", dy=-16, fontSize=12, lineBreak="\n")
    return text.encode(at, alt.Text("label:N"), x=alt.value(_WIDTH + 8))


def _points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")


# ---------------------------------------------------------------- expert iteration


def rounds(
    frame: pd.DataFrame,
    title: str = "Does the wall move when the model learns what search finds?",
    subtitle: str = "",
) -> alt.HConcatChart:
    """pass@1 by round of expert iteration with bands, a panel for practiced tasks and one for others.

    Parameters
    ----------
    frame
        From `search_gain_frames.rounds_frame`.
    title, subtitle
        The claim or question, and its details.
    """
    table = theme.checked("rounds", frame, "tasks", "part", "arm", "round", "value", "low", "high")
    top = min(1.0, 1.08 * float(table["high"].max()) or 1.0)
    arms, parts = (list(dict.fromkeys(table[c])) for c in ("arm", "part"))
    panels = [_rounds_panel(rows, str(tasks), parts, arms, top) for tasks, rows in table.groupby("tasks", sort=False)]
    note = "; ".join(f"{look}: {arm}" for look, arm in zip(("solid", "dashed"), arms, strict=False))
    return alt.hconcat(*panels, spacing=24, title=marks.titled(title, subtitle, f"{note}; bands: 95 % intervals"))


def _rounds_panel(rows: pd.DataFrame, tasks: str, parts: list[str], arms: list[str], top: float) -> alt.LayerChart:
    looks = theme.styles(pd.Series(parts, name="part"))
    color, shape = (
        channel("part:N", title=None, legend=None, scale=alt.Scale(
            domain=[look[0] for look in looks], range=[look[k] for look in looks]
        ))
        for channel, k in ((alt.Color, 1), (alt.Shape, 2))
    )  # fmt: skip
    dash = alt.StrokeDash(
        "arm:N", legend=None, scale=alt.Scale(domain=arms, range=[list(d) for d in theme.DASHES[: len(arms)]])
    )
    number = sorted(rows["round"].unique().tolist())
    x = alt.X("round:Q", title="round", axis=alt.Axis(values=number, format="d"),
              scale=alt.Scale(domain=[number[0], number[-1]], padding=8))  # fmt: skip
    y, low, place = (marks.share_axis(column, top, "pass@1") for column in ("value", "low", "place"))
    share = [alt.Tooltip(f"{c}:Q", format=".1%") for c in ("value", "low", "high")]
    base = alt.Chart(rows).encode(color, tooltip=["part", "arm", "round", *share])
    by_arm = base.encode(x, alt.Detail("arm:N"))
    faint = alt.Opacity("arm:N", legend=None, scale=alt.Scale(domain=arms, range=[0.17, *[0.07] * (len(arms) - 1)]))
    band = by_arm.mark_area().encode(low, alt.Y2("high:Q"), faint)
    line = by_arm.mark_line(strokeWidth=2.2).encode(y, dash)
    dots = by_arm.mark_point(filled=True, size=60, opacity=1).encode(y, shape)
    ends = rows.sort_values("round").groupby(["part", "arm"], sort=False).tail(1)
    names = [f"{marks.PARTS.get(part, part)}, {arm}" for part, arm in zip(ends["part"], ends["arm"], strict=True)]
    places = top * marks.spread((ends["value"] / top).tolist(), 15 / _HEIGHT)
    labels = alt.Chart(ends.assign(label=names, place=places)).mark_text(align="left", fontSize=12)
    texts = labels.encode(place, color, alt.Text("label:N"), x=alt.value(_WIDTH + 8))
    heading = alt.Title(tasks, fontSize=14, fontWeight="normal", frame="group")
    return theme.layers(band, line, dots, texts, title=heading, width=_WIDTH, height=_HEIGHT)
