"""What the figures of contests share: looks of the kinds of methods, labels at the ends of lines, sizes below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from synthlab.views import theme
from synthlab.views.search_frames import KINDS

COLORS = dict(zip(KINDS, ("#7A7A7A", "#4A7FB0", theme.RED), strict=True))
SHAPES = dict(zip(KINDS, ("circle", "square", "diamond"), strict=True))
PARTS = {
    "matched_id": "ID, matched", "matched_forced": "forced, matched", "id": "ID", "larger": "beyond the universe",
}  # fmt: skip
"""Parts as they stand over columns."""


def titled(title: str, *notes: str) -> Any:
    """A title over lines of notes; nothing for an empty text."""
    lines = [note for note in notes if note]
    return alt.Title(title, subtitle=lines or alt.Undefined) if title else alt.Undefined


def heading(part: str) -> alt.Title:
    """Name of a part over a panel."""
    return alt.Title(PARTS.get(part, part), fontSize=14, fontWeight="normal", frame="group")


def kind_channel(channel: Any, looks: Mapping[str, str], legend: Any = alt.Undefined) -> Any:
    """Colour or shape channel of the kinds of methods."""
    return channel(
        "kind:N", title=None, scale=alt.Scale(domain=list(KINDS), range=[looks[k] for k in KINDS]), legend=legend
    )


def share_axis(column: str, top: float = 1.0, title: str = "solved") -> alt.Y:
    """Vertical axis of shares from 0."""
    scale = alt.Scale(domain=[0, top], nice=False)
    return alt.Y(f"{column}:Q", title=title, axis=alt.Axis(format="%", tickCount=5), scale=scale)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range on a log axis, two to six of them; its ends where there are none."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        every = (factor * 10.0**power for power in powers for factor in factors)
        inside = [tick for tick in every if low / 1.05 <= tick <= high * 1.05]
        if len(inside) > 1:
            return inside[:: 1 + (len(inside) - 1) // 6]
    return [low, high]


def spread(values: Sequence[float], gap: float, margin: float = 0.0) -> np.ndarray:
    """Places of labels as near to their values as can be, `gap` or more apart and within 0 and 1.

    The least squares solution; where there are too many labels they share the room equally.

    Parameters
    ----------
    values
        Where the labels belong (n,).
    gap, margin
        Least distance between two places, and from the ends.
    """
    order = np.argsort(values, kind="stable")
    gap = min(gap, (1 - 2 * margin) / max(1, len(order) - 1))
    steps = gap * np.arange(len(order))
    free = isotonic_regression(np.asarray(values, dtype=float)[order] - steps).x
    places = np.empty(len(order))
    places[order] = np.clip(free, margin, 1 - margin - steps[-1]) + steps
    return places


def sizes_panel(shares: pd.DataFrame, part: str, width: int, extent: int | None) -> alt.LayerChart:
    """Sizes of the tasks of one part, to stand under what was measured on them.

    Parameters
    ----------
    shares
        From `study_frames.size_shares`.
    part
        Which part.
    width, extent
        Pixels of the panel, and of the room to its left up to the title; None for no title.
    """
    rows = shares[shares["part"] == part]
    every = sorted(shares["leaves"].unique().tolist())
    axis = alt.Axis(labels=False, ticks=False, grid=False, minExtent=extent or 0)
    y = alt.Y(
        "share:Q", title=None if extent is None else "tasks", axis=axis, scale=alt.Scale(domain=[0, 1.6])
    )  # fmt: skip
    x = alt.X("leaves:O", title="leaves", scale=alt.Scale(domain=every))
    base = alt.Chart(rows).encode(x, y, tooltip=["part", "leaves", alt.Tooltip("share:Q", format=".1%")])
    bars = base.mark_bar(color=theme.GREY)
    text = base.mark_text(dy=-7, fontSize=10).encode(alt.Text("share:Q", format=".0%"))
    return theme.layers(bars, text, width=width, height=44)
