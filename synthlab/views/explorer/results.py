"""Where a trained run succeeds and fails: maps of its tests, success against distance, failures one by one."""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import altair as alt
import ipywidgets as W
import numpy as np
import pandas as pd

from synthlab.assessment.correctness import Evaluation
from synthlab.assessment.diagnostics import success_by
from synthlab.errors import ConfigurationError
from synthlab.spaces.neighbors import NUM_ANCHORS, metric_vectors, nearest
from synthlab.spaces.projection import Projection, place
from synthlab.spaces.space import SEMANTIC, Space
from synthlab.splits.split import Split
from synthlab.study.answers import answer_table, answer_texts, judged_answers, likeliest_answers
from synthlab.study.proposers import ModelProposer
from synthlab.universe.corpus import Corpus
from synthlab.views import charts, run_charts, theme
from synthlab.views.explorer.card import code, html_table, muted, program_card, styled
from synthlab.views.explorer.chart_widget import ChartWidget
from synthlab.views.explorer.controls import AXES_VIEW, UMAP_VIEW
from synthlab.views.explorer.failures import FailureList
from synthlab.views.explorer.formula import status_text
from synthlab.views.explorer.live import INK, PANEL, ArrowKeys, guarded, preformatted, show_panel
from synthlab.views.explorer.maps import LiveMap, MapPoints

if TYPE_CHECKING:
    from synthlab.learning.run import Run

NUM_CANDIDATES = 8
"""Programs that the model is asked for when a task is chosen."""

_FIRST = ("forced", "open", "id")
_QUESTION = "Is a task harder the farther it is from training?"
_HOW = "pass@1 of bins of about equally many tasks, with 95 % intervals, by distance to the nearest text learned"
_LABELS = {"description_width": "60px"}
_NO_CHOICE = "Choose a task in the list, or click on a point of a map."


class ResultExplorer:
    """Panel that shows what became of every test task; the last expression of a cell shows it.

    A brush on one map filters the list and is highlighted on the other; a chosen task has its card, what the model
    would answer with a beam, and a star on both maps.

    Parameters
    ----------
    corpus, spaces, projections
        The universe, its spaces by kind, and a map of each (without, axes are shown).
    split, run
        What was trained on, and what was trained.
    evaluations
        Judged answers by part, if there are such; by default the run answers greedily, once.
    progress
        Show a progress bar meanwhile.

    Attributes
    ----------
    table
        Outcomes of all parts (`study.answers.answer_table`).
    shown
        Those rows of the present part that lie under the brush.
    chosen
        Index of the chosen row in `table`, or None.
    candidates
        What the model would answer to it (`study.answers.likeliest_answers`).
    controls, maps, failures, widget
        The widgets.

    Raises
    ------
    ArtifactError
        If the run was trained on another universe or split.
    """

    def __init__(
        self,
        corpus: Corpus,
        spaces: Mapping[str, Space],
        projections: Mapping[str, Projection],
        split: Split,
        run: Run,
        *,
        evaluations: Mapping[str, Evaluation] | None = None,
        progress: bool = True,
    ) -> None:
        charts.use_theme()
        if evaluations is None:
            evaluations = judged_answers(run, corpus, split, progress=progress)
        self.corpus, self.spaces, self.projections, self.split = corpus, spaces, projections, split
        self.evaluations, self.run = evaluations, run
        self.proposer = ModelProposer(run, how="beam")
        self.table = answer_table(corpus, split, spaces, evaluations)
        self.shown, self.candidates = self.table, pd.DataFrame()
        self.chosen: int | None = None
        self.points: dict[str, MapPoints] = {}
        self._statuses = [status for status in theme.STATUSES if (self.table["status"] == status).any()]
        self.controls = self._controls()
        self.texts = {name: W.HTML(_text(name)) for name in ("error", "summary", "chosen")}
        self.maps = {kind: LiveMap(kind, f"{kind} space: one point per test task") for kind in spaces}
        self.curves = ChartWidget(self._curves().configure_legend(orient="bottom"))
        texts = functools.partial(answer_texts, corpus, evaluations)
        self.failures = FailureList(self.table, texts, self._choose, self.fail)
        self.widget = self._layout()
        self._connect()
        self._redraw()

    def _ipython_display_(self) -> None:
        show_panel(self.widget, self.static(), self.maps.values())

    def __repr__(self) -> str:
        return f"ResultExplorer({self.run!r}: {self.summary()})"

    def fail(self, text: str) -> None:
        """Show an error in the panel, or none."""
        self.texts["error"].value = _text("error", text)

    def summary(self) -> str:
        """Share solved of every part, in one line."""
        parts = self.table.groupby("part", sort=False, observed=True)
        shares = parts[["solved", "weight"]].apply(lambda part: np.average(part["solved"], weights=part["weight"]))
        return ", ".join(f"{part} {share:.1%} of {len(parts.get_group(part)):,}" for part, share in shares.items())

    def static(self) -> alt.VConcatChart:
        """Maps of the present part and the curves as a chart that needs no kernel."""
        pictures = [
            charts.space_map(
                self.maps[kind].frame, "status", f"{kind} space, part {self.part}", x=points.x_name, y=points.y_name
            )
            for kind, points in self.points.items()
        ]
        both = alt.vconcat(alt.hconcat(*pictures), self._curves())
        return both.resolve_scale(color="independent", shape="independent")

    # ------------------------------------------------------------ what the controls say

    @property
    def part(self) -> str:
        """The test set that is looked at."""
        return str(self.controls["part"].value)

    def _of_part(self) -> pd.DataFrame:
        return self.table[self.table["part"] == self.part]

    def _controls(self) -> dict[str, Any]:
        sizes = self.table["part"].value_counts(sort=False)
        parts = theme.order(self.table["part"])
        first = next((part for part in _FIRST if part in parts), parts[0])
        views = [UMAP_VIEW, AXES_VIEW] if set(self.projections) >= set(self.spaces) else [AXES_VIEW]
        last_axis = min(space.num_axes for space in self.spaces.values()) - 1
        found = {
            "part": W.Dropdown(options=[(f"{part} ({sizes[part]:,} tasks)", part) for part in parts], value=first),
            "view": W.Dropdown(options=views),
            "axis i": W.BoundedIntText(value=0, min=0, max=last_axis),
            "axis j": W.BoundedIntText(value=min(1, last_axis), min=0, max=last_axis),
        }
        for name, widget in found.items():
            widget.description, widget.style, widget.layout.width = name, _LABELS, "220px"
        return found

    def _connect(self) -> None:
        for widget in self.controls.values():
            widget.observe(self._redraw, "value")
        for kind, drawn in self.maps.items():
            drawn.on_brush(functools.partial(self._brush, kind))
            drawn.on_pick(functools.partial(self._pick, kind))

    # ------------------------------------------------------------ maps

    @guarded
    def _redraw(self, _change: Any = None) -> None:
        self.points = {kind: self._points(kind) for kind in self.maps}
        for kind, drawn in self.maps.items():
            drawn.draw(self.points[kind], "status")
            drawn.star(None)
        self._list(self._of_part())

    def _rows(self, kind: str, table: pd.DataFrame) -> np.ndarray:
        """Rows of a space in which the tasks of a table stand."""
        ids = table["class_id"].to_numpy()
        return self.corpus.class_rows(ids) if self.spaces[kind].kind == SEMANTIC else ids

    def _points(self, kind: str) -> MapPoints:
        """Points of the present part in the present view."""
        table = self._of_part()
        space, rows = self.spaces[kind], self._rows(kind, table)
        if self.controls["view"].value == UMAP_VIEW:
            xy = _places_on_map(space, self.projections[kind], rows)
            names, titles = ("map_x", "map_y"), ("UMAP 1 (no units)", "UMAP 2 (no units)")
        else:
            i, j = self.controls["axis i"].value, self.controls["axis j"].value
            if i == j:
                raise ConfigurationError(f"axes i and j are both {i}: choose two")
            xy = space.coordinates[rows][:, [i, j]]
            names, titles = (f"axis_{i}", f"axis_{j}"), (f"axis {i}", f"axis {j}")
        x, y = xy.T.astype(np.float64)
        return MapPoints(rows, x, y, *titles, *names, functools.partial(self._describe, table, rows))

    def _describe(self, table: pd.DataFrame, all_rows: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
        """What a map says of some of its rows; both ascend, as class ids do."""
        chosen = table.iloc[np.searchsorted(all_rows, rows)]
        status = pd.Categorical(chosen["status"], categories=self._statuses)
        return self.corpus.frame(chosen["class_id"].to_numpy()).assign(status=status)

    @guarded
    def _brush(self, kind: str, bounds: Mapping[str, tuple[float, float]]) -> None:
        points, table = self.points[kind], self._of_part()
        sides = {points.x_name: points.x, points.y_name: points.y}
        inside = [(sides[name] >= low) & (sides[name] <= high) for name, (low, high) in bounds.items()]
        brushed = np.all(inside, axis=0) if inside else np.zeros(len(table), dtype=bool)
        for other, drawn in self.maps.items():
            at = np.searchsorted(self.points[other].rows, drawn.rows)
            drawn.mark(brushed[at] if other != kind else None)
        self._list(table[brushed] if inside else table)

    @guarded
    def _pick(self, kind: str, row: int) -> None:
        self._open(self._of_part().index.tolist()[int(np.searchsorted(self.points[kind].rows, row))])

    # ------------------------------------------------------------ tasks

    def _list(self, table: pd.DataFrame) -> None:
        self.shown = table
        self.failures.show(table)
        num, solved = len(table), int(table["solved"].sum())
        lines = [self.summary(), f"shown: {num:,} tasks of {self.part}, {solved:,} solved"]
        counts = table["status"].value_counts()
        lines[1] += "".join(f", {counts[status]:,} {status}" for status in self._statuses[1:] if status in counts)
        self.texts["summary"].value = _text("summary", "\n".join(lines))

    @guarded
    def _choose(self, index: int) -> None:
        self._open(index)

    def _open(self, index: int) -> None:
        """Show one task: its card, and what the model would answer."""
        self.chosen, rows = index, self.table.loc[[index]]
        class_id = int(rows["class_id"].iloc[0])
        for kind, drawn in self.maps.items():
            points = self.points[kind]
            at = np.searchsorted(points.rows, self._rows(kind, rows)[0])
            drawn.star(points.x[at], points.y[at])
        self.candidates = likeliest_answers(self.proposer, self.corpus, class_id, NUM_CANDIDATES)
        card = program_card(self.corpus, self.spaces, class_id, split=self.split)
        self.texts["chosen"].value = self._answers(rows) + card

    def _answers(self, rows: pd.DataFrame) -> str:
        """What the run answered to one task, and the candidates of a beam, as HTML."""
        written = answer_texts(self.corpus, self.evaluations, rows)["written"]
        columns = ["how", "program", "status", "log_probability"]
        submitted = rows.assign(how="submitted", program=written)[columns]
        beam = self.candidates.assign(how=[f"beam {rank}" for rank in self.candidates["rank"]])[columns]
        lines = [
            [how, status_text(status), code(program), muted(f"log-probability {score:.2f}")]
            for how, program, status, score in pd.concat([submitted, beam]).to_numpy().tolist()
        ]
        return styled(f"<h5>what the model answers</h5>{html_table(lines)}<h5>the task</h5>")

    # ------------------------------------------------------------ what is shown

    def _curves(self) -> alt.HConcatChart:
        """Success against the distance to training, in every space."""
        table = self.table[~self.table["part"].str.startswith("matched")]  # which are of the other parts
        drawn = [
            run_charts.success_curve(success_by(table, name), name, "").properties(width=400)
            for name in (f"{space}_distance" for space in self.spaces)
        ]
        return alt.hconcat(*drawn, title=theme.titled(_QUESTION, _HOW))

    def _layout(self) -> W.VBox:
        fixed = W.Layout(flex="0 0 auto")  # or the output area clips a chart's legend
        maps = W.HBox([drawn.widget for drawn in self.maps.values()], layout=fixed)
        box = W.VBox(
            [
                W.HBox(list(self.controls.values())), self.texts["error"], self.texts["summary"], maps,
                self.failures.widget, self.texts["chosen"], W.VBox([self.curves], layout=fixed), ArrowKeys(),
            ],
            layout=fixed,
        )  # fmt: skip
        box.add_class("synthlab-results")
        box.add_class(PANEL)
        return box


def _places_on_map(space: Space, projection: Projection, rows: np.ndarray) -> np.ndarray:
    """Places of any rows on a map (n, 2), among those of the nearest rows that it was fitted on."""
    if projection.space_key != space.key:
        raise ConfigurationError(f"the map shows another {space.kind} space: draw it of this one")
    metric = projection.settings.get("metric", "euclidean")
    fitted = metric_vectors(space.coordinates[projection.rows[projection.fitted]], metric)
    anchors, distances = nearest(metric_vectors(space.coordinates[rows], metric), fitted, NUM_ANCHORS)
    return place(projection.xy[projection.fitted], anchors, distances)


def _text(name: str, text: str = "") -> str:
    """A text of the panel under an id of its own."""
    if name == "chosen":
        return f'<div style="color: {INK}">{html.escape(text or _NO_CHOICE)}</div>'
    shown = preformatted(f"results-{name}", text)
    return f'<div role="alert">{shown}</div>' if name == "error" else shown
