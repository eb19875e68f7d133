"""Reports on splits, against samples put together by hand and splits whose shift is known."""

import dataclasses

import numpy as np
import pytest

from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.spaces.compounds import divergences
from synthlab.splits.distances import energy_distance, mmd, sliced_wasserstein
from synthlab.splits.neighbors import density_coverage, knn_ratios
from synthlab.splits.separability import classifier_auc
from synthlab.splits.shift import FAST_MEASURES, MEASURES, TEXT, fast_shift, shift_report

COLUMNS = ["space", "part", "measure", "value", "p_value", "num_train", "num_test"]
SPATIAL = MEASURES[:-2]


def report(*arguments, **options):
    return shift_report(*arguments, **({"progress": False, "permutations": 19} | options))


@pytest.fixture(scope="module")
def places4(corpus4, spaces4, split4):
    """Vectors of training and of every part, and the classes of the items, one by one."""
    class_of = dict(zip(corpus4.class_id.tolist(), range(corpus4.num_classes), strict=True))
    items = {"train": [(p, int(corpus4.class_index[p])) for p in split4.train.tolist()]}
    items |= {part: [(c, class_of[c]) for c in ids.tolist()] for part, ids in split4.tests.items()}
    return {
        (kind, part): (np.array([spaces4[kind].coordinates[pair[kind == "semantic"]] for pair in pairs]),
                       np.array([number for _, number in pairs]))
        for kind in spaces4 for part, pairs in items.items() if pairs
    }  # fmt: skip


@pytest.fixture(scope="module")
def report4(split4, corpus4, spaces4):
    return report(split4, corpus4, spaces4, sample=1000)


def test_every_space_part_and_measure_has_one_row(report4, split4, spaces4):
    parts = [part for part, ids in split4.tests.items() if len(ids)]
    expected = [(kind, part, measure) for kind in spaces4 for part in parts for measure in SPATIAL]
    expected += [(TEXT, part, measure) for part in parts for measure in MEASURES[-2:]]
    assert list(report4.columns) == COLUMNS
    assert list(report4[COLUMNS[:3]].itertuples(index=False, name=None)) == expected
    assert set(report4.loc[report4["p_value"].notna(), "measure"]) == {"energy", "mmd"}
    assert report4["value"].notna().all()


@pytest.mark.parametrize("kind", ["syntactic", "semantic"])
@pytest.mark.parametrize("part", ["id", "forced"])
def test_values_are_those_of_the_measures_on_items_put_together_by_hand(split4, corpus4, spaces4, places4, kind, part):
    few = dataclasses.replace(split4, train=split4.train[:700], tests={part: split4.tests[part]})
    table = report(few, corpus4, {kind: spaces4[kind]}, sample=10**9, seed=3)
    values = table.set_index("measure")["value"]
    (train, train_classes), (test, test_classes) = places4[kind, "train"], places4[kind, part]
    train, train_classes = train[:700], train_classes[:700]
    covered = density_coverage(train, test, equal_numbers=True, seed=3)
    expected = {
        "energy": energy_distance(train, test, permutations=0).value,
        "mmd": mmd(train, test, permutations=0, seed=3).value,
        "sliced_wasserstein": sliced_wasserstein(train, test, seed=3),
        "classifier_auc": classifier_auc(train, test, train_classes, test_classes, seed=3).value,
        "knn_ratio_1": knn_ratios(train, test).median[0],
        "knn_ratio_5": knn_ratios(train, test).median[1],
        "density": covered.density,
        "coverage": covered.coverage,
    }
    assert values[list(SPATIAL)].to_dict() == pytest.approx(expected, rel=1e-4)
    used = table.set_index("measure")[["num_train", "num_test"]].T
    assert tuple(used["energy"]) == (700, len(test))
    assert tuple(used["coverage"]) == (covered.num_first, covered.num_second)
    assert covered.num_first == covered.num_second


def test_divergences_are_of_training_texts_and_minimal_texts(split4, corpus4):
    few = dataclasses.replace(split4, train=split4.train[:500])
    table = report(few, corpus4, {}, sample=10**9)
    for part, ids in split4.tests.items():
        found = divergences(corpus4.grammar, corpus4.prefix[split4.train[:500]], corpus4.prefix[ids])
        values = table[table["part"] == part].set_index("measure")["value"]
        assert values.to_dict() == pytest.approx({"atom_divergence": found.atom, "compound_divergence": found.compound})


def test_a_held_out_root_is_farther_than_the_control(report4):
    values = report4[report4["space"] == "syntactic"].pivot_table(index="measure", columns="part", values="value")
    for measure in ("energy", "mmd", "sliced_wasserstein", "classifier_auc", "knn_ratio_1"):
        assert values.loc[measure, "forced"] > values.loc[measure, "id"]
    for measure in ("density", "coverage"):
        assert values.loc[measure, "forced"] < values.loc[measure, "id"]


def test_training_texts_tested_against_themselves_show_no_shift(split4, corpus4, spaces4):
    least = split4.train[np.isin(split4.train, corpus4.class_id)]
    shuffled = np.random.default_rng(0).permutation(least)
    halves = dataclasses.replace(split4, train=shuffled[::2], tests={"half": shuffled[1::2]})
    table = report(halves, corpus4, spaces4, permutations=99).set_index(["space", "measure"])
    for kind in spaces4:
        assert (table.loc[kind, "p_value"].dropna() > 0.01).all()
        assert table.loc[(kind, "classifier_auc"), "value"] < 0.6
        assert table.loc[(kind, "coverage"), "value"] > 0.9


def test_a_class_counts_as_often_as_it_is_trained_on(split4, corpus4, spaces4):
    of_one_class = split4.train[corpus4.class_index[split4.train] == corpus4.class_index[split4.train[0]]]
    assert len(of_one_class) > 1
    semantic = {"semantic": spaces4["semantic"]}
    few = np.unique(np.append(split4.train[:50], of_one_class[0]))
    once, often = (
        dataclasses.replace(split4, train=np.append(few, more)) for more in ([], np.repeat(of_one_class, 40))
    )
    once = dataclasses.replace(once, train=once.train.astype(np.int64))
    values = [report(s, corpus4, semantic, measures=["energy", "knn_ratio_1"]).set_index(["part", "measure"])["value"]
              for s in (once, often)]  # fmt: skip
    assert abs(values[1]["forced", "energy"] - values[0]["forced", "energy"]) > 0.1
    assert values[1]["forced", "knn_ratio_1"] == pytest.approx(values[0]["forced", "knn_ratio_1"], rel=1e-4)


def test_samples_are_drawn_by_seed_and_no_larger_than_asked(split4, corpus4, spaces4):
    tables = [report(split4, corpus4, spaces4, sample=40, measures=["energy"], seed=seed) for seed in (1, 1, 2)]
    assert tables[0].equals(tables[1]) and not tables[0]["value"].equals(tables[2]["value"])
    assert (tables[0]["num_train"] == 40).all()
    assert (tables[0]["num_test"] == [min(40, len(ids)) for ids in split4.tests.values() if len(ids)] * 2).all()


def test_measures_can_be_chosen_and_spaces_named(split4, corpus4, spaces4):
    table = report(split4, corpus4, {"shape": spaces4["syntactic"]}, sample=100, measures=["coverage", "knn_ratio_5"])
    assert set(table["space"]) == {"shape"}
    assert list(table["measure"].unique()) == ["knn_ratio_5", "coverage"]
    texts = report(split4, corpus4, spaces4, measures=["compound_divergence"])
    assert set(texts["space"]) == {TEXT} and len(texts) == sum(len(ids) > 0 for ids in split4.tests.values())
    unlisted = report(split4, corpus4, spaces4, sample=100, measures=["energy"], permutations=0)
    assert unlisted["p_value"].isna().all()


def test_parts_with_too_few_items_have_no_values_and_empty_ones_no_rows(split4, corpus4, spaces4):
    tests = {"one": split4.tests["id"][:1], "none": split4.tests["id"][:0]}
    table = report(dataclasses.replace(split4, tests=tests), corpus4, spaces4, sample=200)
    assert set(table["part"]) == {"one"}
    known = set(table.loc[table["value"].notna(), "measure"])
    assert known == {"sliced_wasserstein", "knn_ratio_1", "knn_ratio_5", *MEASURES[-2:]}
    assert (table["num_test"] == 1).all()


def test_live_readings_are_some_of_the_report(split4, corpus4, spaces4):
    live = fast_shift(split4, corpus4, spaces4, sample=150, seed=5)
    whole = report(split4, corpus4, spaces4, sample=150, seed=5, measures=FAST_MEASURES)
    assert list(live.columns) == COLUMNS
    assert live[COLUMNS[:3]].equals(whole[COLUMNS[:3]])
    assert live["p_value"].isna().all()
    same = live["measure"] != "sliced_wasserstein"  # of fewer directions
    assert live.loc[same, "value"].to_numpy() == pytest.approx(whole.loc[same, "value"].to_numpy())
    assert live.loc[~same, "value"].to_numpy() == pytest.approx(whole.loc[~same, "value"].to_numpy(), rel=0.3)


def test_progress_is_shown_where_asked(split4, corpus4, spaces4, capsys):
    report(split4, corpus4, spaces4, sample=30, measures=["energy"], progress=True)
    assert "shift: 100%" in capsys.readouterr().err
    report(split4, corpus4, spaces4, sample=30, measures=["energy"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("reading", [report, fast_shift])
def test_other_universes_are_refused(reading, split4, corpus4, corpus3, spaces4):
    with pytest.raises(ArtifactError, match="drawn on another corpus"):
        reading(split4, corpus3, {})
    with pytest.raises(ArtifactError, match="the shape space was fitted on another corpus"):
        reading(split4, corpus4, {"shape": dataclasses.replace(spaces4["syntactic"], corpus_key=corpus3.key)})
    with pytest.raises(ConfigurationError, match="a sample of 0 items"):
        reading(split4, corpus4, spaces4, sample=0)


def test_unknown_measures_are_refused(split4, corpus4, spaces4):
    with pytest.raises(ConfigurationError, match="unknown measure 'auc': choose from energy, mmd"):
        report(split4, corpus4, spaces4, measures=["energy", "auc"])
