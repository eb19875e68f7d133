"""Controls of the split explorer, and what their values ask for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ipywidgets as W

from synthlab.errors import ConfigurationError
from synthlab.spaces.space import Space
from synthlab.splits.density import REGIMES, density_settings
from synthlab.splits.matching import MATCHED_BY, PROPERTIES
from synthlab.splits.regions import BOTH, Region
from synthlab.splits.split import POLICIES
from synthlab.splits.support import RESERVED_SHARE, support_settings
from synthlab.universe.corpus import Corpus

SUPPORT, ISOLATED, DENSITY = "support", "support, isolated", "density"
KINDS = (SUPPORT, ISOLATED, DENSITY)
"""Kinds of split that are designed by hand."""
BRUSH = "brush"
"""The rule whose region is what was brushed last."""
UMAP_VIEW, AXES_VIEW = "UMAP map", "axes i, j"
HOLDS_OUT, ONLY_LOOKS = "holds out", "only looks"
RULES = {
    "quantile": ("space", "axis", "quantile", "above"),
    "cluster": ("space", "num_clusters", "num_held"),
    "root": ("root",),
    BRUSH: ("brushed_space", "interval_i", "interval_j"),
}
"""Which controls a rule reads; the others are hidden."""
REGION_CONTROLS = ("rule", *dict.fromkeys(name for names in RULES.values() for name in names))
DRAW_CONTROLS = ("kind", "reserved", "num_train", "num_test", "seed", "regime", "policy", "match", "match_size")
VIEW_CONTROLS = ("view", "axis_i", "axis_j", "color", "brushing")
HEADS = {"What is held out": REGION_CONTROLS, "How it is drawn": DRAW_CONTROLS, "View": VIEW_CONTROLS}
"""Columns of the panel."""
_SUPPORT_ONLY = ("match",)
_LABELS = {"description_width": "120px"}
_LAYOUT = {"width": "320px"}


class Controls:
    """The controls by name, with what they ask for.

    Parameters
    ----------
    corpus, spaces
        Decide what can be chosen.
    views, colors
        What the maps can show.

    Attributes
    ----------
    quiet
        Whether what changes now was not changed by the user.
    """

    def __init__(
        self, corpus: Corpus, spaces: Mapping[str, Space], views: Iterable[str], colors: Iterable[str]
    ) -> None:
        self.by_name = _widgets(corpus, spaces, list(views), list(colors))
        self.quiet = False
        self.show()

    @contextlib.contextmanager
    def quietly(self) -> Iterator[None]:
        """Change controls without an answer to the change (`quiet`)."""
        self.quiet = True
        try:
            yield
        finally:
            self.quiet = False

    def __getitem__(self, name: str) -> Any:
        return self.by_name[name]

    def value(self, name: str) -> Any:
        """What a control is set to; shares without the rounding of a slider's steps."""
        value = self.by_name[name].value
        return round(value, 2) if name in ("quantile", "reserved") else value

    @property
    def rule(self) -> str:
        """The rule by which a region is held out; empty where none is."""
        return "" if self.value("kind") == DENSITY else self.value("rule")

    def show(self) -> None:
        """Show only the controls that are read."""
        rule = self.rule
        drawn = set(RULES.get(rule, ()))
        hidden = {name for name in REGION_CONTROLS[1:] if name not in drawn}
        hidden |= {"rule"} if not rule else set()
        hidden |= set(_SUPPORT_ONLY) if not rule else set()
        hidden |= {"regime", "match_size"} if self.value("kind") == ISOLATED else set()
        hidden |= {"interval_i", "interval_j", "axis_i", "axis_j"} if self.value("view") == UMAP_VIEW else set()
        for name, widget in self.by_name.items():
            widget.layout.display = "none" if name in hidden else ""

    def region(self, brushed: Region | None) -> Region | None:
        """The region that is asked for; None for a split that holds none out.

        Raises
        ------
        ConfigurationError
            If a brush is asked for and nothing was brushed, or a parameter is out of range.
        """
        rule = self.rule
        if not rule:
            return None
        if rule == BRUSH:
            if brushed is None:
                raise ConfigurationError("nothing is brushed yet: drag over a map, or move an interval of an axis")
            return brushed
        chosen = {name: self.value(name) for name in RULES[rule]}
        if rule == "cluster":
            chosen["seed"] = self.value("seed")
        return Region(rule=rule, **chosen)

    def settings(self, region: Region | None) -> dict[str, Any]:
        """Settings of the split that is asked for.

        Raises
        ------
        ConfigurationError
            If they contradict each other.
        """
        common = {name: self.value(name) for name in ("reserved", "num_test", "seed", "policy")}
        num_train = self.value("num_train") or None
        if region is None:
            if num_train is None:
                raise ConfigurationError("a density split needs a budget: set the number of training programs")
            drawn = {name: self.value(name) for name in ("regime", "match_size")}
            return density_settings(num_train=num_train, **drawn, **common)
        common |= {"num_train": num_train, "match": self.value("match")}
        if self.value("kind") == ISOLATED:
            return support_settings(region, isolated=True, **common)
        return support_settings(region, regime=self.value("regime"), match_size=self.value("match_size"), **common)

    def set_interval(self, name: str, low: float, high: float) -> None:
        """Move an interval to a brush, whatever its present ends are."""
        slider = self.by_name[name]
        slider.value = tuple(min(max(end, slider.min), slider.max) for end in (low, high))

    def span(self, name: str, low: float, high: float) -> None:
        """Let an interval slide over an axis, and choose all of it."""
        slider = self.by_name[name]
        slider.min, slider.max = min(low, slider.min), max(high, slider.max)  # never min above max in between
        slider.min, slider.max, slider.value = low, high, (low, high)


def _widgets(corpus: Corpus, spaces: Mapping[str, Space], views: list[str], colors: list[str]) -> dict[str, Any]:
    last_axis = max(space.num_axes for space in spaces.values()) - 1
    operators = corpus.grammar.tokens[corpus.grammar.num_terminals :]
    both = [BOTH] if len(spaces) > 1 else []
    return {
        "rule": _choice("rule", RULES),
        "space": _choice("space", [*spaces, *both]),
        "axis": _number("axis", 0, 0, last_axis),
        "quantile": _slider("quantile", 0.7, 0.01, 0.99),
        "above": W.Checkbox(description="hold out above", value=True, style=_LABELS, layout=_LAYOUT),
        "num_clusters": _number("clusters", 20, 2, 500),
        "num_held": _number("held out of them", 6, 1, 499),
        "root": _choice("root operator", operators),
        "brushed_space": _choice("brushed space", list(spaces)),
        "interval_i": _interval("on axis i"),
        "interval_j": _interval("on axis j"),
        "kind": _choice("kind", KINDS),
        "reserved": _slider("reserved share", RESERVED_SHARE, 0.01, 0.5),
        "num_train": _number("programs (0: all)", 0, 0, corpus.num_programs),
        "num_test": _number("tasks at most", min(1000, corpus.num_classes), 1, corpus.num_classes),
        "seed": _number("seed", 0, 0, 2**31 - 1),
        "regime": _choice("drawn by", REGIMES),
        "policy": _choice("text learned", POLICIES),
        "match": W.SelectMultiple(
            description="matched by", options=list(PROPERTIES), value=MATCHED_BY, rows=4, style=_LABELS, layout=_LAYOUT
        ),
        "match_size": W.Checkbox(description="train sizes of the pool", value=False, style=_LABELS, layout=_LAYOUT),
        "view": _choice("view", views),
        "axis_i": _number("axis i", 0, 0, last_axis),
        "axis_j": _number("axis j", 1, 0, last_axis),
        "color": _choice("colour", colors),
        "brushing": _choice("a brush", [HOLDS_OUT, ONLY_LOOKS]),
    }  # fmt: skip


def _choice(label: str, options: Iterable[str]) -> Any:
    return W.Dropdown(description=label, options=list(options), style=_LABELS, layout=_LAYOUT)


def _number(label: str, value: int, low: int, high: int) -> Any:
    return W.BoundedIntText(description=label, value=value, min=low, max=high, style=_LABELS, layout=_LAYOUT)


def _slider(label: str, value: float, low: float, high: float) -> Any:
    # one recomputation when the slider is released, not one for every pixel
    return W.FloatSlider(
        description=label, value=value, min=low, max=high, step=0.01, continuous_update=False, style=_LABELS,
        layout=_LAYOUT,
    )  # fmt: skip


def _interval(label: str) -> Any:
    return W.FloatRangeSlider(
        description=label, value=(0.0, 1.0), min=0.0, max=1.0, step=0.001, continuous_update=False,
        readout_format=".3f", style=_LABELS, layout=_LAYOUT,
    )  # fmt: skip
