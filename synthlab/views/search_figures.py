"""The figures of the contests by name, from their tables alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from synthlab.errors import ConfigurationError, SynthlabError
from synthlab.study.search_claims import GUIDED
from synthlab.study.search_study import RESULTS, ROUNDS, SCALING, SETUPS
from synthlab.views import search_charts
from synthlab.views.export import save_chart, save_table
from synthlab.views.search_frames import (
    arena_rows,
    compared_tasks,
    contest_note,
    equal_budget_table,
    solved_by_part,
    solved_curves,
)
from synthlab.views.search_gain_frames import rounds_frame, search_scaling_lines, search_scaling_points

_Tables = Mapping[str, pd.DataFrame]
_ITERATED = ("forced", "id", "practice forced", "practice id")


def _beyond(tables: _Tables) -> tuple[pd.DataFrame, Any]:
    rows = arena_rows(tables[RESULTS], "larger")
    frame = solved_curves(rows, leader=GUIDED)
    note = f"{rows['leaves'].max()} leaves; {contest_note(rows, setup_inside=False)}"
    return frame, search_charts.decisive(frame, subtitle=note)


def _by_part(tables: _Tables) -> tuple[pd.DataFrame, Any]:
    rows = arena_rows(tables[RESULTS], "universe")
    frame = solved_by_part(rows)
    return frame, search_charts.by_part(
        frame, compared_tasks(rows), subtitle=contest_note(rows, 1.0, setup_inside=False)
    )


def _scaling(tables: _Tables) -> tuple[pd.DataFrame, Any]:
    rows = tables[SCALING]
    frame, lines = search_scaling_points(rows), search_scaling_lines(rows)
    return frame, search_charts.scaling_with_search(frame, lines, compared_tasks(rows), subtitle=contest_note(rows))


def _rounds(tables: _Tables) -> tuple[pd.DataFrame, Any]:
    rows = tables[ROUNDS]
    rows = rows[rows["part"].isin(_ITERATED)]
    frame = rounds_frame(rows)
    return frame, search_charts.rounds(frame, subtitle=contest_note(rows))


SEARCH_FIGURES: dict[str, Callable[[_Tables], tuple[pd.DataFrame, Any]]] = {
    "search-by-part": _by_part,
    "search-beyond": _beyond,
    "search-scaling": _scaling,
    "search-rounds": _rounds,
}
"""Every figure of the contests: from their tables to what is drawn, and the chart."""


def draw_contests(name: str, tables: _Tables) -> Any:
    """Draw one figure of the contests.

    Parameters
    ----------
    name
        Of `SEARCH_FIGURES`.
    tables
        From `Lab.contests`.

    Raises
    ------
    ConfigurationError
        For an unknown name, or if there are no contests.
    """
    if name not in SEARCH_FIGURES:
        raise ConfigurationError(f"unknown figure {name!r}: choose from {', '.join(SEARCH_FIGURES)}")
    return _drawn(name, tables)[1]


def _drawn(name: str, tables: _Tables) -> tuple[pd.DataFrame, Any]:
    if not tables:
        raise ConfigurationError("no contests were held: run `python -m synthlab contest`")
    return SEARCH_FIGURES[name](tables)


def export_contests(tables: _Tables, folder: Path | str) -> tuple[list[Path], dict[str, str]]:
    """Write every figure of the contests with the table behind it, and the table of equal budgets.

    Returns
    -------
    tuple
        The files, and by name of each figure that cannot be drawn the reason.
    """
    paths, reasons = [], dict[str, str]()
    if tables:
        paths += save_table(equal_budget_table(tables[RESULTS], tables[SETUPS]), folder, "search-budgets")
    with alt.theme.enable("synthlab"), alt.data_transformers.disable_max_rows():
        for name in SEARCH_FIGURES:
            try:
                frame, chart = _drawn(name, tables)
                paths += save_chart(chart, folder, name) + save_table(frame, folder, name)
            except SynthlabError as error:
                reasons[name] = str(error)
    return paths, reasons
