"""All figures of a study are drawn from its tables alone, with sizes beside, and land in files that open."""

import io
import json
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from synthlab.errors import ConfigurationError
from synthlab.study.tables import StudyTables
from synthlab.views import figures

pytestmark = pytest.mark.usefixtures("few_replicates")
ALONE = {"claims", "density-sizes", "support-sizes"}
"""Figures that compare no parts, or show nothing but sizes."""


@pytest.fixture(scope="module")
def specifications(small_study, few_replicates):
    """Every figure but the claims, as Vega-Lite."""
    names = [name for name in figures.FIGURES if name != "claims"]
    return {name: figures.draw(name, small_study, pd.DataFrame()).to_dict() for name in names}


def rows_of(spec):
    return [row for rows in spec["datasets"].values() for row in rows]


def fields_of(spec):
    """All names of columns that are encoded."""
    text = json.dumps({k: v for k, v in spec.items() if k != "datasets"})
    return {part.split('"')[0] for part in text.split('"field": "')[1:]}


def test_figures_follow_the_questions_of_a_study():
    names = list(figures.FIGURES)
    assert names[0] == "claims" and len(names) == len(set(names)) == 13
    assert {name.split("-")[0] for name in names} == {"claims", "density", "support", "scaling"}


def test_sizes_stand_beside_every_comparison(specifications):
    for name, spec in specifications.items():
        assert ("leaves" in fields_of(spec)) and (name in ALONE or {"value", "pass_at_1"} & fields_of(spec)), name


def test_titles_ask_and_subtitles_count(specifications):
    for name, spec in specifications.items():
        assert spec["title"]["text"].endswith("?"), name
        if name not in ALONE:
            assert "2 seeds" in spec["title"]["subtitle"], name
        assert sum("subtitle" in json.dumps(part.get("title", "")) for part in spec.get("hconcat", [])) <= 1


def test_a_figure_draws_the_values_of_its_table(small_study, specifications):
    for name in ("density-worst-case", "support-drops", "support-decomposition", "scaling-success"):
        figure = figures.FIGURES[name]
        frame = figure.frame(small_study.table(figure.group)).dropna(subset=["value"])
        drawn = {round(row["value"], 9) for row in rows_of(specifications[name]) if row.get("value") is not None}
        assert set(frame["value"].round(9)) <= drawn, name


def test_laws_of_the_scaling_figure_are_fitted_to_matched_parts(specifications):
    laws = {(row["part"], row["law"]) for row in rows_of(specifications["scaling-loss"]) if "law" in row}
    assert {part for part, _ in laws} == {"matched_id", "matched_forced"}
    assert "log-linear" in {law for _, law in laws}


def test_the_claims_need_no_trials(judged_claims):
    nothing = StudyTables(pd.DataFrame({"group": []}), {}, pd.DataFrame())
    spec = figures.draw("claims", nothing, judged_claims).to_dict()
    assert {row.get("name") for row in rows_of(spec)} == set(judged_claims["name"])


# ---------------------------------------------------------------- refusals


def test_an_unknown_figure_is_refused(small_study):
    with pytest.raises(ConfigurationError, match=r"^unknown figure 'nothing': choose from claims, density-matrix"):
        figures.draw("nothing", small_study, pd.DataFrame())


def without(tables, group):
    results = {name: rows for name, rows in tables.results.items() if name != group}
    return StudyTables(tables.trials[tables.trials["group"] != group], results, tables.failures)


@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_missing_group_is_named_in_one_line(name, small_study):
    group = figures.FIGURES[name].group
    with pytest.raises(ConfigurationError, match=rf"^figure {name}: no .*{group or 'claims'}[^\n]*study[^\n]*$"):
        figures.draw(name, without(small_study, group), pd.DataFrame())


# ---------------------------------------------------------------- files


@pytest.fixture(scope="module")
def exported(small_study, judged_claims, few_replicates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "new"
    paths, reasons = figures.export_all(without(small_study, "scaling"), judged_claims, folder)
    return folder, paths, reasons


def test_every_file_of_an_export_opens_and_is_not_empty(exported, judged_claims, small_study):
    folder, paths, reasons = exported
    assert sorted(paths) == sorted(folder.iterdir()) and set(reasons) == {"scaling-success", "scaling-loss"}
    drawn = set(figures.FIGURES) - set(reasons)
    stems = {path.stem: {p.suffix for p in paths if p.stem == path.stem} for path in paths}
    assert stems == {"trials": {".csv", ".tex"}} | {n: {".svg", ".png", ".json", ".csv", ".tex"} for n in drawn}
    for name in drawn:
        assert json.loads((folder / f"{name}.json").read_text())["$schema"].startswith("https://vega.github.io")
        assert len(list(ElementTree.parse(folder / f"{name}.svg").getroot().iter())) > 50
        with Image.open(folder / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("L"))
        assert min(pixels.shape) > 100 and 0.001 < (pixels < 200).mean() < 0.9
    for stem in stems:
        assert len(pd.read_csv(folder / f"{stem}.csv")) and r"\toprule" in (folder / f"{stem}.tex").read_text()
    assert pd.read_csv(folder / "claims.csv")["value"].tolist()[:3] == judged_claims["value"].tolist()[:3]
    assert set(pd.read_csv(folder / "trials.csv")["group"]) == {"density", "support"}


def test_an_export_says_why_a_figure_is_missing(exported):
    _, _, reasons = exported
    assert all("finished trials of the group scaling" in reason for reason in reasons.values())


def test_an_export_of_nothing_writes_nothing(tmp_path):
    nothing = StudyTables(pd.DataFrame({"group": []}), {}, pd.DataFrame())
    paths, reasons = figures.export_all(nothing, pd.DataFrame(), tmp_path)
    assert (paths, set(reasons)) == ([], set(figures.FIGURES))


def test_an_export_is_drawn_in_the_packages_theme_and_leaves_the_callers(judged_claims, tmp_path):
    nothing = StudyTables(pd.DataFrame({"group": []}), {}, pd.DataFrame())
    with alt.theme.enable("default"):
        figures.export_all(nothing, judged_claims, tmp_path)
        assert alt.theme.active == "default"
    assert "Helvetica" in (tmp_path / "claims.svg").read_text()


def test_compiling_once_paints_what_altair_paints(judged_claims, tmp_path):
    nothing = StudyTables(pd.DataFrame({"group": []}), {}, pd.DataFrame())
    figures.export_all(nothing, judged_claims, tmp_path)
    buffer = io.BytesIO()
    with alt.theme.enable("synthlab"):
        figures.draw("claims", nothing, judged_claims).save(buffer, format="png", ppi=144)
    with Image.open(tmp_path / "claims.png") as one, Image.open(buffer) as two:
        assert (np.asarray(one) == np.asarray(two.convert("RGB"))).all()
