"""An interactive panel in which a support split is designed by looking at both spaces.

Controls and a brush define a held-out region; counts, sizes and examples of every part follow. Regions are
rules or boxes on SVD/PCA axes, so the lines of Python that the panel prints draw the same split anywhere;
a brush on a UMAP map only shows what lies under it.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Mapping
from typing import Any

import altair as alt
import ipywidgets as W
import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError, SplitError, SynthlabError
from synthlab.spaces.projection import Projection, map_frame
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.splits import support
from synthlab.splits.audit import audit_corpus
from synthlab.splits.regions import BOTH, Region, hold_out
from synthlab.splits.split import Split, training_pool
from synthlab.store import Store
from synthlab.universe.corpus import Corpus
from synthlab.views import charts, theme

UMAP_VIEW, AXES_VIEW = "UMAP map", "axes i, j"
NUM_EXAMPLES = 5

# which controls a rule reads; the others are hidden
_RULE_CONTROLS = {
    "quantile": ("space", "axis", "quantile", "above"),
    "cluster": ("space", "num_clusters", "num_held"),
    "root": ("root",),
    "box": (),
}
_REGION_CONTROLS = ("rule", "space", "axis", "quantile", "above", "num_clusters", "num_held", "root")
_DRAW_CONTROLS = ("reserved", "num_train", "num_test", "seed")
_VIEW_CONTROLS = ("view", "axis_i", "axis_j", "color")
_LABELS = {"description_width": "130px"}
_IMPORTS = """\
from synthlab.language.grammar import get_grammar
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.regions import Region
from synthlab.splits.support import support_settings, support_split
from synthlab.universe.corpus import build_corpus"""


def _guarded(handler: Callable[..., None]) -> Callable[..., None]:
    """Show an error in the panel: a widget's callback would lose it in the browser's log."""

    @functools.wraps(handler)
    def run(self: SplitExplorer, *arguments: Any) -> None:
        self.texts["error"].value = _pre("error")
        try:
            handler(self, *arguments)
        except SynthlabError as error:
            self.texts["error"].value = _pre("error", str(error))
        except Exception as error:
            self.texts["error"].value = _pre("error", f"{type(error).__name__}: {error}")

    return run


class SplitExplorer:
    """Panel for designing a support split; the last expression of a cell shows it.

    Parameters
    ----------
    corpus, spaces, projections
        The universe, its spaces by kind, and a map of each.
    store
        Where `Save split` puts the split; the default store if None.

    Attributes
    ----------
    region, split
        What the controls describe; None while they describe no valid split.
    brushed
        Ids of the drawn programs (or minimal texts of the drawn classes) under the last brush.
    controls
        The widgets by name.
    """

    def __init__(
        self,
        corpus: Corpus,
        spaces: Mapping[str, Space],
        projections: Mapping[str, Projection],
        store: Store | None = None,
    ) -> None:
        charts.use_theme()
        alt.JupyterChart.enable_offline()  # must come before the first chart, which copies the script
        self.corpus, self.spaces, self.projections, self.store = corpus, spaces, projections, store
        self.region: Region | None = None
        self.split: Split | None = None
        self.brushed = np.empty(0, dtype=np.int64)
        self._box: tuple[str, tuple[tuple[int, float, float], ...]] | None = None
        self._held = functools.lru_cache(maxsize=8)(lambda region: hold_out(region, corpus, spaces))
        self.frames = {kind: map_frame(corpus, spaces[kind], projections[kind]) for kind in spaces}
        self.controls = _controls(corpus, spaces)
        self.name = W.Text(value="my-split", description="name", style=_LABELS)
        self.save = W.Button(description="Save split", icon="save", tooltip="audit the split and store it by name")
        self.texts = {part: W.HTML(_pre(part)) for part in ("error", "summary", "examples", "brushed", "code")}
        self.maps: dict[str, Any] = {}
        self.histogram = _live(alt.Chart(pd.DataFrame({"x": [0]})).mark_point(opacity=0))
        self._recompute()
        self.maps = {kind: _live(self._map(kind)) for kind in spaces}
        self._connect()
        self.widget = self._layout()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)

    def static(self) -> alt.VConcatChart:
        """What the panel shows as a chart that needs no kernel, for export and for reading on a code host."""
        syntactic, semantic = (self.frames[kind].assign(part=self._parts(kind)) for kind in (SYNTACTIC, SEMANTIC))
        title = f"Held out: {self.region.describe()}" if self.region else "No split yet"
        maps = charts.map_pair(syntactic, semantic, self.controls["color"].value, title)
        sizes = [charts.size_histogram(self.split.histogram(self.corpus))] if self.split else []
        return alt.vconcat(maps, *sizes).resolve_scale(color="independent", shape="independent")

    def reproduce(self) -> str:
        """Lines of Python that draw the current split.

        Raises
        ------
        SplitError
            While the controls describe no valid split.
        """
        if self.split is None or self.region is None:
            raise SplitError("there is no split yet: mend the settings first")
        fits = ", ".join(
            f"{kind!r}: fit_{kind}(corpus, {_arguments(space.settings, ('p', 'q', 'num_axes'))})"
            for kind, space in self.spaces.items()
        )
        bound = f"{self.corpus.max_size}, measure={self.corpus.measure!r}"
        corpus = f"get_grammar({self.corpus.grammar.name!r}), {bound}, seed={self.corpus.seed}"
        settings = _arguments(self.split.settings, _DRAW_CONTROLS)
        return f"{_IMPORTS}\n\n" + "\n".join(
            [
                f"corpus = build_corpus({corpus})",
                f"spaces = {{{fits}}}",
                f"region = Region({_arguments(self.region.settings())})",
                f"split = support_split(corpus, spaces, support_settings(region, {settings}))",
            ]
        )

    # ------------------------------------------------------------ callbacks

    def _connect(self) -> None:
        for name in (*_REGION_CONTROLS, *_DRAW_CONTROLS):
            self.controls[name].observe(self._recompute, "value")
        for name in _VIEW_CONTROLS:
            self.controls[name].observe(self._redraw, "value")
        for kind in self.maps:
            self._watch(kind)
        self.save.on_click(self._save)

    def _watch(self, kind: str) -> None:
        live = self.maps[kind]
        live.selections.observe(functools.partial(self._brush, kind), ["brush"])
        # a browser that draws the map anew reports the parts it was first drawn with; tell it the present ones
        live.params.observe(lambda _: live.params.set_trait("parts", self._digits(kind)))

    @_guarded
    def _recompute(self, _change: Any = None) -> None:
        self._show_rule()
        self.region = self.split = None  # when this fails, the last split must not pass for the current one
        try:
            self.region = self._chosen_region()
            settings = support.support_settings(self.region, **self._draw_settings())
            self.split = support.support_split(self.corpus, self.spaces, settings, held=self._held(self.region))
        except Exception as error:
            self._show(problem=str(error))
            raise
        self._show()

    @_guarded
    def _redraw(self, _change: Any = None) -> None:
        for kind, live in self.maps.items():
            live.chart = self._map(kind)
            self._watch(kind)  # a new chart comes with new selections

    @_guarded
    def _brush(self, kind: str, change: Any) -> None:
        bounds = {field: (min(ends), max(ends)) for field, ends in (change["new"].value or {}).items()}
        frame = self._drawn(kind)
        inside = np.all([frame[field].between(*ends) for field, ends in bounds.items()], axis=0) & bool(bounds)
        self.brushed = frame["program_id"].to_numpy()[np.broadcast_to(inside, len(frame))]
        self._show_brushed(kind)
        if bounds and all(field.startswith("axis_") for field in bounds):  # never UMAP's coordinates
            axes = [(int(f.removeprefix("axis_")), round(low, 4), round(high, 4)) for f, (low, high) in bounds.items()]
            self._box = kind, tuple(axes)
            if self.controls["rule"].value == "box":
                self._recompute()
            self.controls["rule"].value = "box"  # recomputes if it was another rule

    @_guarded
    def _save(self, _button: Any = None) -> None:
        lines = self.reproduce()
        assert self.split is not None
        audit_corpus(self.split, self.corpus).require()
        (self.store or Store()).name(self.split, self.name.value)
        self.texts["code"].value = _pre("code", f"# saved as {self.name.value!r}; no leaks found\n{lines}")

    # ------------------------------------------------------------ from controls to a region

    def _chosen_region(self) -> Region:
        rule = self.controls["rule"].value
        chosen = {name: self.controls[name].value for name in _RULE_CONTROLS[rule]}
        if rule == "cluster":
            chosen["seed"] = self.controls["seed"].value
        if rule == "quantile":
            chosen["quantile"] = round(chosen["quantile"], 2)  # a slider's steps are not exact
        if rule == "box":
            if self._box is None:
                raise ConfigurationError(f"no box yet: choose the view '{AXES_VIEW}' and drag over a map")
            chosen["space"], chosen["box"] = self._box
        return Region(rule=rule, **chosen)

    def _draw_settings(self) -> dict[str, Any]:
        values = {name: self.controls[name].value for name in _DRAW_CONTROLS}
        return values | {"reserved": round(values["reserved"], 2), "num_train": values["num_train"] or None}

    # ------------------------------------------------------------ what is shown

    def _drawn(self, kind: str) -> pd.DataFrame:
        """Points of a map with the axes that are looked at."""
        rows, space = self.projections[kind].rows, self.spaces[kind]
        axes = {self.controls[name].value for name in ("axis_i", "axis_j")}
        return self.frames[kind].assign(**{f"axis_{a}": space.axis(a)[rows] for a in axes})

    def _map(self, kind: str) -> alt.Chart:
        """Scatter whose parts arrive as one string of digits, so that a change neither redraws nor unbrushes it."""
        i, j = self.controls["axis_i"].value, self.controls["axis_j"].value
        if i == j:
            raise ConfigurationError(f"axes i and j are both {i}: choose two")
        is_map = self.controls["view"].value == UMAP_VIEW
        x, y = ("map_x", "map_y") if is_map else (f"axis_{i}", f"axis_{j}")
        frame = self._drawn(kind)[["program", "leaves", "root", "class_size", x, y]]
        frame = frame.assign(row=np.arange(len(frame)), part=theme.REGION_PARTS[-1])
        digit = "toNumber(substring(parts, datum.row, datum.row + 1))"
        title = f"{kind} space: one point per {'program' if kind == SYNTACTIC else 'function'}"
        return (
            charts.space_map(frame, self.controls["color"].value, title, x=x, y=y)
            .transform_calculate(part=f"{list(theme.REGION_PARTS)}[{digit}]")
            .add_params(alt.param(name="parts", value=self._digits(kind)), alt.selection_interval(name="brush"))
            .properties(width=400, height=330)
            .configure_legend(orient="bottom", labelFontSize=13, titleFontSize=13, symbolSize=90)
        )

    def _parts(self, kind: str) -> np.ndarray:
        if self.split is None:
            return np.full(len(self.frames[kind]), theme.REGION_PARTS[-1])
        if kind == SYNTACTIC:
            return support.region_map(self.corpus, self.split, self.projections[kind].rows).to_numpy()
        return class_parts(self.corpus, self.split)[self.projections[kind].rows]

    def _digits(self, kind: str) -> str:
        return "".join(str(theme.REGION_PARTS.index(part)) for part in self._parts(kind))

    def _show(self, problem: str = "") -> None:
        for kind, live in self.maps.items():
            live.params.set_trait("parts", self._digits(kind))
        self.texts["code"].value = _pre("code")
        self.texts["summary"].value = _pre("summary", f"no split: {problem}")
        self.texts["examples"].value = _pre("examples")
        self.histogram.layout.visibility = "hidden" if problem else "visible"
        if self.split is not None and self.region is not None:
            self.texts["summary"].value = _pre("summary", self._counts(self.split, self.region))
            self.texts["examples"].value = _pre("examples", self._example_lines(self.split, self.region))
            self.histogram.chart = charts.size_histogram(self.split.histogram(self.corpus), "Sizes of the parts")

    def _counts(self, split: Split, region: Region) -> str:
        inside, corpus = self._held(region).inside, self.corpus
        reserved = np.isin(np.arange(corpus.num_classes), corpus.class_rows(split.reserved))
        num_pool = len(training_pool(corpus, reserved, inside))
        tests = {name: f"{len(ids):,} functions" for name, ids in split.tests.items()}
        rows = {
            "held out": f"{int(inside.sum()):,} of {corpus.num_programs:,} programs ({region.describe()})",
            "reserved": f"{len(split.reserved):,} of {corpus.num_classes:,} functions",
            "train pool": f"{num_pool:,} programs, {len(split.train):,} drawn",
            "id": tests["id"],
            "open": tests.get("open", "n/a (semantic region)"),
            f"forced@{corpus.max_size}": tests["forced"],
            "matched": f"{len(split.tests['matched_id']):,} pairs of id and forced",
        }
        return "\n".join(f"{name:<12}{text}" for name, text in rows.items())

    def _example_lines(self, split: Split, region: Region) -> str:
        held_out = np.flatnonzero(self._held(region).inside)
        forced = f"forced@{self.corpus.max_size}"
        groups = {"train": split.train, "held out": held_out, forced: split.tests["forced"]}
        return "\n".join(f"{name:<12}{self._some_texts(ids)}" for name, ids in groups.items())

    def _some_texts(self, ids: np.ndarray) -> str:
        some = np.random.default_rng(0).choice(ids, min(NUM_EXAMPLES, len(ids)), replace=False)
        return " | ".join(self.corpus.program(int(i)).infix_text() for i in np.sort(some)) or "none"

    def _show_brushed(self, kind: str) -> None:
        unit = "programs" if kind == SYNTACTIC else "functions"
        text = f"under the brush: {len(self.brushed):,} drawn {unit}\n{self._some_texts(self.brushed)}"
        self.texts["brushed"].value = _pre("brushed", text if len(self.brushed) else "")

    def _show_rule(self) -> None:
        rule = self.controls["rule"].value
        for name in _REGION_CONTROLS[1:]:
            self.controls[name].layout.display = "" if name in _RULE_CONTROLS[rule] else "none"

    def _layout(self) -> W.VBox:
        fixed = W.Layout(flex="0 0 auto")  # or the output area clips a chart's legend
        heads = {"What is held out": _REGION_CONTROLS, "How it is drawn": _DRAW_CONTROLS, "View": _VIEW_CONTROLS}
        boxes = [
            W.VBox([W.HTML(f"<b>{head}</b>"), *(self.controls[n] for n in names)]) for head, names in heads.items()
        ]
        boxes[-1].children += (self.name, self.save)
        error, *texts = self.texts.values()
        maps = W.HBox([W.VBox([live], layout=fixed) for live in self.maps.values()], layout=fixed)
        result = W.HBox([W.VBox([self.histogram], layout=fixed), W.VBox(texts)], layout=fixed)
        return W.VBox([W.HBox(boxes), error, maps, result])


def class_parts(corpus: Corpus, split: Split) -> np.ndarray:
    """Part of a split that every class lies in, text (C,): held out where all its texts are."""
    outside = support.texts_per_class(corpus, ~split.held_out(corpus.num_programs)) > 0
    reserved, trained = (np.zeros(corpus.num_classes, dtype=bool) for _ in range(2))
    reserved[corpus.class_rows(split.reserved)] = True
    trained[corpus.class_index[split.train]] = True
    return np.select([~outside, reserved, trained], ["held out", "reserved", "train"], "unused")


def _controls(corpus: Corpus, spaces: Mapping[str, Space]) -> dict[str, Any]:
    last_axis = max(space.num_axes for space in spaces.values()) - 1

    def choice(label: str, options: Any) -> Any:
        return W.Dropdown(description=label, options=list(options), style=_LABELS)

    def number(label: str, value: int, low: int, high: int) -> Any:
        return W.BoundedIntText(description=label, value=value, min=low, max=high, style=_LABELS)

    def share(label: str, value: float, low: float, high: float) -> Any:
        # one recomputation when the slider is released, not one for every pixel
        return W.FloatSlider(
            description=label, value=value, min=low, max=high, step=0.01, continuous_update=False, style=_LABELS
        )

    operators = corpus.grammar.tokens[corpus.grammar.num_terminals :]
    return {
        "rule": choice("rule", _RULE_CONTROLS),
        "space": choice("space", [*spaces, BOTH]),
        "axis": number("axis", 0, 0, last_axis),
        "quantile": share("quantile", 0.7, 0.01, 0.99),
        "above": W.Checkbox(description="hold out above", value=True, style=_LABELS),
        "num_clusters": number("clusters", 20, 2, 500),
        "num_held": number("clusters held out", 6, 1, 499),
        "root": choice("root operator", operators),
        "reserved": share("reserved share", 0.15, 0.01, 0.5),
        "num_train": number("programs (0: all)", 0, 0, corpus.num_programs),
        "num_test": number("tasks at most", corpus.num_classes, 1, corpus.num_classes),
        "seed": number("seed", 0, 0, 2**31 - 1),
        "view": choice("view", [UMAP_VIEW, AXES_VIEW]),
        "axis_i": number("axis i", 0, 0, last_axis),
        "axis_j": number("axis j", 1, 0, last_axis),
        "color": choice("colour", ["part", "leaves", "root", "class_size"]),
    }


def _live(chart: alt.Chart) -> alt.JupyterChart:
    # the callback runs once per drag: 150 ms after the last move, never in between
    return alt.JupyterChart(chart, debounce_wait=150, max_wait=False, embed_options={"renderer": "canvas"})


def _pre(name: str, text: str = "") -> str:
    alert = ' role="alert" style="color: #A03000; white-space: pre-wrap"' if name == "error" else ""
    return f'<pre id="{name}"{alert}>{html.escape(text)}</pre>'


def _arguments(settings: Mapping[str, Any], names: tuple[str, ...] | None = None) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in settings.items() if names is None or k in names)
