"""Histograms of size that follow the controls without being drawn anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import ipywidgets as W
import numpy as np
import pandas as pd

from synthlab.views import theme
from synthlab.views.explorer.chart_widget import ChartWidget

_PARTS = ("train", "id", "open", "forced", "matched_id", "matched_forced")


class SizeBars:
    """Share of every minimal size in every part of a split, side by side.

    The chart's rows stay, and their shares arrive as one text, so that a change costs a few milliseconds.

    Parameters
    ----------
    sizes
        The sizes that there are.
    measure
        leaves, nodes or depth.
    """

    def __init__(self, sizes: range, measure: str) -> None:
        self.sizes, self.measure, self.shares = sizes, measure, ""
        self.chart = ChartWidget(self._chart(""))
        self.widget = W.VBox([self.chart], layout=W.Layout(flex="0 0 auto"))
        # a browser that draws the chart anew reports the shares it was first drawn with; tell it the present ones
        self.chart.params.observe(lambda _: self._tell())

    def update(self, counts: Mapping[str, np.ndarray]) -> None:
        """Show other counts: per part by size, (max_size + 1,); parts that are not there are left out."""
        rows = [np.asarray(counts.get(part, np.zeros(0)))[self.sizes.start :] for part in _PARTS]
        shares = [row / row.sum() if row.sum() else np.zeros(len(self.sizes)) for row in rows]
        self.shares = ",".join(f"{share:.4f}" for share in np.concatenate(shares))
        self._tell()

    def clear(self) -> None:
        """Show no bars."""
        self.update({})

    def static(self) -> Any:
        """The same chart without a kernel."""
        return self._chart(self.shares)

    def _tell(self) -> None:
        self.chart.params.set_trait("shares", self.shares)

    def _chart(self, shares: str) -> alt.Chart:
        rows = [(part, size) for part in _PARTS for size in self.sizes]
        frame = pd.DataFrame(rows, columns=["part", self.measure]).assign(row=range(len(rows)))
        styles = [theme.PARTS[part] for part in _PARTS]
        return (
            alt.Chart(frame, title=theme.titled("Do the parts differ in size?", "share of each minimal size"))
            .transform_calculate(share="toNumber(split(shares, ',')[datum.row])")
            .transform_filter("datum.share > 0")
            .mark_bar()
            .encode(
                alt.X(f"{self.measure}:O", title=self.measure, scale=alt.Scale(domain=list(self.sizes))),
                alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=4), scale=alt.Scale(domain=[0, 1])),
                alt.Color(
                    "part:N",
                    title=None,
                    scale=alt.Scale(domain=list(_PARTS), range=[c for c, _ in styles]),
                    legend=alt.Legend(orient="bottom", columns=3),
                ),
                alt.XOffset("part:N", scale=alt.Scale(domain=list(_PARTS))),
                tooltip=["part", self.measure, alt.Tooltip("share:Q", format=".1%")],
            )
            .add_params(alt.param(name="shares", value=shares))
            .properties(width=340, height=170)
        )
