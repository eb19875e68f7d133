"""Nearest training programs and texts in the support, against brute force over all pairs."""

import numpy as np
import pytest

from synthlab.errors import SplitError
from synthlab.splits.density import density_settings, density_split
from synthlab.splits.proximity import nearest_neighbor_baseline, nearest_training, support_proof
from synthlab.splits.regions import Region
from synthlab.splits.support import support_settings, support_split


@pytest.fixture(scope="module")
def split(corpus4, spaces4):
    settings = support_settings(Region(rule="root", root="*"), num_train=2000, num_test=60, reserved=0.25)
    return support_split(corpus4, spaces4, settings)


def distances_to_training(corpus, space, kind, split, function):
    rows = split.targets if kind == "syntactic" else corpus.class_index[split.targets]
    row = function if kind == "syntactic" else corpus.class_index[function]
    return np.linalg.norm(space.coordinates[rows].astype(float) - space.coordinates[row].astype(float), axis=1)


@pytest.mark.parametrize("part", ["forced", "id"])
def test_the_nearest_training_program_is_the_nearest(corpus4, spaces4, split, part):
    table = nearest_training(corpus4, spaces4, split, part)
    assert table["class_id"].tolist() == sorted(split.tests[part].tolist())
    for kind, space in spaces4.items():
        for _, row in table.iterrows():
            distances = distances_to_training(corpus4, space, kind, split, row["class_id"])
            assert row[f"{kind}_distance"] == pytest.approx(distances.min(), abs=2e-3)
            nearest = np.flatnonzero(split.targets == row[f"{kind}_nearest_id"])
            assert len(nearest) and distances[nearest[0]] == pytest.approx(distances.min(), abs=2e-3)
            assert row[f"{kind}_nearest"] == corpus4.program(row[f"{kind}_nearest_id"]).infix_text()


def test_equivalents_are_the_nearest_other_texts_in_the_support(corpus4, spaces4, split):
    held_out = split.held_out(corpus4.num_programs)
    places = spaces4["syntactic"].coordinates.astype(float)
    for part in ("forced", "open"):
        for _, row in nearest_training(corpus4, spaces4, split, part).iterrows():
            function = row["class_id"]
            texts = np.flatnonzero((corpus4.class_id[corpus4.class_index] == function) & ~held_out)
            texts = texts[texts != function]
            if part == "forced":
                assert len(texts) == 0 and row["equivalent_id"] == -1 and row["equivalent"] == ""
                continue
            distances = np.linalg.norm(places[texts] - places[function], axis=1)
            assert row["equivalent_distance"] == pytest.approx(distances.min(), abs=1e-5)
            assert row["equivalent_id"] in texts[distances < distances.min() + 1e-5]


def test_the_support_proof_holds_for_every_test_class(corpus4, spaces4, split):
    table = support_proof(corpus4, spaces4, split, radius=0.5).set_index(["space", "part"])
    for (kind, part), row in table.iterrows():
        nearest = [distances_to_training(corpus4, spaces4[kind], kind, split, f).min() for f in split.tests[part]]
        assert row["nearest"] == pytest.approx(min(nearest), abs=2e-3)
        assert row["median"] == pytest.approx(np.median(nearest), abs=2e-3)
        assert row["within"] == pytest.approx(np.mean(np.array(nearest) <= 0.5), abs=0.02)
        assert row["tasks"] == len(nearest)
    assert set(table.index.get_level_values("part")) == set(split.tests)


def test_a_region_cut_in_a_space_keeps_its_tests_at_a_distance(corpus4, spaces4):
    settings = support_settings(Region(rule="ball", centre="x * y", share=0.3), num_train=5000, reserved=0.25)
    split = support_split(corpus4, spaces4, settings)
    table = support_proof(corpus4, spaces4, split).set_index(["space", "part"])
    assert table.loc[("syntactic", "forced"), "median"] > table.loc[("syntactic", "id"), "median"]


def test_the_nearest_program_never_solves_a_clean_split(corpus4, spaces4, split):
    table = nearest_neighbor_baseline(corpus4, spaces4, split)
    assert (table["solved"] == 0).all() and (table["distance"] > 0).all()
    assert table["same_outputs"].between(0, 0.99).all()


def test_the_nearest_program_solves_what_leaks(corpus4, spaces4, split):
    from dataclasses import replace

    planted = split.tests["id"][:30]
    leaky = replace(split, train=np.append(split.train, planted), targets=np.append(split.targets, planted))
    table = nearest_neighbor_baseline(corpus4, spaces4, leaky).set_index("part")
    assert table.loc["id", "solved"] == pytest.approx(30 / len(np.unique(split.tests["id"])))


def test_density_splits_have_nearest_programs_but_no_region(corpus4, spaces4):
    settings = density_settings(regime="random", num_train=1000, num_test=40, num_cells=10)
    table = nearest_training(corpus4, spaces4, density_split(corpus4, spaces4, settings), "dual")
    assert "equivalent" not in table and table["semantic_distance"].min() > 0


def test_an_unknown_part_is_refused(corpus4, spaces4, split):
    with pytest.raises(SplitError, match="no test classes 'far': choose from id, forced"):
        nearest_training(corpus4, spaces4, split, "far")
