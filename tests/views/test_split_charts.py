"""Figures about splits: every point has its role, every part its panel, and empty tables are refused."""

import numpy as np
import pandas as pd
import pytest

from synthlab.errors import ConfigurationError
from synthlab.splits.matching import histograms
from synthlab.splits.mcd import mcd_settings, mcd_split
from synthlab.views import split_charts


@pytest.fixture(scope="module")
def maps(corpus3):
    def drawn(ids):
        generator = np.random.default_rng(0)
        places = {"map_x": generator.normal(size=len(ids)), "map_y": generator.normal(size=len(ids))}
        return corpus3.frame(ids).assign(**places)

    return {"syntactic": drawn(np.arange(0, corpus3.num_programs, 7)), "semantic": drawn(corpus3.class_id)}


def test_points_of_the_gallery_have_the_roles_of_their_program_or_function(corpus3, split3, maps):
    table = split_charts.gallery_frame(corpus3, {"products": split3}, maps)
    assert set(table["split"]) == {"products"} and set(table["space"]) == {"syntactic", "semantic"}
    functions = {corpus3.program(int(c)).infix_text() for c in split3.tests["forced"]}
    taught = {corpus3.program(int(p)).infix_text() for p in split3.train}
    syntactic = table[table["space"] == "syntactic"].set_index("program")["role"]
    assert {text for text, role in syntactic.items() if role == "train"} == taught & set(syntactic.index)
    semantic = table[table["space"] == "semantic"].set_index("program")["role"]
    assert {text for text, role in semantic.items() if role == "test"} == functions & set(semantic.index)
    assert {"train", "test", "neither"} == set(semantic)
    trained = {int(c) for c in corpus3.class_id[corpus3.class_index[split3.train]]}
    expected = {corpus3.program(c).infix_text() for c in trained}
    assert {text for text, role in semantic.items() if role == "train"} == expected & set(semantic.index)


def test_splits_without_forced_tests_show_all_tests(corpus3, maps):
    split = mcd_split(corpus3, mcd_settings(num_programs=1000, num_starts=1, num_sweeps=20))
    table = split_charts.gallery_frame(corpus3, {"mcd": split}, maps)
    tested = {corpus3.program(int(c)).infix_text() for c in split.tests["compound"]}
    semantic = table[(table["space"] == "semantic") & (table["role"] == "test")]["program"]
    assert set(semantic) <= tested and len(semantic)


def test_a_gallery_has_a_panel_per_split_and_space(corpus3, split3, maps):
    frame = split_charts.gallery_frame(corpus3, {"one": split3, "two": split3}, maps)
    spec = split_charts.gallery(frame, "title").to_dict()
    pairs = spec["concat"]
    assert [pair["title"]["text"] for pair in pairs] == ["one", "two"]
    assert [panel["title"]["text"] for panel in pairs[0]["hconcat"]] == ["syntactic", "semantic"]
    axes = [panel["encoding"][axis]["axis"] for panel in pairs[0]["hconcat"] for axis in "xy"]
    assert not any(axis["labels"] for axis in axes)  # UMAP has no units


def test_every_quantity_has_a_row_and_every_part_a_column(corpus3, split3):
    table = histograms(corpus3, split3)
    rows = split_charts.quantity_bars(table).to_dict()["vconcat"]
    assert [row["encoding"]["y"]["title"] for row in rows] == ["size", "degree", "texts", "root", "operator", "label"]
    assert set(rows[0]["encoding"]["column"]["sort"]) == set(table["part"])
    assert rows[1]["encoding"]["x"]["sort"] == sorted(rows[1]["encoding"]["x"]["sort"], key=int)


def test_measures_have_panels_in_their_order():
    table = pd.DataFrame(
        {"space": ["syntactic", "syntactic", "text"], "part": ["id", "forced", "id"],
         "measure": ["energy", "energy", "atom_divergence"], "value": [0.1, np.nan, 0.3]}
    )  # fmt: skip
    spec = split_charts.shift_dots(table).to_dict()
    assert spec["facet"]["sort"] == ["syntactic: energy", "text: atom divergence"]
    (drawn,) = spec["datasets"].values()
    assert [row["value"] for row in drawn] == [0.1, 0.3]


@pytest.mark.parametrize("figure", ["gallery", "quantity_bars", "shift_dots"])
def test_tables_without_rows_are_refused(figure):
    with pytest.raises(ConfigurationError, match=f"{figure}: there are no rows"):
        getattr(split_charts, figure)(pd.DataFrame())
