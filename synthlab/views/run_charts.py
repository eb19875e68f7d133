"""Figures about one run: success against what makes tasks hard, calibration, and what answers copy."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from synthlab.views import theme

_OUTCOMES = ("solved", "failed")
_COPIED = {"tree": "whole text", "subtrees": "all subtrees", "shape": "shape"}
_LOG_COLUMNS = ("class_size",)
_SHIFT = 0.06
_PERCENT = alt.Axis(format="%")


def success_curve(
    table: pd.DataFrame, column: str, title: str = "What makes a task hard?", subtitle: str = ""
) -> alt.LayerChart:
    """pass@1 against a number, a line per part with 95 % intervals.

    Parameters
    ----------
    table
        From `assessment.diagnostics.success_by`.
    column
        Which number it was; names the axis. Sizes of classes get a log scale.
    title, subtitle
        The claim or question, and its details.
    """
    table = theme.checked(
        "success_curve", table, "part", "low", "high", "middle", "pass_at_1", "ci_low", "ci_high", "num_tasks"
    )
    is_log = column in _LOG_COLUMNS
    is_whole = bool((table["low"] == table["high"]).all() and (table["middle"] % 1 == 0).all())
    parts = theme.order(table["part"])
    number = table["part"].astype(str).map(parts.index)
    # intervals at one value would hide each other
    shift = _SHIFT * (number - (len(parts) - 1) / 2) if is_whole and not is_log else 0.0
    table = table.assign(place=table["middle"] + shift)
    values = sorted(table["middle"].unique().tolist())
    plain = "~s" if table["high"].max() >= 10_000 else "~g"
    axis = alt.Axis(values=values, format="d") if is_whole else alt.Axis(format=plain, tickCount=6)
    scale = theme.LOG if is_log else alt.Scale(zero=False, nice=False, padding=16)
    name = theme.TITLES.get(column, column.replace("_", " "))
    x = alt.X("place:Q", title=f"{name} (log scale)" if is_log else name, axis=axis, scale=scale)
    y = alt.Y("pass_at_1:Q", title="pass@1", axis=_PERCENT, scale=alt.Scale(domain=[0, 1]))
    share = [alt.Tooltip(f"{c}:Q", format=".1%") for c in ("pass_at_1", "ci_low", "ci_high")]
    ends = [alt.Tooltip(f"{c}:Q", format=".4~g") for c in ("low", "middle", "high")]
    tooltip: list[Any] = ["part", *ends, *share, alt.Tooltip("num_tasks:Q", format=",")]
    base = alt.Chart(table).encode(x, theme.color(table["part"], None), tooltip=tooltip)
    layers = _intervals(base, y, {"shape": theme.shape(table["part"], None)})
    return theme.layers(*layers, title=theme.titled(title, subtitle), width=480, height=320)


def _intervals(base: alt.Chart, y: alt.Y, looks: dict[str, Any]) -> list[alt.Chart]:
    """Points with their intervals, and a faint line through them."""
    return [
        base.mark_rule(strokeWidth=1.5).encode(alt.Y("ci_low:Q"), alt.Y2("ci_high:Q")),
        base.mark_line(strokeWidth=2, opacity=0.6).encode(y),
        base.mark_point(filled=True, size=70, opacity=1).encode(y, **looks),
    ]


def calibration_chart(
    table: pd.DataFrame, title: str = "Does the solver know when it is right?", subtitle: str = ""
) -> alt.LayerChart:
    """Share solved against the probability of the answer, beside the diagonal of perfect calibration.

    Parameters
    ----------
    table
        From `assessment.diagnostics.calibration`, of one part or with a column ``part``.
    title, subtitle
        The claim or question, and its details.
    """
    table = theme.checked("calibration_chart", table, "confidence", "accuracy", "ci_low", "ci_high", "num_tasks")
    unit = alt.Scale(domain=[0, 1])
    x = alt.X("confidence:Q", title="probability of the answer's text", axis=_PERCENT, scale=unit)
    y = alt.Y("accuracy:Q", title="share solved", axis=_PERCENT, scale=unit)
    share = [alt.Tooltip(f"{c}:Q", format=".1%") for c in ("confidence", "accuracy", "ci_low", "ci_high")]
    tooltip: list[Any] = [*share, alt.Tooltip("num_tasks:Q", format=",")]
    ends = pd.DataFrame({"confidence": [0.0, 1.0], "accuracy": [0.0, 1.0]})
    diagonal = alt.Chart(ends).mark_line(strokeDash=[4, 4], strokeWidth=1.5, color="#888888").encode(x, y)
    color: Any = alt.value(theme.BLUE)
    looks: dict[str, Any] = {}
    if "part" in table:
        tooltip.insert(0, "part")
        color, looks = theme.color(table["part"], None), {"shape": theme.shape(table["part"], None)}
    base = alt.Chart(table).encode(x, color=color, tooltip=tooltip)
    layers = [diagonal, *_intervals(base, y, looks)]
    return theme.layers(*layers, title=theme.titled(title, subtitle), width=340, height=340)


def copying_bars(
    table: pd.DataFrame, title: str = "How much of success is copying?", subtitle: str = ""
) -> alt.FacetChart:
    """What of solved and failed answers was there in training, with 95 % intervals, one panel per part.

    Parameters
    ----------
    table
        From `assessment.diagnostics.copying_table`, of one part or with a column ``part``.
    title, subtitle
        The claim or question, and its details.
    """
    table = theme.checked("copying_bars", table, "outcome", "copied", "share", "ci_low", "ci_high", "num_tasks")
    heads = _headings(table if "part" in table else table.assign(part=""))
    panel = table["part"].astype(str).map(heads) if "part" in table else heads[""]
    table = table.assign(what=table["copied"].map(_COPIED).fillna(table["copied"]), panel=panel)
    table = theme.checked("copying_bars", table[table["num_tasks"] > 0])
    share = [alt.Tooltip(f"{c}:Q", format=".1%") for c in ("share", "ci_low", "ci_high")]
    tooltip: list[Any] = ["panel", "outcome", alt.Tooltip("what:N", title="in training"), *share]
    names = list(dict.fromkeys(table["what"]))
    base = alt.Chart(table, width=86 * len(names), height=240).encode(
        alt.X("what:N", sort=names, title=None), alt.XOffset("outcome:N", sort=list(_OUTCOMES)), tooltip=tooltip
    )
    y = alt.Y("share:Q", title="in training", axis=_PERCENT, scale=alt.Scale(domain=[0, 1.08]))
    colors = alt.Scale(domain=list(_OUTCOMES), range=[theme.GREEN, theme.ORANGE])
    bars = base.mark_bar().encode(y, alt.Color("outcome:N", title="first answer", scale=colors))
    rules = base.mark_rule(strokeWidth=2).encode(alt.Y("ci_low:Q"), alt.Y2("ci_high:Q"))
    text = base.mark_text(dy=-8, fontSize=11).encode(alt.Y("ci_high:Q"), alt.Text("share:Q", format=".0%"))
    note = subtitle or "share of the first answers, with 95 % intervals"
    return alt.layer(bars, rules, text, data=table).facet(
        alt.Facet("panel:N", title=None, sort=list(heads.values()), header=alt.Header(labelFontSize=13)),
        columns=3, title=theme.titled(title, note),
    )  # fmt: skip


def _headings(table: pd.DataFrame) -> dict[str, str]:
    """Heading of every part's panel: its name, and how many answers there are of each outcome."""
    counts = table.groupby(["part", "outcome"], observed=True)["num_tasks"].first()
    heads = {}
    for part in theme.order(table["part"]):
        numbers = ", ".join(f"{counts.get((part, outcome), 0):,} {outcome}" for outcome in _OUTCOMES)
        heads[part] = f"{part}: {numbers}" if part else numbers
    return heads


def rate_curves(
    table: pd.DataFrame, title: str = "Which learning rate suits which size?", subtitle: str = ""
) -> alt.Chart:
    """Final training loss against the learning rate, a line per model (columns of `study.tuning.tuning_table`)."""
    table = theme.checked("rate_curves", table, "model", "learning_rate", "final_loss", "pass_at_1")
    rates = alt.Axis(values=sorted(table["learning_rate"].unique().tolist()), format="~g")
    return (
        alt.Chart(table, title=theme.titled(title, subtitle), width=480, height=300)
        .mark_line(point=alt.OverlayMarkDef(size=60))
        .encode(
            alt.X("learning_rate:Q", title="learning rate (log scale)", scale=theme.LOG, axis=rates),
            alt.Y("final_loss:Q", title="final loss, nats per program", scale=alt.Scale(zero=False)),
            theme.color(table["model"], "model"),
            theme.dash(table["model"], "model"),
            tooltip=["model", "learning_rate", "final_loss", "pass_at_1"],
        )
    )


def variant_dots(table: pd.DataFrame, title: str = "What is each choice worth?", subtitle: str = "") -> alt.LayerChart:
    """pass@1 with its interval per variant (columns variant, pass_at_1, low, high); a rule marks the default."""
    table = theme.checked("variant_dots", table, "variant", "pass_at_1", "low", "high")
    order = table["variant"].tolist()
    y = alt.Y("variant:N", title=None, sort=order, axis=alt.Axis(labelLimit=260))
    x = alt.X("pass_at_1:Q", title="pass@1", axis=_PERCENT, scale=alt.Scale(zero=False))
    share = [alt.Tooltip(f"{c}:Q", format=".1%") for c in ("pass_at_1", "low", "high")]
    base = alt.Chart(table).encode(y, tooltip=["variant", *share])
    rule = alt.Chart(table.head(1)).mark_rule(strokeDash=[4, 4], color=theme.GREY).encode(alt.X("pass_at_1:Q"))
    interval = base.mark_rule(strokeWidth=1.5).encode(alt.X("low:Q", title="pass@1"), alt.X2("high:Q"))
    return theme.layers(
        rule, interval, base.mark_point(filled=True, size=80, opacity=1).encode(x),
        title=theme.titled(title, subtitle), width=420, height=30 * len(order),
    )  # fmt: skip
