"""Figures of the contests from their tables alone, and as files."""

import pandas as pd
import pytest
from views.contest_tables import contest_tables, rounds_table, scaling_table

from synthlab.errors import ConfigurationError
from synthlab.views.search_figures import SEARCH_FIGURES, draw_contests, export_contests

pytestmark = pytest.mark.usefixtures("few_replicates")


@pytest.fixture(scope="module")
def tables():
    results, setups = contest_tables(seeds=2, num=(12, 9))
    return {
        "search-results": results, "search-setups": setups, "search-scaling": scaling_table(seeds=2, num=20),
        "search-rounds": rounds_table(seeds=2, num=20), "search-round-costs": pd.DataFrame(),
    }  # fmt: skip


@pytest.mark.parametrize("name", SEARCH_FIGURES)
def test_every_figure_asks_and_counts(tables, name):
    spec = draw_contests(name, tables).to_dict()
    assert spec["title"]["text"].endswith("?") and "2 seeds" in str(spec["title"]["subtitle"])


def test_unknown_figures_and_missing_contests_are_named(tables):
    with pytest.raises(ConfigurationError, match="choose from search-by-part"):
        draw_contests("nothing", tables)
    with pytest.raises(ConfigurationError, match="python -m synthlab contest"):
        draw_contests("search-beyond", {})


def test_all_land_in_files_with_their_tables(tables, tmp_path):
    paths, reasons = export_contests(tables, tmp_path)
    assert not reasons and all(path.exists() for path in paths)
    names = {path.name for path in paths}
    for name in SEARCH_FIGURES:
        assert {f"{name}.svg", f"{name}.png", f"{name}.csv"} <= names
    budgets = pd.read_csv(tmp_path / "search-budgets.csv")
    assert set(budgets["arena"]) == {"universe", "larger"} and budgets["tasks"].min() > 0


def test_without_contests_nothing_is_written_and_the_mend_is_named(tmp_path):
    paths, reasons = export_contests({}, tmp_path)
    assert paths == [] and set(reasons) == set(SEARCH_FIGURES)
    assert all("python -m synthlab contest" in reason for reason in reasons.values())
