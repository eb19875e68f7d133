"""Both maps of a universe, side by side and linked: what is brushed in one is highlighted in the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import ipywidgets as W
import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError
from synthlab.language.measure import sizes_of
from synthlab.spaces.neighbors import NUM_ANCHORS
from synthlab.spaces.projection import Projection, place, program_strata, project
from synthlab.spaces.space import SYNTACTIC, Space
from synthlab.splits.preview import SplitParts
from synthlab.universe.corpus import Corpus
from synthlab.views import theme
from synthlab.views.explorer.controls import UMAP_VIEW
from synthlab.views.explorer.maps import LiveMap, MapPoints
from synthlab.views.explorer.scatter import ScatterMap

SUCCESS = "pass@1"
"""The colour that shows what a run solves."""
DRAWERS: dict[str, type[Any]] = {"altair": LiveMap, "scatter": ScatterMap}
"""What draws a map: Altair, or jupyter-scatter, for a million points and a lasso where a GPU draws."""
_TITLES = {"syntactic": "By what is written", "semantic": "By what is computed"}


@dataclass(frozen=True, eq=False)
class Brushed:
    """What lies under a brush: rows of the space whose map was brushed, and the programs and classes they mean.

    Attributes
    ----------
    kind, bounds
        Which map, and the ends of the brush by name of the axis.
    rows, inside
        All rows of the space that have a place on the map (n,), and which of them are under the brush (n,), bool.
    programs, classes
        Masks over programs (P,) and classes (C + 1,), bool; the last class stands for programs of none.
    """

    kind: str
    bounds: dict[str, tuple[float, float]]
    rows: np.ndarray
    inside: np.ndarray
    programs: np.ndarray
    classes: np.ndarray


class MapPair:
    """The maps of the spaces of a universe.

    Parameters
    ----------
    corpus, spaces
        The universe and its spaces by kind.
    projections
        UMAP maps by kind; one that is missing is drawn when it is asked for.
    results
        Outcome of a run by class (columns class_id, solved), for the colour ``pass@1``; None without a run.
    maps
        The maps by kind.
    """

    def __init__(
        self, corpus: Corpus, spaces: Mapping[str, Space], projections: Mapping[str, Projection] | None = None,
        results: pd.DataFrame | None = None, drawer: str = "altair",
    ) -> None:  # fmt: skip
        self.corpus, self.spaces, self.projections = corpus, spaces, dict(projections or {})
        self.solved = _solved(corpus, results)
        self._stars: dict[str, np.ndarray] = {}
        if drawer not in DRAWERS:
            raise ConfigurationError(f"unknown drawer {drawer!r}: choose from {', '.join(DRAWERS)}")
        self.maps: dict[str, Any] = {
            kind: DRAWERS[drawer](kind, f"{_TITLES.get(kind, kind)} ({kind} space)") for kind in spaces
        }
        self.widget = W.HBox([m.widget for m in self.maps.values()], layout=W.Layout(flex="0 0 auto", flex_flow="wrap"))

    @property
    def colors(self) -> tuple[str, ...]:
        """What points can be coloured by."""
        measures = dict.fromkeys(("leaves", self.corpus.measure, "depth"))
        return ("part", *measures, "root", "class_size", *((SUCCESS,) if self.solved is not None else ()))

    # ------------------------------------------------------------ drawing

    def draw(self, view: str, axes: tuple[int, int], color: str) -> None:
        """Draw both maps: a UMAP map, or two axes of the space.

        Raises
        ------
        ConfigurationError
            If both axes are the same, or a space has no such axis.
        """
        if axes[0] == axes[1]:
            raise ConfigurationError(f"axes i and j are both {axes[0]}: choose two")
        points = {kind: self._points(kind, view, axes) for kind in self.maps}
        for kind, live in self.maps.items():
            live.draw(points[kind], color)
            if kind in self._stars:  # at its place on the present axes
                self.star(kind, self._stars[kind])

    def recolor(self, color: str) -> None:
        """Draw what both maps show in other colours."""
        for live in self.maps.values():
            live.recolor(color)

    def _points(self, kind: str, view: str, axes: tuple[int, int]) -> MapPoints:
        def describe(rows: np.ndarray) -> pd.DataFrame:
            return self._describe(kind, rows)

        if view == UMAP_VIEW:
            projection = self._projection(kind)
            rows, (x, y), names = projection.rows, projection.xy.T, ("map_x", "map_y")
            total = max(projection.num_rows, len(rows))
            titles = "UMAP 1 (no units)", "UMAP 2 (no units)"
        else:
            space, names = self.spaces[kind], (f"axis_{axes[0]}", f"axis_{axes[1]}")
            rows = np.flatnonzero(~np.isnan(space.coordinates[:, 0]))
            x, y = (space.axis(axis)[rows] for axis in axes)
            total = len(rows)
            titles = f"axis {axes[0]}", f"axis {axes[1]}"
        return MapPoints(rows, x, y, *titles, *names, describe, total)

    def _projection(self, kind: str) -> Projection:
        if kind not in self.projections:
            space = self.spaces[kind]
            self.projections[kind] = project(space, strata=program_strata(self.corpus, space), progress=True)
        return self.projections[kind]

    def _describe(self, kind: str, rows: np.ndarray) -> pd.DataFrame:
        ids = rows if kind == SYNTACTIC else self.corpus.class_id[rows]
        table = self.corpus.frame(ids)[["program", "leaves", "root", "class_size"]]
        for measure in {"depth", self.corpus.measure} - {"leaves"}:
            table[measure] = sizes_of(self.corpus.grammar, self.corpus.prefix[ids], measure)
        if self.solved is not None:
            table[SUCCESS] = self.solved[self.corpus.class_index[ids]]
        return table

    # ------------------------------------------------------------ colours, highlights, stars

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Tell the browser of all changes to a map in one message, after whatever else changes meanwhile."""
        with contextlib.ExitStack() as stack:
            for live in self.maps.values():
                stack.enter_context(live.at_once())
            yield

    def paint(self, parts: SplitParts | None) -> None:
        """Colour the points by their part of a split; all are unused without one."""
        for kind, live in self.maps.items():
            if parts is None:
                codes = np.full(len(live.rows), len(theme.REGION_PARTS) - 1, dtype=np.uint8)
            else:
                codes = (parts.program_codes if kind == SYNTACTIC else parts.class_codes)(live.rows)
            live.paint(codes)

    def brushed(self, kind: str, bounds: dict[str, tuple[float, float]]) -> Brushed | None:
        """What lies under a brush on one map, of all its points and not only those drawn; None under no brush."""
        points = self.maps[kind].points
        if not bounds or points is None:
            return None
        inside = np.ones(len(points.rows), dtype=bool)
        for name, (low, high) in bounds.items():
            places = {points.x_name: points.x, points.y_name: points.y}[name]
            inside &= (places >= low) & (places <= high)
        return self._meant(kind, dict(bounds), points.rows, inside)

    def lassoed(self, kind: str, rows: np.ndarray) -> Brushed | None:
        """What some chosen points of a map mean; None for no points."""
        if not len(rows):
            return None
        drawn = self.maps[kind].rows
        return self._meant(kind, {}, drawn, np.isin(drawn, rows))

    def _meant(self, kind: str, bounds: dict[str, Any], rows: np.ndarray, inside: np.ndarray) -> Brushed:
        """The programs and classes that some rows of a map mean."""
        corpus = self.corpus
        programs, classes = np.zeros(corpus.num_programs, dtype=bool), np.zeros(corpus.num_classes + 1, dtype=bool)
        if kind == SYNTACTIC:
            programs[rows[inside]] = True
            classes[corpus.class_index[rows[inside]]] = True
            classes[-1] = False  # programs of no class have nothing to do with one another
        else:
            classes[rows[inside]] = True
            programs[corpus.class_id[rows[inside]]] = True
        return Brushed(kind, bounds, rows, inside, programs, classes)

    def link(self, brushed: Brushed | None) -> None:
        """Highlight what is brushed: itself on its own map, the same programs or their functions on the other."""
        for kind, live in self.maps.items():
            if brushed is None:
                live.mark(None)
            elif kind == brushed.kind:
                mask = brushed.programs if kind == SYNTACTIC else brushed.classes
                live.mark(mask[live.rows])
            elif kind == SYNTACTIC:
                live.mark(brushed.classes[self.corpus.class_index[live.rows]])
            else:
                live.mark(brushed.classes[live.rows])

    def star(self, kind: str, coordinates: np.ndarray, *_near: np.ndarray) -> None:
        """Show where a program stands, none if it has no place: at its axes, or among its neighbours on a UMAP map.

        Parameters
        ----------
        kind, coordinates
            Which map, and the program's place in that space (axes,).
        """
        self._stars[kind] = coordinates
        live = self.maps[kind]
        points = live.points
        if points is None or np.isnan(coordinates).any():
            live.star(None)
        elif points.x_name.startswith("axis_"):
            live.star(*(float(coordinates[int(name.removeprefix("axis_"))]) for name in (points.x_name, points.y_name)))
        else:
            live.star(*self._among_neighbors(kind, points, coordinates).tolist())

    def _among_neighbors(self, kind: str, points: MapPoints, coordinates: np.ndarray) -> np.ndarray:
        """Place on a UMAP map as further rows are placed there (`projection.place`)."""
        squares = np.square(self.spaces[kind].coordinates[points.rows] - coordinates).sum(axis=1)
        nearest = np.argsort(squares, kind="stable")[:NUM_ANCHORS]
        places = np.column_stack([points.x, points.y])
        return place(places, nearest[None], np.sqrt(squares[nearest])[None])[0]

    # ------------------------------------------------------------ the same without a kernel

    def static(self, title: str) -> alt.HConcatChart:
        """Both maps as a chart that needs no kernel."""
        maps: Any = alt.hconcat(*(live.static() for live in self.maps.values()), spacing=30)
        return maps.resolve_scale(color="independent", shape="independent").properties(title=theme.titled(title, ""))


def _solved(corpus: Corpus, results: pd.DataFrame | None) -> np.ndarray | None:
    """Share of solved answers of every class (C + 1,), NaN where it was not asked."""
    if results is None:
        return None
    theme.checked("the results of a run", results, "class_id", "solved")
    shares = results.groupby("class_id")["solved"].mean()
    solved = np.full(corpus.num_classes + 1, np.nan)
    solved[corpus.class_rows(shares.index.to_numpy())] = shares.to_numpy()
    return solved
