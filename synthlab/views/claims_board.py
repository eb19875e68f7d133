"""The claims of a study as a board: a traffic light, the claim, its effect, and the evidence behind it."""

from __future__ import annotations

import textwrap
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from synthlab.study.verdicts import EXPLORATORY, NOT_SUPPORTED, SUPPORTED, UNDECIDED
from synthlab.views import theme

_CHECK, _CROSS, _DASH = "M-.5,.05L-.15,.4L.5,-.35", "M-.4,-.4L.4,.4M-.4,.4L.4,-.4", "M-.45,0L.45,0"
_LIGHTS = {
    SUPPORTED: (theme.GREEN, _CHECK),
    NOT_SUPPORTED: (theme.RED, _CROSS),
    UNDECIDED: ("#777777", _DASH),
}
_SCALES = {
    "points": (100.0, " points"),
    "relative": (100.0, " %"),
    "relative per decade": (100.0, " % per decade"),
    "share": (100.0, " %"),
}
_UNSIGNED = ("share", "times", "ratio")  # amounts; other units are of changes
_INK, _FAINT = "#222222", "#666666"
_LINE, _PAD = 18, 12
_CLAIM_LETTERS, _NOTE_LETTERS = 54, 60
_PLACES = {"light": 14, "verdict": 36, "name": 150, "claim": 200, "effect": 610, "behind": 795}
_WIDTH = 980


def claims_board(claims: pd.DataFrame, title: str = "Which claims hold?", subtitle: str = "") -> alt.LayerChart:
    """The claims as a board of traffic lights: verdict, claim, effect with its interval, and what is behind it.

    Parameters
    ----------
    claims
        From `study.verdicts.claims_table`.
    title, subtitle
        The claim or question, and its details.
    """
    columns = ("name", "claim", "value", "low", "high", "unit", "bound", "p_holm", "verdict", "regions", "seeds")
    table = theme.checked("claims_board", claims, *columns, "tasks", "note")
    rows = pd.DataFrame([_board_row(row) for _, row in table.iterrows()])
    ends = _LINE + rows["height"].cumsum()
    rows = rows.assign(start=ends - rows["height"], top=ends - rows["height"] + _PAD)
    height = float(ends.iloc[-1])
    base = alt.Chart(rows)
    note = subtitle or (
        "effect with 95 % interval; a verdict needs an interval beyond the bound and p \N{LESS-THAN OR EQUAL TO} .05, "
        f"adjusted for {int(table['p_holm'].notna().sum())} tests (Holm)"
    )
    return theme.layers(
        *_lights(base, height),
        *(_column(base, height, name, at, **looks) for name, at, looks in _BOARD_TEXTS),
        *(_heading(rows, at, text) for at, text in _HEADINGS),
        base.mark_rule(color="#DDDDDD").encode(_at("start", height), x=alt.value(0), x2=alt.value(_WIDTH)),
        title=theme.titled(title, note), width=_WIDTH, height=height,
    ).configure_view(stroke=None)  # fmt: skip


_HEADINGS = (("verdict", "verdict"), ("claim", "claim"), ("effect", "effect"), ("behind", "evidence"))
_BOARD_TEXTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("word", "verdict", {"fontWeight": "bold"}),
    ("caveat", "verdict", {"color": _FAINT, "dy": _LINE, "fontSize": 12}),
    ("name", "name", {"fontWeight": "bold"}),
    ("text", "claim", {}),
    ("remark", "claim", {"color": _FAINT, "fontSize": 12, "place": "remark_top"}),
    ("effect", "effect", {"fontWeight": "bold"}),
    ("interval", "effect", {"dy": _LINE}),
    ("asked", "effect", {"color": _FAINT, "dy": 2 * _LINE, "fontSize": 12}),
    ("behind", "behind", {"color": _FAINT, "fontSize": 12}),
)


def _board_row(row: pd.Series) -> dict[str, Any]:
    """Texts of one claim, broken into lines, and how high they stand."""
    word = str(row["verdict"]).removesuffix(EXPLORATORY)
    text = _wrapped(row["claim"], _CLAIM_LETTERS) or [""]
    remark = _wrapped(row["note"] or "", _NOTE_LETTERS)
    known = bool(np.isfinite(row["value"]))
    counts = [_counted(row[what], what[:-1]) for what in ("seeds", "regions") if row[what]]
    behind = [", ".join(counts), _counted(row["tasks"], "function") if row["tasks"] else ""]
    behind += [f"p = {row['p_holm']:.2g} after Holm"] if np.isfinite(row["p_holm"]) else []
    low, high = (amount(row[end], row["unit"], named=False) for end in ("low", "high"))
    lines = [line for line in behind if line]
    return {
        "name": row["name"], "text": "\n".join(text), "remark": "\n".join(remark), "behind": "\n".join(lines),
        "word": word, "caveat": EXPLORATORY.strip() if str(row["verdict"]).endswith(EXPLORATORY) else "",
        "effect": amount(row["value"], row["unit"]) if known else "not measured",
        "interval": f"[{low}, {high}]" if known and np.isfinite(row["low"]) else "",
        "asked": f"claimed {_bound(str(row['bound']), row['unit'])}",
        "value": row["value"], "low": row["low"], "high": row["high"],
        "height": _LINE * max(len(text) + len(remark), 3, len(lines)) + 2 * _PAD - 4, "remark_line": len(text),
    }  # fmt: skip


def _wrapped(text: Any, letters: int) -> list[str]:
    """Lines of a text; a number stays with its percent sign."""
    return textwrap.wrap(str(text).replace(" %", "\N{NO-BREAK SPACE}%"), letters)


def _counted(number: Any, what: str) -> str:
    return f"{int(number):,} {what}" + "s" * (int(number) != 1)


def amount(value: float, unit: str, *, named: bool = True) -> str:
    """A number in its unit: shares as percentages, changes with their sign, changes of shares in points."""
    factor, name = _SCALES.get(unit, (1.0, f" {unit}"))
    sign = "" if unit.startswith(_UNSIGNED) or not value else "+"
    number = f"{factor * value:{sign}{'.1f' if factor > 1 else '.3g'}}".replace("-", "\N{MINUS SIGN}")
    return number + name * named


def _bound(text: str, unit: str) -> str:
    side, _, number = text.partition(" ")
    try:
        return f"{side} {amount(float(number), unit).replace('.0 ', ' ').removeprefix('+')}"
    except ValueError:
        return text


def _at(column: str, height: float) -> alt.Y:
    scale = alt.Scale(domain=[0, height], reverse=True, nice=False, zero=False)
    return alt.Y(f"{column}:Q", scale=scale, axis=None)


def _column(base: alt.Chart, height: float, name: str, at: str, *, place: str = "top", **looks: Any) -> alt.Chart:
    """One column of texts; a remark stands below the lines of its claim."""
    if place == "remark_top":
        base = base.transform_calculate(remark_top=f"datum.top + {_LINE} * datum.remark_line")
    mark = {"color": _INK, "fontSize": 13, **looks}
    texts = base.transform_filter(f"datum.{name} != ''").mark_text(
        align="left", baseline="top", lineBreak="\n", lineHeight=_LINE, **mark
    )
    return texts.encode(_at(place, height), alt.Text(f"{name}:N"), x=alt.value(_PLACES[at]))


def _lights(base: alt.Chart, height: float) -> list[alt.Chart]:
    """A disc in the colour of the verdict, and on it a mark that tells it without colours."""
    words, (colors, marks) = list(_LIGHTS), zip(*_LIGHTS.values(), strict=True)
    place = {"x": alt.value(_PLACES["light"])}
    fill = alt.Color("word:N", scale=alt.Scale(domain=words, range=list(colors)), legend=None)
    shape = alt.Shape("word:N", scale=alt.Scale(domain=words, range=list(marks)), legend=None)
    disc = base.mark_point(filled=True, size=620, opacity=1, yOffset=7).encode(_at("top", height), fill, **place)
    mark = base.mark_point(filled=False, size=260, strokeWidth=3, opacity=1, yOffset=7, strokeCap="round")
    return [disc, mark.encode(_at("top", height), shape, color=alt.value("white"), **place)]


def _heading(rows: pd.DataFrame, at: str, text: str) -> alt.Chart:
    place = {"x": alt.value(0 if at == "verdict" else _PLACES[at]), "y": alt.value(0), "text": alt.value(text)}
    mark = alt.Chart(rows.head(1)).mark_text(align="left", baseline="top", color=_FAINT, fontSize=12)
    return mark.encode(**place)
