"""Figures about splits: a gallery over both maps, what differs between parts, how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from synthlab.spaces.space import SYNTACTIC
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus
from synthlab.views import theme

_GALLERY_POINTS = 400
_ROLES = ("neither", "train", "test")


def gallery_frame(corpus: Corpus, splits: Mapping[str, Split], maps: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Points of both maps with their role in every split.

    Parameters
    ----------
    corpus, splits
        The universe, and splits by the name they get in the gallery.
    maps
        Maps by kind, from `spaces.projection.map_frame`; of each at most 400 points are shown.

    Returns
    -------
    pandas.DataFrame
        split, space, map_x, map_y, program and role: train, test (its function is tested: forced or compound
        where there are such, else any), or neither.
    """
    tables = []
    shown = {kind: frame.sample(min(len(frame), _GALLERY_POINTS), random_state=0) for kind, frame in maps.items()}
    for name, split in splits.items():
        taught = corpus.class_id[corpus.class_index[split.train]]
        held = [ids for part, ids in split.tests.items() if part in ("forced", "compound")]
        tested = np.concatenate(held or list(split.tests.values()))
        for kind, frame in shown.items():
            ids = frame["program_id" if kind == SYNTACTIC else "class_id"]
            known = np.isin(ids, np.concatenate([split.train, split.targets]) if kind == SYNTACTIC else taught)
            role = np.select([known, np.isin(frame["class_id"], tested)], ["train", "test"], "neither")
            tables.append(frame[["map_x", "map_y", "program"]].assign(split=name, space=kind, role=role))
    return pd.concat(tables, ignore_index=True)


def gallery(frame: pd.DataFrame, title: str = "", subtitle: str = "", *, columns: int = 3) -> alt.ConcatChart:
    """Every split over both maps, side by side (columns of `gallery_frame`)."""
    table = theme.checked("gallery", frame, "split", "space", "map_x", "map_y", "role")
    table = table.assign(order=table["role"].map(_ROLES.index)).sort_values("order", kind="stable")
    colors = alt.Scale(domain=list(_ROLES), range=[theme.GREY, theme.BLUE, theme.RED])
    shapes = alt.Scale(domain=list(_ROLES), range=["circle", "circle", "diamond"])
    blank = alt.Axis(labels=False, ticks=False, grid=False, title=None, domain=False)

    def panel(points: pd.DataFrame, heading: str) -> alt.Chart:
        return (
            alt.Chart(points, title=alt.Title(heading, fontSize=12, fontWeight="normal"), width=150, height=125)
            .mark_point(filled=True, size=11, opacity=0.85, strokeWidth=0)
            .encode(
                alt.X("map_x:Q", axis=blank, scale=alt.Scale(zero=False)),
                alt.Y("map_y:Q", axis=blank, scale=alt.Scale(zero=False)),
                alt.Color("role:N", title=None, scale=colors, legend=alt.Legend(orient="top")),
                alt.Shape("role:N", title=None, scale=shapes),
                tooltip=["program", "role"] if "program" in points else ["role"],
            )
        )

    pairs = []
    for name, points in table.groupby("split", sort=False):
        kinds = sorted(points["space"].unique(), reverse=True)  # syntactic first
        panels = [panel(points[points["space"] == kind], kind) for kind in kinds]
        pairs.append(alt.hconcat(*panels, spacing=8, title=alt.Title(str(name), fontSize=14)))
    return alt.concat(*pairs, columns=columns, spacing=22, title=theme.titled(title, subtitle))


def quantity_bars(
    frame: pd.DataFrame, title: str = "What else differs between the parts?", subtitle: str = ""
) -> alt.VConcatChart:
    """Histograms of every quantity, one row a quantity and one panel a part (`splits.matching.histograms`)."""
    table = theme.checked("quantity_bars", frame, "part", "quantity", "value", "share", "items")
    parts = theme.order(table["part"])
    rows: list[Any] = []
    for quantity, values in table.groupby("quantity", sort=False):
        values = values[values.groupby("value")["items"].transform("sum") > 0]
        names = list(dict.fromkeys(values["value"]))
        angle = -45 if max(map(len, names)) > 3 else 0
        x = alt.X(
            "value:N", title=None, sort=names, axis=alt.Axis(labelAngle=angle, labelFontSize=11, labelOverlap=False)
        )
        scale = alt.Scale(domain=[0, float(values["share"].max())])
        y = alt.Y("share:Q", title=str(quantity), scale=scale, axis=alt.Axis(format="%", tickCount=3))
        header = alt.Header(labelFontSize=13) if not rows else None
        bars = alt.Chart(values, width=130, height=64).mark_bar().encode(
            x, y, theme.color(table["part"], None, legend=None),
            alt.Column("part:N", title=None, sort=parts, header=header, spacing=12),
            tooltip=["part", "value", alt.Tooltip("items:Q", format=","), alt.Tooltip("share:Q", format=".1%")],
        )  # fmt: skip
        rows.append(bars)
    return alt.vconcat(*rows, spacing=10, title=theme.titled(title, subtitle))


def shift_dots(
    frame: pd.DataFrame, title: str = "How far is each part from training?", subtitle: str = ""
) -> alt.FacetChart:
    """Measures of shift by part, a panel each and a row per space (`splits.shift.shift_report`)."""
    table = theme.checked("shift_dots", frame, "space", "part", "measure", "value")
    parts = theme.order(table["part"])
    tooltip: list[Any] = ["space", "part", "measure", alt.Tooltip("value:Q", format=".4~g")]
    points = (
        alt.Chart(table.dropna(subset=["value"]), width=150, height=20 * len(parts))
        .mark_point(filled=True, size=90, opacity=1)
        .encode(
            alt.X("value:Q", title=None, scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(tickCount=3)),
            alt.Y("part:N", sort=parts, title=None),
            theme.color(table["part"], None, legend=None),
            theme.shape(table["part"], None).copy(),
            tooltip=tooltip,
        )
    )
    facets = points.facet(
        alt.Facet("panel:N", title=None, header=alt.Header(labelFontSize=12), sort=list(dict.fromkeys(_panels(table)))),
        columns=4, title=theme.titled(title, subtitle),
    )  # fmt: skip
    facets.data = table.assign(panel=_panels(table)).dropna(subset=["value"])
    return facets.resolve_scale(x="independent").resolve_axis(x="independent")


def _panels(table: pd.DataFrame) -> pd.Series:
    return table["space"] + ": " + table["measure"].str.replace("_", " ")
