"""An interactive panel in which a split is designed by looking at both spaces.

Controls and a brush define a held-out region; counts, sizes, shift and examples of every part follow in
milliseconds, from a `Preview`. The split itself is drawn when it is asked for. Regions are rules, boxes on
SVD/PCA axes, or cells of a space, so the lines of Python that the panel prints draw the same split anywhere:
UMAP's coordinates decide nothing, and a brush on a UMAP map holds out the cells that lie under it.

Maps are Altair's, through `JupyterChart`: of the widgets that work offline and without a GPU it is the one that
answers a drag over 20,000 points within a second; what lies beyond those is a raster. jupyter-scatter draws
millions of points where a GPU does, and is the optional ``drawer="scatter"``.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import ipywidgets as W
import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError, SplitError, SynthlabError
from synthlab.language.measure import smallest_size
from synthlab.spaces.projection import Projection
from synthlab.spaces.space import SYNTACTIC, Space
from synthlab.splits.audit import audit_corpus
from synthlab.splits.density import density_split
from synthlab.splits.preview import Preview, SplitParts
from synthlab.splits.regions import Region
from synthlab.splits.shift import fast_shift, shift_report
from synthlab.splits.split import Split
from synthlab.splits.support import support_split
from synthlab.store import Store, project_root
from synthlab.study.redraw import redrawing_lines
from synthlab.universe.corpus import Corpus
from synthlab.views.explorer.brush import Brush
from synthlab.views.explorer.controls import (
    AXES_VIEW,
    BRUSH,
    DRAW_CONTROLS,
    HOLDS_OUT,
    REGION_CONTROLS,
    UMAP_VIEW,
    Controls,
)
from synthlab.views.explorer.formula import FormulaPanel
from synthlab.views.explorer.layout import arranged, busy, buttons
from synthlab.views.explorer.live import Latest, guarded, show_panel
from synthlab.views.explorer.pair import Brushed, MapPair
from synthlab.views.explorer.scatter import ScatterMap
from synthlab.views.explorer.sizes import SizeBars
from synthlab.views.explorer.texts import Texts
from synthlab.views.explorer.verdict import VerdictPanel
from synthlab.views.export import save_chart

if TYPE_CHECKING:
    from synthlab.learning.run import Run

REPORT_SAMPLE = 2000
"""Programs of each part that the slow measures of shift compare."""


class SplitExplorer:
    """Panel for designing a split; the last expression of a cell shows it.

    Parameters
    ----------
    corpus, spaces
        The universe, and its spaces by kind.
    projections
        A UMAP map of each; without, the maps show axes, and UMAP's are drawn when they are asked for.
    store
        Where `Save split` puts the split; the default store if None.
    results
        Outcome of a run by class (`learning.evaluation.evaluate_run`), for the colour ``pass@1``.
    run
        A trained model, for its answer to a typed formula.
    preset
        Name of the settings that say what `Brush to verdict` trains.
    drawer
        Of the maps, see `pair.DRAWERS`.
    figures
        Where `Export` writes pictures; ``build/figures`` by default.

    Attributes
    ----------
    region
        The held-out region that the controls describe; None while they describe none.
    parts
        What the parts of the split hold; None while the controls describe no valid split.
    controls
        The widgets by name.
    milliseconds
        What the last change took in Python.
    """

    def __init__(
        self, corpus: Corpus, spaces: Mapping[str, Space], projections: Mapping[str, Projection] | None = None,
        store: Store | None = None, *, results: pd.DataFrame | None = None, run: Run | None = None,
        preset: str = "quick", drawer: str = "altair", figures: Path | str | None = None,
    ) -> None:  # fmt: skip
        self.corpus, self.spaces, self.store = corpus, dict(spaces), store or Store()
        self.figures = Path(figures) if figures else project_root() / "build" / "figures"
        self.region: Region | None = None
        self.parts: SplitParts | None = None
        self.milliseconds = 0.0
        self._settings: dict[str, Any] = {}
        self._split: Split | None = None
        self.replaced: str | None = None
        self._preview = Preview(corpus, self.spaces)
        self.maps = MapPair(corpus, self.spaces, projections, results, drawer)
        views = (UMAP_VIEW, AXES_VIEW) if projections else (AXES_VIEW, UMAP_VIEW)
        self.controls = Controls(corpus, self.spaces, views, self.maps.colors)
        self.brush = Brush(self._preview, self.maps, self.controls)
        self.name = W.Text(value="my-split", description="name", layout=W.Layout(width="320px"))
        self.texts = Texts(corpus, self.spaces)
        self.sizes = SizeBars(range(smallest_size(corpus.measure), corpus.max_size + 1), corpus.measure)
        self.output = W.Output()
        self.buttons = buttons()
        self.formula = FormulaPanel(corpus, self.spaces, split=self._present, run=run, on_place=self.maps.star)
        self.verdict = VerdictPanel(self.store, preset, self.save)
        self._redraw()
        self._recompute()
        self.brush.warm_up()
        self._connect()
        self.widget = arranged(self)
        if self.name.value in self.store.names(Split.stage):  # its verdict may be under way, or done
            self.verdict.attach(self.name.value)

    @property
    def brushed(self) -> Brushed | None:
        """What is under the last brush, if anything."""
        return self.brush.brushed

    # ------------------------------------------------------------ the split

    @property
    def split(self) -> Split:
        """The split that the controls describe; drawn on the first call after a change.

        Raises
        ------
        SplitError
            While they describe no valid split.
        """
        if self.parts is None:
            raise SplitError("there is no split yet: mend the settings first")
        if self._split is None:
            self._split = self._drawn()
        return self._split

    def _present(self) -> Split | SplitParts | None:
        """The split as far as it is known."""
        return self._split or self.parts

    def _drawn(self) -> Split:
        if self.region is None:
            return density_split(self.corpus, self.spaces, self._settings)
        return support_split(self.corpus, self.spaces, self._settings, held=self._preview.held(self.region))

    def save(self) -> str:
        """Audit the split and store it under the name in the panel, which is returned.

        Raises
        ------
        SplitError
            If it leaks, or there is none.
        """
        split = self.split
        spaces = {name: self.spaces[name] for name in split.settings.get("spaces", ())}
        audit_corpus(split, self.corpus, spaces).require()
        self.replaced = self.store.name(split, self.name.value)
        self._show_drawn()
        return self.name.value

    def reproduce(self) -> str:
        """Lines of Python that draw the current split without the panel.

        Raises
        ------
        SplitError
            While the controls describe no valid split.
        """
        return redrawing_lines(self.split, self.corpus, self.spaces)

    def static(self) -> alt.VConcatChart:
        """What the panel shows as a chart that needs no kernel, for export and for reading on a code host."""
        title = f"Held out: {self.region.describe()}" if self.region else "Nothing is held out"
        sizes = [self.sizes.static()] if self.parts else []
        return alt.vconcat(self.maps.static(title), *sizes).resolve_scale(color="independent", shape="independent")

    def export(self, folder: Path | str | None = None) -> list[Path]:
        """Write the view as PNG, SVG and Vega-Lite, named as the split; returns the files."""
        return save_chart(self.static(), folder or self.figures, self.name.value)

    # ------------------------------------------------------------ showing it

    def _ipython_display_(self) -> None:
        show_panel(self.widget, self.static(), self.maps.maps.values())

    # ------------------------------------------------------------ callbacks

    def fail(self, message: str) -> None:
        """Show an error in the panel, or none."""
        self.texts.say("error", message)

    def _connect(self) -> None:
        for name in (*REGION_CONTROLS, *DRAW_CONTROLS):
            self.controls[name].observe(self._changed, "value")
        for name in ("view", "axis_i", "axis_j"):
            self.controls[name].observe(self._redraw, "value")
        self.controls["color"].observe(self._recolor, "value")
        for kind, live in self.maps.maps.items():
            live.on_brush(Latest(functools.partial(self._brushed, kind)))
            live.on_pick(functools.partial(self._pick, kind))
            if isinstance(live, ScatterMap):
                live.on_lasso(functools.partial(self._lassoed, kind))
        handlers = {
            "draw": self._draw, "measure": self._measure, "save": self._save, "export": self._export,
            "zoom": self._zoom, "zoom_out": self._zoom_out,
        }  # fmt: skip
        for name, handler in handlers.items():
            self.buttons[name].on_click(handler)

    @guarded
    def _changed(self, change: Any) -> None:
        if self.controls.quiet:
            return
        if change["owner"] in (self.controls["interval_i"], self.controls["interval_j"]):
            self._move_interval()
        elif change["owner"] is self.controls["brushed_space"]:
            self.brush.span_intervals()
        else:
            self._recompute()

    @guarded
    def _recompute(self) -> None:
        start = time.perf_counter()
        self.controls.show()
        self.region = self.parts = self._split = None  # when this fails, the last split must not pass for this one
        try:
            self.region = self.controls.region(self.brush.region)
            self._settings = self.controls.settings(self.region)
            self.parts = self._parts()
        except Exception as error:
            self._show(problem=str(error))
            raise
        with self.maps.at_once():
            self._show()
        self.milliseconds = 1000 * (time.perf_counter() - start)

    def _parts(self) -> SplitParts:
        share, seed = self._settings["reserved"], self._settings["seed"]
        if self.region is not None:
            isolated = self._settings["isolated"]
            parts = self._preview.parts(self.region, reserved=share, seed=seed, isolated=isolated)
        else:
            parts = self._preview.undivided(reserved=share, seed=seed)
        num_train = self._settings["num_train"] or 0
        if num_train > parts.num_pool:
            raise SplitError(
                f"{num_train:,} training programs asked of a pool of {parts.num_pool:,}: ask for fewer, hold out less, "
                "or reserve fewer"
            )
        return parts

    @guarded
    def _redraw(self, _change: Any = None) -> None:
        self.controls.show()
        axes = self.controls.value("axis_i"), self.controls.value("axis_j")
        self.maps.draw(self.controls.value("view"), axes, self.controls.value("color"))
        self.brush.span_intervals()
        self._repaint()

    @guarded
    def _recolor(self, _change: Any) -> None:
        self.maps.recolor(self.controls.value("color"))
        self._repaint()

    @guarded
    def _brushed(self, kind: str, bounds: dict[str, tuple[float, float]]) -> None:
        if not bounds and self.brushed is not None and kind != self.brushed.kind:
            return  # an older brush was cleared, on the other map
        self._look_at(self.maps.brushed(kind, bounds), holds_out=self.controls.value("brushing") == HOLDS_OUT)

    @guarded
    def _lassoed(self, kind: str, rows: np.ndarray) -> None:
        brushed = self.maps.lassoed(kind, rows)
        self._look_at(brushed, holds_out=self.controls.value("brushing") == HOLDS_OUT)

    @guarded
    def _move_interval(self) -> None:
        self._look_at(self.brush.of_intervals(), holds_out=True)

    def _look_at(self, brushed: Brushed | None, *, holds_out: bool) -> None:
        start = time.perf_counter()
        with self.maps.at_once():  # the counts arrive before the browser is busy with the maps
            self.brush.look_at(brushed)
            self.texts.show_brush(self.brush)
            if brushed is not None and holds_out and self.controls.rule:  # density splits hold nothing out
                self._hold_out(brushed)
        self.milliseconds = 1000 * (time.perf_counter() - start)

    def _hold_out(self, brushed: Brushed) -> None:
        try:
            self.brush.hold_out(brushed)
        except SynthlabError:
            if self.controls.value("rule") == BRUSH:
                self._recompute()
            raise
        self.texts.show_brush(self.brush)
        if self.controls.value("rule") == BRUSH:
            self._recompute()
        else:
            self.controls["rule"].value = BRUSH  # recomputes

    @guarded
    def _pick(self, kind: str, row: int) -> None:
        program_id = row if kind == SYNTACTIC else int(self.corpus.class_id[row])
        self.texts.pick(program_id, self._present())

    @guarded
    def _zoom(self, _button: Any) -> None:
        if self.brushed is None:
            raise ConfigurationError("nothing to zoom to: drag over a map first")
        self.maps.maps[self.brushed.kind].zoom_to(self.brushed.bounds)
        self._repaint()

    @guarded
    def _zoom_out(self, _button: Any) -> None:
        for live in self.maps.maps.values():
            live.zoom_out()
        self._repaint()

    def _repaint(self) -> None:
        """Colour maps that were drawn anew, on which nothing is brushed."""
        self.brush.look_at(None)
        self.texts.show_brush(self.brush)
        self.maps.paint(self.parts)

    @guarded
    def _draw(self, _button: Any) -> None:
        with busy(self.buttons["draw"]):
            split = self.split
            self._show_drawn()
            self.texts.show_shift(fast_shift(split, self.corpus, self.spaces), "a sample of what was drawn")
            table = split.histogram(self.corpus)
            bars = {str(part): rows["items"].to_numpy() for part, rows in table.groupby("part")}
            self.sizes.update({part: np.append(np.zeros(self.sizes.sizes.start), row) for part, row in bars.items()})

    @guarded
    def _measure(self, _button: Any) -> None:
        with busy(self.buttons["measure"]):
            split, report = self.split, pd.DataFrame()
            failure: Exception | None = None
            with self.output:  # which shows the progress, and would keep an error to itself
                try:
                    report = shift_report(split, self.corpus, self.spaces, sample=REPORT_SAMPLE)
                except Exception as error:
                    failure = error
            if failure is not None:
                raise failure
            self.texts.show_shift(report, f"{REPORT_SAMPLE:,} items a part")

    @guarded
    def _save(self, _button: Any = None) -> None:
        with busy(self.buttons["save"]):
            self.texts.say_saved(self.save(), self.replaced, self.reproduce())
            if not self.verdict.is_running:
                self.verdict.attach(self.name.value)

    @guarded
    def _export(self, _button: Any = None) -> None:
        with busy(self.buttons["export"]):
            paths = self.export()
            self.texts.say("code", "\n".join(f"wrote {path}" for path in paths))

    # ------------------------------------------------------------ what is shown

    def _show(self, problem: str = "") -> None:
        self.maps.paint(self.parts)
        if self.parts is None:
            self.texts.show_problem(problem)
            self.sizes.clear()
            return
        self.texts.show_parts(self.parts, *self._asked)
        self.sizes.update(self.parts.sizes())

    def _show_drawn(self) -> None:
        assert self.parts is not None
        self.texts.show_counts(self.parts, self._split, *self._asked)

    @property
    def _asked(self) -> tuple[int | None, str]:
        """Training programs that are asked for, and the region in words."""
        return self._settings["num_train"], self.region.describe() if self.region else ""
