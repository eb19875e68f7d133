"""Buttons of the panel, and where everything stands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import ipywidgets as W

from synthlab.views.explorer.controls import HEADS
from synthlab.views.explorer.live import PANEL, ArrowKeys

if TYPE_CHECKING:
    from synthlab.views.explorer.panel import SplitExplorer

_BUTTONS = {
    "zoom": ("Zoom to brush", "search-plus", "draw what is under the brush anew, with more of its points"),
    "zoom_out": ("Zoom out", "search-minus", "draw the whole maps"),
    "draw": ("Draw and match sizes", "random", "draw training programs and tests, and match id and forced"),
    "save": ("Save split", "save", "audit the split and store it by name"),
    "measure": ("Measure shift", "arrows-h", "all measures of shift, in half a minute"),
    "export": ("Export", "image", "write what is shown as PNG and SVG"),
}
_ROWS = (("zoom", "zoom_out"), ("draw",), ("measure",), ("save", "export"))


def buttons() -> dict[str, W.Button]:
    """The buttons by name."""
    width = {name: "158px" if len(row) > 1 else "320px" for row in _ROWS for name in row}
    return {
        name: W.Button(description=text, icon=icon, tooltip=tooltip, layout=W.Layout(width=width[name]))
        for name, (text, icon, tooltip) in _BUTTONS.items()
    }


@contextlib.contextmanager
def busy(button: W.Button) -> Iterator[None]:
    """A button that cannot be pressed while it works, and always can afterwards."""
    button.disabled = True
    try:
        yield
    finally:
        button.disabled = False


def arranged(panel: SplitExplorer) -> W.VBox:
    """Everything in its place: controls above the maps, numbers and programs below."""
    fixed = W.Layout(flex="0 0 auto", flex_flow="wrap")  # or the output area clips a chart's legend
    columns = [
        W.VBox([W.HTML(f"<b>{head}</b>"), *(panel.controls[name] for name in names)]) for head, names in HEADS.items()
    ]
    zooms, *rows = [W.HBox([panel.buttons[name] for name in names]) for names in _ROWS]
    columns[-1].children += (zooms, W.HTML("<b>The split</b>"), panel.name, *rows)
    numbers = W.VBox([panel.texts["summary"], panel.texts["shift"], panel.output])
    programs = W.VBox([panel.texts[name] for name in ("marked", "examples", "card")])
    tabs = W.Tab(
        [programs, panel.formula.widget, panel.verdict.widget],
        titles=["Programs", "Your formula", "Brush to verdict"],
    )
    below = W.HBox([panel.sizes.widget, numbers], layout=fixed)
    said = panel.texts["error"], panel.texts["code"]
    box = W.VBox([W.HBox(columns, layout=fixed), *said, panel.maps.widget, below, tabs, ArrowKeys()])
    box.add_class(PANEL)
    return box
