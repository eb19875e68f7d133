"""All figures of a study by name, from its tables alone; and all of them, with their tables, as files in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from synthlab.errors import ConfigurationError, SynthlabError
from synthlab.study.designs import DENSITY, SCALING, SUPPORT
from synthlab.study.laws import LOSS, SUCCESS
from synthlab.study.samples import MATCHED, RAW
from synthlab.study.scaling import fitted_curves, refit_laws
from synthlab.study.tables import StudyTables
from synthlab.views import charts, study_charts, study_frames, study_scaling_charts, support_frames
from synthlab.views.export import save_chart, save_table

_Rows = pd.DataFrame


@dataclass(frozen=True)
class Figure:
    """A figure as a function of the tables of a study and of its claims.

    Attributes
    ----------
    group
        Group of trials that it draws; empty for the claims.
    frame
        From the rows of that group to the table that is drawn.
    chart
        From that table and the rows to the chart.
    """

    group: str
    frame: Callable[[_Rows], pd.DataFrame]
    chart: Callable[[pd.DataFrame, _Rows], Any]

    def rows(self, tables: StudyTables, claims: pd.DataFrame) -> _Rows:
        """Rows of the group, or the claims.

        Raises
        ------
        ConfigurationError
            If there are none.
        """
        rows = tables.table(self.group) if self.group else claims
        if rows.empty:
            what = f"finished trials of the group {self.group}" if self.group else "claims"
            raise ConfigurationError(f"no {what} to draw: run that part of the study first")
        return rows

    def __call__(self, tables: StudyTables, claims: pd.DataFrame) -> Any:
        """The chart."""
        rows = self.rows(tables, claims)
        return self.chart(self.frame(rows), rows)


# ---------------------------------------------------------------- notes, and sizes beside a comparison


def _with_sizes(chart: Any, rows: _Rows, *, below: bool = False) -> Any:
    """A chart with the sizes of the tasks that it compares beside it, or below."""
    title, chart.title = chart.title, alt.Undefined
    sizes = study_charts.size_histograms(rows, columns=5 if below else 1)
    join = alt.vconcat if below else alt.hconcat
    return join(chart, sizes, spacing=36, title=title, resolve=_APART)


_APART = alt.Resolve(
    scale=alt.ScaleResolveMap(color="independent", shape="independent", strokeDash="independent"),
    legend=alt.LegendResolveMap(color="independent", shape="independent", strokeDash="independent"),
)


def _of_parts(rows: _Rows, parts: Sequence[str]) -> _Rows:
    """Rows of the base trials of the main grammar that a figure compares."""
    return study_frames.by_part(support_frames.base_rows(rows, parts))


def _support(
    draw: Callable[..., Any], parts: Sequence[str], note: str, *, below: bool = False
) -> Callable[[pd.DataFrame, _Rows], Any]:
    """Chart of a support table with the sizes of some parts (all by default)."""

    def chart(frame: pd.DataFrame, rows: _Rows) -> Any:
        compared = _of_parts(rows, parts)
        subtitle = f"{note}; {study_frames.evidence_note(compared)}"
        return _with_sizes(draw(frame, subtitle=subtitle), compared, below=below)

    return chart


def _density(
    draw: Callable[..., Any], note: Callable[[_Rows], str] = study_frames.evidence_note
) -> Callable[[pd.DataFrame, _Rows], Any]:
    """Chart of a density table with the sizes of the test regimes."""

    def chart(frame: pd.DataFrame, rows: _Rows) -> Any:
        tested = study_frames.by_regime(rows)
        return _with_sizes(draw(frame, subtitle=note(tested)), tested)

    return chart


def _scaling(metric: str, title: str, y_title: str) -> Figure:
    """Runs and refitted laws of one metric, of matched tests."""

    def frame(rows: _Rows) -> pd.DataFrame:
        chosen = study_frames.scaling_rows(rows)
        return study_frames.scaling_points(chosen[chosen["part"].isin(MATCHED)], metric)

    def chart(points: pd.DataFrame, rows: _Rows) -> Any:
        chosen = study_frames.scaling_rows(rows)
        chosen = study_frames.by_part(chosen[chosen["part"].isin(MATCHED)])
        laws = fitted_curves(refit_laws(chosen, list(MATCHED), metrics=(metric,)))
        note = study_frames.evidence_note(chosen.drop(columns="region"))
        drawn = study_scaling_charts.scaling_figure(points, laws, title, note, y_title=y_title)
        return _with_sizes(drawn, chosen)

    return Figure(SCALING, frame, chart)


def _sizes(group: str, ordered: Callable[[_Rows], _Rows], title: str) -> Figure:
    """Sizes of the tests of a group of trials."""
    return Figure(
        group, lambda rows: study_frames.size_shares(ordered(rows)),
        lambda _, rows: study_charts.size_histograms(ordered(rows), title, columns=5),
    )  # fmt: skip


FIGURES: dict[str, Figure] = {
    "claims": Figure("", lambda claims: claims, lambda claims, _: study_charts.claims_board(claims)),
    "density-matrix": Figure(
        DENSITY, study_frames.density_summary,
        _density(charts.density_matrix, lambda rows: f"framed: best of its column; {study_frames.counts_note(rows)}"),
    ),
    "density-worst-case": Figure(
        DENSITY, study_frames.worst_cases,
        _density(
            study_charts.worst_case_dots,
            lambda rows: f"names: the worst test; {study_frames.evidence_note(rows)}; those of a minimum lean low",
        ),
    ),
    "density-data-size": Figure(
        DENSITY, study_frames.data_sizes, _density(study_scaling_charts.data_size_curve)
    ),
    "support-parts": Figure(
        SUPPORT, support_frames.support_summary, _support(charts.support_bars, (), "numbers: tasks", below=True)
    ),
    "support-drops": Figure(
        SUPPORT, support_frames.region_drops, _support(study_charts.effect_forest, MATCHED, "matched forced against ID")
    ),
    "support-decomposition": Figure(
        SUPPORT, support_frames.decomposition_frame,
        _support(study_charts.decomposition_bars, RAW, "shares below add up to the total"),
    ),
    "support-predictors": Figure(
        SUPPORT, support_frames.predictor_frame, _support(study_charts.predictor_dots, RAW, ".5 is guessing")
    ),
    "support-samples": Figure(
        SUPPORT, support_frames.sampled_curve,
        _support(study_scaling_charts.pass_at_k_lines, MATCHED, "samples at temperature 1", below=True),
    ),
    "scaling-success": _scaling(SUCCESS, "Which law predicts the success of the largest runs?", "pass@1"),
    "scaling-loss": _scaling(LOSS, "Which law predicts the loss of the largest runs?", "test loss, nats per program"),
    "density-sizes": _sizes(DENSITY, study_frames.by_regime, "Do the test regimes differ in size?"),
    "support-sizes": _sizes(SUPPORT, study_frames.by_part, "Do the parts differ in size?"),
}  # fmt: skip
"""Every figure of a study, in the order of its questions."""


def draw(name: str, tables: StudyTables, claims: pd.DataFrame) -> Any:
    """Draw one figure.

    Parameters
    ----------
    name
        Of `FIGURES`.
    tables, claims
        Of a study, and from `study.verdicts.claims_table`.

    Raises
    ------
    ConfigurationError
        For an unknown name, or if what it draws is missing from the tables.
    """
    if name not in FIGURES:
        raise ConfigurationError(f"unknown figure {name!r}: choose from {', '.join(FIGURES)}")
    try:
        return FIGURES[name](tables, claims)
    except SynthlabError as error:
        raise ConfigurationError(f"figure {name}: {error}") from error


class _Compiled:
    """A chart that is compiled once for all files that `save_chart` writes of it, which halves the time."""

    def __init__(self, chart: Any) -> None:
        import vl_convert

        self._specification = str(chart.to_json(validate=False))  # every part was checked when it was made
        self._svg = str(vl_convert.vegalite_to_svg(self._specification))

    def to_json(self) -> str:
        """The chart as Vega-Lite."""
        return self._specification

    def save(self, buffer: Any, format: str, **options: Any) -> None:
        """Write the chart as ``svg`` or ``png``, as Altair's charts do."""
        import vl_convert

        buffer.write(vl_convert.svg_to_png(self._svg, **options) if format == "png" else self._svg)


def export_all(tables: StudyTables, claims: pd.DataFrame, folder: Path | str) -> tuple[list[Path], dict[str, str]]:
    """Write every figure (SVG, PNG, Vega-Lite) with the table behind it, and the tables of trials (CSV, LaTeX).

    Parameters
    ----------
    tables, claims
        As for `draw`.
    folder
        Where to write; files of an earlier export are replaced.

    Returns
    -------
    tuple
        The files, and by name of each figure that cannot be drawn the reason.
    """
    paths, reasons = [], dict[str, str]()
    if len(tables.trials):
        paths += save_table(tables.trials, folder, "trials")
    with alt.theme.enable("synthlab"), alt.data_transformers.disable_max_rows():
        for name, figure in FIGURES.items():
            try:
                rows = figure.rows(tables, claims)
                frame = figure.frame(rows)
                paths += save_chart(_Compiled(figure.chart(frame, rows)), folder, name)
                paths += save_table(frame, folder, name)
            except SynthlabError as error:
                reasons[name] = str(error)
    return paths, reasons
