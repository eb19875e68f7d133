"""Figures of a study: the board of claims, drops by region, worst cases, shares of a drop, predictors, sizes.

Their tables come from `views.study_frames` and `views.support_frames`.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from synthlab.views import theme
from synthlab.views.claims_board import amount
from synthlab.views.claims_board import claims_board as claims_board
from synthlab.views.study_frames import size_shares

_PERCENT = alt.Axis(format="%", tickCount=6)
_GREY = "#666666"

# ---------------------------------------------------------------- estimates in rows

_KINDS = {
    "one region": (theme.BLUE, "circle"),
    "variant": (theme.ORANGE, "square"),
    "other grammar": (theme.GREEN, "triangle-up"),
    "all regions": (theme.BLACK, "diamond"),
}
KINDS = tuple(_KINDS)
"""Kinds of rows of `effect_forest`."""
_LETTER = 7.4  # pixels


def effect_forest(
    table: pd.DataFrame,
    title: str = "What does it cost to answer from a region never trained on?",
    subtitle: str = "",
    *,
    bound: float = -0.3,
) -> alt.VConcatChart:
    """Relative drops with their intervals, a panel per space; a rule at zero, and one at the bound of the claims.

    Parameters
    ----------
    table
        Columns space, kind (of `KINDS`), label, value, low, high; rows without a value say so.
    title, subtitle
        The claim or question, and its details.
    bound
        Drop that is claimed.
    """
    table = theme.checked("effect_forest", table, "space", "kind", "label", "value", "low", "high")
    top = float(np.clip(np.nanmax([*table["high"], 0.25]), 0.25, 1.0))
    axis = alt.Axis(labelLimit=330, minExtent=min(330, round(_LETTER * table["label"].str.len().max())))
    scale = alt.Scale(domain=[-1.03, top + 0.03], nice=False)
    change = alt.Axis(tickCount=6, labelExpr="datum.value ? format(datum.value, '+.0%') : '0%'")
    x = alt.X("value:Q", title="relative change of pass@1", axis=change, scale=scale)
    kinds = [kind for kind in KINDS if kind in set(table["kind"])]
    panels = [
        _forest_panel(r, f"{space} regions", x, axis, bound, kinds) for space, r in table.groupby("space", sort=False)
    ]
    note = subtitle or "from matched ID to matched forced tasks, 95 % intervals"
    note = f"{note}; dashed: the claimed bound of {bound:.0%}".replace("-", "\N{MINUS SIGN}")
    return alt.vconcat(*panels, spacing=12, title=theme.titled(title, note))


def _forest_panel(
    rows: pd.DataFrame, heading: str, x: alt.X, axis: alt.Axis, bound: float, kinds: list[str]
) -> alt.LayerChart:
    labels, end = rows["label"].tolist(), x["scale"]["domain"][1]
    colors, shapes = ([_KINDS[kind][k] for kind in kinds] for k in (0, 1))
    color = alt.Color("kind:N", title=None, scale=alt.Scale(domain=kinds, range=colors))
    shape = alt.Shape("kind:N", title=None, scale=alt.Scale(domain=kinds, range=shapes))
    share = [alt.Tooltip(f"{c}:Q", format="+.1%") for c in ("value", "low", "high")]
    base = alt.Chart(rows).encode(
        alt.Y("label:N", sort=labels, title=None, axis=axis), tooltip=["label", "kind", *share]
    )
    known, missing = (base.transform_filter(f"{no}isValid(datum.value)") for no in ("", "!"))
    rules = known.mark_rule(strokeWidth=2, clip=True).encode(_start(x), alt.X2("high:Q"), color)
    dots = known.mark_point(filled=True, size=95, opacity=1, clip=True).encode(x, color, shape)
    missing = missing.mark_text(align="left", dx=4, color=_GREY, fontSize=11, text="nothing to compare")
    # intervals that leave the axis say so
    cut = known.transform_filter(f"datum.high > {end}").mark_text(
        text="\N{BLACK RIGHT-POINTING TRIANGLE}", align="right"
    )
    return theme.layers(
        _line_at(0.0, x, color="#999999"), _line_at(bound, x, color=theme.RED, strokeDash=[5, 4]), rules, dots,
        missing.encode(x=alt.datum(-1.0)),
        cut.encode(color, x=alt.value("width")),
        title=alt.Title(heading, fontSize=14, fontWeight="normal"), width=460, height=21 * len(labels),
    )  # fmt: skip


def _start(axis: alt.X) -> alt.X:
    """The lower end of intervals on an axis."""
    return alt.X("low:Q", title=axis["title"], axis=axis["axis"], scale=axis["scale"])


def _line_at(value: float, axis: alt.X, **looks: Any) -> alt.Chart:
    return alt.Chart(pd.DataFrame({"value": [value]})).mark_rule(**looks).encode(axis)


def worst_case_dots(
    table: pd.DataFrame, title: str = "Which training density has the best worst case?", subtitle: str = ""
) -> alt.LayerChart:
    """pass@1 on the test regime where each way to train does worst, with intervals; named where that is.

    Parameters
    ----------
    table
        Columns label (how it was trained), regime, policy, value, low, high, worst (the test regime).
    title, subtitle
        The claim or question, and its details.
    """
    table = theme.checked("worst_case_dots", table, "label", "regime", "policy", "value", "low", "high", "worst")
    labels = table["label"].tolist()
    scale = alt.Scale(domain=[0, 1.3 * float(table["high"].max()) or 1.0])
    x = alt.X("value:Q", title="pass@1 on the worst test regime", axis=_PERCENT, scale=scale)
    share = [alt.Tooltip(f"{c}:Q", format=".1%") for c in ("value", "low", "high")]
    base = alt.Chart(table).encode(
        alt.Y("label:N", sort=labels, title="trained on", axis=alt.Axis(labelLimit=300)),
        theme.color(table["regime"], None, legend=None), tooltip=["label", "worst", *share],
    )  # fmt: skip
    rules = base.mark_rule(strokeWidth=2).encode(_start(x), alt.X2("high:Q"))
    dots = base.mark_point(filled=True, size=95, opacity=1).encode(x, theme.shape(table["policy"], "targets"))
    where = base.mark_text(align="left", dx=7, fontSize=11).encode(alt.X("high:Q"), alt.Text("worst:N"))
    note = subtitle or "95 % intervals, which lean low as those of a minimum do; names: the worst test regime"
    return theme.layers(rules, dots, where, title=theme.titled(title, note), width=400, height=26 * len(labels))


def decomposition_bars(
    frame: pd.DataFrame, title: str = "What is the drop made of?", subtitle: str = ""
) -> alt.HConcatChart:
    """Shares of a drop by explanation with intervals, a panel per space; the first row is their sum.

    Parameters
    ----------
    frame
        Columns space, component, value, low, high: points lost, which add up to those of the component ``total``.
    title, subtitle
        The claim or question, and its details.
    """
    table = theme.checked("decomposition_bars", frame, "space", "component", "value", "low", "high")
    names = sorted(dict.fromkeys(table["component"]), key=lambda n: (n != "total", n == "structure"))
    table = table.assign(kind=table["component"].where(table["component"].isin(["total", "structure"]), "explained"))
    ends = [float(table["low"].min()), float(table["high"].max())]
    room = 0.2 * (max(ends[1], 0) - min(ends[0], 0))  # for the numbers beside the intervals
    scale = alt.Scale(domain=[min(ends[0], 0) - room / 10, max(ends[1], 0) + room], nice=False)
    # a point is a hundredth of pass@1
    axis = alt.Axis(tickCount=5, labelExpr="datum.value ? format(100 * datum.value, '+.0f') : '0'")
    x = alt.X("value:Q", title="points lost", axis=axis, scale=scale)
    panels = [
        _shares(r, str(space), names, x, not k) for k, (space, r) in enumerate(table.groupby("space", sort=False))
    ]
    note = subtitle or "from ID to forced tasks, 95 % intervals; the shares below add up to the total"
    return alt.hconcat(*panels, spacing=20, title=theme.titled(title, note))


_SHARES = {"total": theme.GREY, "explained": theme.SKY, "structure": theme.ORANGE}


def _shares(rows: pd.DataFrame, space: str, names: list[str], x: alt.X, labelled: bool) -> alt.LayerChart:
    y = alt.Y("component:N", sort=names, title=None, axis=alt.Axis(labelLimit=200, labels=labelled, ticks=labelled))
    colors = alt.Scale(domain=list(_SHARES), range=list(_SHARES.values()))
    base = alt.Chart(rows.assign(text=[amount(value, "points", named=False) for value in rows["value"]])).encode(
        y, tooltip=["space", "component", *(alt.Tooltip(f"{c}:Q", format="+.3f") for c in ("value", "low", "high"))]
    )
    bars = base.mark_bar(size=18).encode(x, alt.Color("kind:N", scale=colors, legend=None))
    rules = base.mark_rule(strokeWidth=2).encode(_start(x), alt.X2("high:Q"))
    text = base.mark_text(align="left", dx=6, fontSize=11).encode(alt.X("high:Q"), alt.Text("text:N"))
    heading = alt.Title(f"{space} regions", fontSize=14, fontWeight="normal")
    layers = bars, _line_at(0.0, x, color="#888888"), rules, text
    return theme.layers(*layers, title=heading, width=330, height=28 * len(names))


def predictor_dots(
    frame: pd.DataFrame, title: str = "What predicts which tasks will fail?", subtitle: str = ""
) -> alt.LayerChart:
    """Area under the ROC curve of each predictor of failure with its interval; the rule at .5 is guessing.

    Parameters
    ----------
    frame
        Columns predictor, value, low, high, and part where there are several.
    title, subtitle
        The claim or question, and its details.
    """
    table = theme.checked("predictor_dots", frame, "predictor", "value", "low", "high")
    table = table if "part" in table else table.assign(part="all tasks")
    names = table.groupby("predictor")["value"].max().sort_values(ascending=False).index.tolist()
    ends = [min(0.45, float(table["low"].min()) - 0.02), max(0.6, float(table["high"].max()) + 0.02)]
    x = alt.X(
        "value:Q",
        title="AUC of failure",
        axis=alt.Axis(format=".1f", tickMinStep=0.1),
        scale=alt.Scale(domain=ends, nice=False),
    )
    y = alt.Y("predictor:N", sort=names, title=None, axis=alt.Axis(labelLimit=280))
    parts = theme.order(table["part"])
    legend = alt.Legend() if len(parts) > 1 else None
    number = [alt.Tooltip(f"{c}:Q", format=".3f") for c in ("value", "low", "high")]
    base = alt.Chart(table).encode(
        y, alt.YOffset("part:N", sort=parts), theme.color(table["part"], None, legend=legend),
        tooltip=["predictor", "part", *number],
    )  # fmt: skip
    guess = _line_at(0.5, x, strokeDash=[5, 4], color="#888888")
    rules = base.mark_rule(strokeWidth=2).encode(_start(x), alt.X2("high:Q"))
    dots = base.mark_point(filled=True, size=95, opacity=1).encode(x, theme.shape(table["part"], None))
    note = subtitle or "area under the ROC curve, .5 is guessing; 95 % intervals"
    size = {"width": 420, "height": (12 + 16 * len(parts)) * len(names)}
    return theme.layers(guess, rules, dots, title=theme.titled(title, note), **size)


# ---------------------------------------------------------------- sizes


def size_histograms(
    results: pd.DataFrame,
    title: str = "Sizes of the tasks",
    subtitle: str = "leaves of the minimal text",
    *,
    columns: int = 1,
) -> alt.FacetChart:
    """Share of each minimal size among the tasks of every part, small, to stand beside a comparison of these parts.

    Parameters
    ----------
    results
        Columns part and leaves; weight, where a test set drew classes several times.
    title, subtitle
        The claim or question, and its details.
    columns
        How many histograms stand side by side.
    """
    table = size_shares(theme.checked("size_histograms", results, "part", "leaves"))
    parts = theme.order(results["part"])
    y = alt.Y("share:Q", title=None, axis=None, scale=alt.Scale(domain=[0, 1.6]))
    base = alt.Chart(table, width=max(84, 32 * table["leaves"].nunique()), height=40).encode(
        alt.X("leaves:O", title=None), y, tooltip=["part", "leaves", alt.Tooltip("share:Q", format=".1%")]
    )
    bars = base.mark_bar().encode(theme.color(results["part"], "part", legend=None))
    text = base.mark_text(dy=-7, fontSize=10).encode(alt.Text("share:Q", format=".0%"))
    facet = alt.Facet("part:N", title=None, sort=parts, header=alt.Header(labelFontSize=12, labelPadding=2))
    heading = alt.Title(title, subtitle=subtitle, fontSize=14, fontWeight="normal", subtitleFontSize=12)
    return alt.layer(bars, text, data=table).facet(facet, columns=columns, spacing=6, title=heading)
