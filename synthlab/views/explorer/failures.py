"""A paged list of tasks and what was answered to them: filtered, sorted, one to be chosen."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as W
import numpy as np
import pandas as pd

from synthlab.views import theme
from synthlab.views.explorer.live import INK, MUTED, guarded

PAGE = 12
"""Rows of a page."""

FAILURES, EVERYTHING, ALL_SIZES = "all failures", "all answers", "all sizes"
_DISTANCE = "_distance"
_TEXT = 30
_LABELS = {"description_width": "70px"}
_FONT = "font: 12px var(--jp-code-font-family, monospace)"
_STYLE = f"""<style>
.synthlab-failures select {{{_FONT}; overflow-x: auto}}
.synthlab-failures .widget-html-content {{color: {INK}}}
</style>"""


class FailureList:
    """Rows of an answer table in a list box, which the mouse and the arrow keys choose from.

    Parameters
    ----------
    table
        From `study.answers.answer_table`; decides what can be filtered and sorted by.
    texts
        From some of its rows to a table of target and written, with their index; asked for one page at a time.
    on_choose
        Called with the index of the row that was chosen.
    fail
        Called with an error of the list's own, and with no text before anything is done.

    Attributes
    ----------
    rows
        All rows that pass the filters, in the order of the list.
    widget
        What is shown.
    """

    def __init__(
        self, table: pd.DataFrame, texts: Callable[[pd.DataFrame], pd.DataFrame], on_choose: Callable[[int], None],
        fail: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.table, self.rows, self.texts, self.on_choose, self.fail = table, table, texts, on_choose, fail
        self.page, self._filling = 0, False
        self.controls = _controls(table)
        self.list = W.Select(rows=PAGE, layout=W.Layout(width="860px"))
        self.where, self.head = W.HTML(), W.HTML()
        self._connect()
        top = W.HBox([self.controls[name] for name in ("status", "size", "sort", "descending")])
        pages = W.HBox([self.controls["back"], self.controls["on"], self.where])
        self.widget = W.VBox([W.HTML(_STYLE), top, self.head, self.list, pages], layout=W.Layout(flex="0 0 auto"))
        self.widget.add_class("synthlab-failures")
        self.show(table)

    def show(self, table: pd.DataFrame) -> None:
        """List the rows of another table of the same columns, from its first page on."""
        self.table = table
        self._refresh()

    def _connect(self) -> None:
        for name in ("status", "size", "sort", "descending"):
            self.controls[name].observe(self._on_change, "value")
        self.controls["back"].on_click(lambda _: self._on_turn(-1))
        self.controls["on"].on_click(lambda _: self._on_turn(1))
        self.list.observe(self._choose, "value")

    @guarded
    def _on_change(self, _change: Any) -> None:
        self._refresh()

    @guarded
    def _on_turn(self, by: int) -> None:
        self._turn(by)

    def _refresh(self) -> None:
        """Filter and sort, and show the first page."""
        status, size, sort = (self.controls[name].value for name in ("status", "size", "sort"))
        kept = np.ones(len(self.table), dtype=bool)
        if status == FAILURES:
            kept &= ~self.table["solved"].to_numpy()
        elif status != EVERYTHING:
            kept &= (self.table["status"] == status).to_numpy()
        if size != ALL_SIZES:
            kept &= (self.table["size"] == size).to_numpy()
        ascending = not self.controls["descending"].value
        self.rows = self.table[kept].sort_values(sort, ascending=ascending, kind="stable")
        self.page = 0
        self._fill()

    def _turn(self, by: int) -> None:
        self.page = min(max(0, self.page + by), max(0, self.num_pages - 1))
        self._fill()

    @property
    def num_pages(self) -> int:
        """Pages that the rows take."""
        return -(-len(self.rows) // PAGE)

    def _fill(self) -> None:
        """Write one page, without choosing a row of it."""
        start = self.page * PAGE
        shown = self.rows.iloc[start : start + PAGE]
        columns = _columns(shown, start, self.texts(shown) if len(shown) else None)
        widths = {name: max([len(name), *map(len, values)]) for name, values in columns.items()}
        # a list box folds common spaces
        lines = [_line(v, widths.values()).replace(" ", "\u00a0") for v in zip(*columns.values(), strict=True)]
        self._filling = True
        try:
            self.list.options = list(zip(lines, shown.index.tolist(), strict=True))
            self.list.index = None
        finally:
            self._filling = False
        # a style of its own, since a theme's rules for such texts come later than the panel's
        style = f"{_FONT}; color: {MUTED}; margin: 4px 0 0; padding: 0 5px"
        self.head.value = f'<pre style="{style}">{html.escape(_line(columns, widths.values()))}</pre>'
        self.where.value = f"page {self.page + 1} of {max(1, self.num_pages)}, {len(self.rows):,} tasks"
        self.controls["back"].disabled, self.controls["on"].disabled = self.page == 0, self.page + 1 >= self.num_pages

    def _choose(self, change: Any) -> None:
        if not self._filling and change["new"] is not None:
            self.on_choose(int(change["new"]))


def _controls(table: pd.DataFrame) -> dict[str, Any]:
    found = set(table["status"])
    statuses = [FAILURES, EVERYTHING, *(status for status in theme.STATUSES if status in found)]
    sizes = [ALL_SIZES, *sorted(int(size) for size in table["size"].unique())]
    distances = [(name.replace("_", " "), name) for name in map(str, table) if name.endswith(_DISTANCE)]
    sorts = [("size", "size"), ("log-probability", "log_probability"), *distances]
    narrow = W.Layout(width="220px")
    return {
        "status": W.Dropdown(description="status", options=statuses, style=_LABELS, layout=narrow),
        "size": W.Dropdown(description="size", options=sizes, style=_LABELS, layout=narrow),
        "sort": W.Dropdown(description="sorted by", options=sorts, style=_LABELS, layout=W.Layout(width="260px")),
        "descending": W.Checkbox(description="largest first", value=False, indent=False),
        "back": W.Button(description="Previous page", icon="arrow-left"),
        "on": W.Button(description="Next page", icon="arrow-right"),
    }


def _columns(shown: pd.DataFrame, start: int, texts: pd.DataFrame | None) -> dict[str, list[str]]:
    """Columns of a page as texts."""
    columns = {
        "#": [f"{start + k + 1:,}" for k in range(len(shown))],
        "status": shown["status"].tolist(),
        "size": [f"{size}" for size in shown["size"]],
        "log p": [f"{value:.2f}" for value in shown["log_probability"]],
    }
    for name in (column for column in map(str, shown) if column.endswith(_DISTANCE)):
        columns[f"{name.removesuffix(_DISTANCE)} dist."] = [f"{value:.3f}" for value in shown[name]]
    for name in ("target", "written"):
        columns[name] = [] if texts is None else [_short(text) for text in texts[name]]
    return columns


def _short(text: str) -> str:
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"


def _line(values: Any, widths: Any) -> str:
    """Values side by side."""
    return "  ".join(value.ljust(width) for value, width in zip(values, widths, strict=True))
