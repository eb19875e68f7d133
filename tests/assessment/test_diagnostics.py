"""Novelty against sets of trees, properties against brute force, calibration against solvers of known honesty."""

from dataclasses import replace

import languages
import numpy as np
import pandas as pd
import pytest

from synthlab.assessment import diagnostics
from synthlab.assessment.correctness import SOLVED, UNGRAMMATICAL, WRONG, Evaluation, check
from synthlab.assessment.diagnostics import (
    calibration,
    copying_table,
    expected_calibration_error,
    failure_detection_auc,
    novelty,
    success_by,
    task_properties,
)
from synthlab.assessment.metrics import wilson
from synthlab.assessment.tasks import Candidates, tasks_by_part, tasks_of
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.grammar import PAD
from synthlab.language.program import Program, prefix_lengths
from synthlab.splits.density import density_settings, density_split
from synthlab.splits.proximity import nearest_training
from synthlab.splits.regions import Region
from synthlab.splits.support import support_settings, support_split
from synthlab.universe.corpus import build_corpus

FLAGS = ["tree_in_training", "subtrees_in_training", "shape_in_training"]

# ---------------------------------------------------------------- trees as nested tuples


def tree_of(program):
    """A leaf as its token, an inner node as (symbol, *children)."""
    return program.fold(lambda token: program.grammar.tokens[token], lambda o, below: (o.symbol, *below))


def cut(tree, depth):
    """The tree down to a depth, with labels below."""
    if isinstance(tree, str):
        return tree
    return (tree[0], *(cut(child, depth - 1) for child in tree[1:])) if depth else tree[0]


def nodes(tree):
    yield tree
    for child in () if isinstance(tree, str) else tree[1:]:
        yield from nodes(child)


def height(tree):
    return 0 if isinstance(tree, str) else 1 + max(map(height, tree[1:]))


def shape(tree):
    return () if isinstance(tree, str) else tuple(shape(child) for child in tree[1:])


def pieces(tree):
    """What the tree is judged by: its depth-2 compounds, or the whole of a tree that has none."""
    return {cut(node, 2) for node in nodes(tree) if height(node) >= 2} or {tree}


def everything_in(tree):
    """All that could be judged: leaves, depth-1 and depth-2 compounds."""
    inner = [node for node in nodes(tree) if not isinstance(node, str)]
    return {n for n in nodes(tree) if isinstance(n, str)} | {cut(n, d) for n in inner for d in (1, 2)}


def expected_flags(grammar, trained, written):
    """The three flags of every text, from sets of tuples; rows are token matrices."""
    trees = [tree_of(Program.from_row(grammar, row)) for row in trained]
    known = set().union(*map(everything_in, trees))
    shapes = {shape(tree) for tree in trees}
    for row in written:
        length = prefix_lengths(grammar, row[None])[0]
        if length < 0:
            yield False, False, False
            continue
        tree = tree_of(Program.from_row(grammar, row[:length]))
        yield tree in trees, pieces(tree) <= known, shape(tree) in shapes


def written(prefix):
    num = len(prefix)
    return Candidates(np.arange(num), np.zeros(num, dtype=np.int64), prefix, np.zeros(num))


def few(corpus, split, num, seed=0, largest=99):
    """The split with a training set so small that much is new."""
    pool = split.targets[corpus.leaves[split.targets] <= largest]
    ids = np.random.default_rng(seed).choice(pool, num)
    return replace(split, train=ids, targets=ids)


def small_split(corpus):
    root = corpus.grammar.operators[0].symbol
    return support_split(corpus, {}, support_settings(Region(rule="root", root=root), reserved=0.3, num_test=20))


@pytest.fixture(scope="module")
def split(corpus4):
    """Texts whose root is ``*`` are held out of the 4-leaf universe."""
    return support_split(corpus4, {}, support_settings(Region(rule="root", root="*"), reserved=0.25, num_test=80))


# ---------------------------------------------------------------- novelty


@pytest.mark.parametrize("num", [3, 12, 200])
def test_novelty_is_membership_in_sets_of_trees(corpus3, corpus4, split3, num):
    split = few(corpus3, split3, num)
    larger = corpus4.prefix[np.random.default_rng(1).integers(corpus3.num_programs, corpus4.num_programs, 400)]
    listed = np.pad(corpus3.prefix, ((0, 0), (0, 2)), constant_values=PAD)
    prefix = np.concatenate([listed, larger])
    found = novelty(corpus3, split, written(prefix))
    expected = list(expected_flags(corpus3.grammar, corpus3.prefix[split.targets], prefix))
    assert found["grammatical"].all()
    assert list(found[FLAGS].itertuples(index=False, name=None)) == expected
    assert found["tree_in_training"].sum() == len(set(split.targets.tolist()))
    assert 0 < found["subtrees_in_training"].sum() < len(prefix)


@pytest.mark.parametrize(
    ("grammar", "max_size", "measure"),
    [(languages.UNARY, 5, "nodes"), (languages.MIXED, 5, "leaves"), (languages.MULADD, 2, "depth")],
)
def test_novelty_knows_operators_of_every_arity(grammar, max_size, measure):
    corpus = build_corpus(grammar, max_size, measure=measure)
    split = few(corpus, small_split(corpus), 10)
    some = np.random.default_rng(2).choice(corpus.num_programs, min(600, corpus.num_programs), replace=False)
    prefix = corpus.prefix[np.concatenate([some, split.targets])]
    found = novelty(corpus, split, written(prefix))
    expected = list(expected_flags(grammar, corpus.prefix[split.targets], prefix))
    assert list(found[FLAGS].itertuples(index=False, name=None)) == expected
    assert found[FLAGS].any().all() and not found[FLAGS].all().any()


def test_the_size_of_blocks_decides_nothing(corpus3, split3, monkeypatch):
    split, candidates = few(corpus3, split3, 60), written(corpus3.prefix)
    whole = novelty(corpus3, split, candidates)
    monkeypatch.setattr(diagnostics, "_ROWS_AT_ONCE", 7)
    assert novelty(corpus3, split, candidates).equals(whole)


def test_trees_too_shallow_for_depth_two_are_judged_by_what_they_are(corpus3, split3):
    index = corpus3.grammar.index
    rows = {"+ x y": (False, True), "- x y": (False, False), "x": (False, True), "2": (False, False)}
    trained = tree_row(corpus3, "- + x y 1")
    split = replace(split3, train=trained, targets=trained)
    prefix = np.full((len(rows), 5), PAD, dtype=np.uint8)
    for target, text in zip(prefix, rows, strict=True):
        target[: len(text.split())] = [index[t] for t in text.split()]
    found = novelty(corpus3, split, written(prefix))
    assert list(found[FLAGS[:2]].itertuples(index=False, name=None)) == list(rows.values())


def tree_row(corpus, text):
    """Id of a prefix text, as an array."""
    tokens = [corpus.grammar.index[t] for t in text.split()]
    row = np.array(tokens + [PAD] * (corpus.prefix.shape[1] - len(tokens)))
    return np.flatnonzero((corpus.prefix == row).all(axis=1))


def test_only_the_first_complete_tree_is_read_and_what_is_none_is_flagged(corpus3, split3):
    learned = int(split3.targets[corpus3.leaves[split3.targets] == 2][0])
    open_text, none, trailing = ([5, 5, 0, PAD, PAD], [PAD] * 5, corpus3.prefix[learned].tolist())
    trailing[3:] = [0, 200]
    candidates = written(np.array([open_text, none, trailing, [255, 0, 1, 200, 3]], dtype=np.uint8))
    found = novelty(corpus3, split3, candidates)
    assert found["grammatical"].tolist() == [False, False, True, False]
    for flag in FLAGS:
        assert found[flag].tolist() == [False, False, True, False]
    none_at_all = novelty(corpus3, split3, written(np.array([open_text, none], dtype=np.uint8)))
    assert not none_at_all[["grammatical", *FLAGS]].any().any()
    assert len(novelty(corpus3, split3, written(np.empty((0, 5), dtype=np.uint8)))) == 0


def test_texts_that_may_be_drawn_later_are_in_training(corpus3):
    settings = support_settings(
        Region(rule="root", root="*"), reserved=0.25, num_test=20, num_train=40, policy="random"
    )
    split = support_split(corpus3, {}, settings)
    taught = np.isin(corpus3.class_index, corpus3.class_index[split.targets])
    expected = taught & ~split.held_out(corpus3.num_programs)
    found = novelty(corpus3, split, written(corpus3.prefix))
    assert found["tree_in_training"].tolist() == expected.tolist()
    assert expected.sum() > len(np.unique(split.targets))


def test_flags_imply_each_other_in_the_order_of_their_strength(corpus4, split):
    found = novelty(corpus4, few(corpus4, split, 40, largest=3), written(corpus4.prefix))
    assert found.loc[found["tree_in_training"], ["subtrees_in_training", "shape_in_training"]].all().all()
    assert (found["subtrees_in_training"] & ~found["shape_in_training"]).any()  # four leaves from pieces of three


def test_another_corpus_is_refused(corpus3, corpus4, split3):
    with pytest.raises(ArtifactError, match="drawn on another corpus"):
        novelty(corpus4, split3, written(corpus4.prefix[:3]))
    with pytest.raises(ArtifactError, match="drawn on another corpus"):
        task_properties(corpus4, split3, {})


# ---------------------------------------------------------------- copying


def evaluated(corpus, classes, answers, status=None):
    """Evaluation of one answer per task, a program id each."""
    tasks = tasks_of(corpus, classes)
    assert tasks.class_id.tolist() == classes.tolist()
    candidates = written(corpus.prefix[answers])
    return check(tasks, candidates) if status is None else Evaluation(tasks, candidates, status, status == SOLVED)


def test_copying_is_counted_by_outcome(corpus3):
    evaluation = evaluated(corpus3, corpus3.class_id[:5], np.arange(5), np.array([SOLVED, SOLVED, WRONG, WRONG, 3]))
    frame = pd.DataFrame({"task": np.arange(5), "rank": 0, "grammatical": [True] * 4 + [False]})
    flags = [(0, 1, 1), (0, 0, 1), (1, 1, 1), (0, 1, 1), (0, 0, 0)]
    frame[FLAGS] = np.array(flags, dtype=bool)
    table = copying_table(evaluation, frame).set_index(["outcome", "copied"])
    counts = {"solved": (0, 1, 2), "failed": (1, 2, 2)}
    for (outcome, copied), row in table.iterrows():
        count, num = counts[outcome][diagnostics.COPIED.index(copied)], {"solved": 2, "failed": 3}[outcome]
        assert row["num_tasks"] == num and row["share"] == pytest.approx(count / num)
        assert (row["ci_low"], row["ci_high"]) == wilson(count, num)


def test_only_first_candidates_count(corpus3):
    tasks = tasks_of(corpus3, corpus3.class_id[:2])
    candidates = Candidates(np.array([1, 0, 1]), np.array([1, 0, 0]), corpus3.prefix[[0, 0, 0]], np.zeros(3))
    evaluation = check(tasks, candidates)
    frame = pd.DataFrame({"task": [1, 0, 1], "rank": [1, 0, 0], "grammatical": True, **dict.fromkeys(FLAGS, True)})
    table = copying_table(evaluation, frame)
    assert table["num_tasks"].tolist() == [1] * 6 and table["share"].tolist() == [1.0] * 6


def test_an_outcome_that_never_happened_has_no_share(corpus3):
    evaluation = evaluated(corpus3, corpus3.class_id[:4], np.arange(4), np.full(4, UNGRAMMATICAL))
    frame = pd.DataFrame({"task": np.arange(4), "rank": 0, **dict.fromkeys(FLAGS, False)})
    solved = copying_table(evaluation, frame).query("outcome == 'solved'")
    assert solved["num_tasks"].eq(0).all() and solved[["share", "ci_low", "ci_high"]].isna().all().all()


def test_no_solved_test_task_is_a_copy_of_a_training_text(corpus3, split3):
    for tasks in tasks_by_part(corpus3, split3).values():
        evaluation = check(tasks, written(corpus3.prefix[tasks.class_id]))
        table = copying_table(evaluation, novelty(corpus3, split3, evaluation.candidates))
        solved = table.query("outcome == 'solved'").set_index("copied")
        assert solved["num_tasks"].eq(len(tasks)).all() and solved.loc["tree", "share"] == 0


def test_the_novelty_of_other_candidates_is_refused(corpus3, split3):
    evaluation = evaluated(corpus3, corpus3.class_id[:4], np.arange(4))
    frame = novelty(corpus3, split3, evaluation.candidates)
    for other in (frame.iloc[:3], frame.iloc[::-1], frame.assign(rank=1)):
        with pytest.raises(ConfigurationError, match="other candidates"):
            copying_table(evaluation, other)


# ---------------------------------------------------------------- properties of tasks


def test_properties_are_those_of_brute_force(corpus4, spaces4, split):
    table = task_properties(corpus4, split, spaces4)
    assert list(table) == [
        "part", "class_id", "leaves", "class_size", "texts_in_support", "syntactic_distance", "semantic_distance"
    ]  # fmt: skip
    outside, class_of = ~split.held_out(corpus4.num_programs), corpus4.class_id[corpus4.class_index]
    for part, group in table.groupby("part"):
        assert sorted(group["class_id"]) == sorted(set(split.tests[part].tolist()))
        nearest = nearest_training(corpus4, spaces4, split, part)
        joined = group.merge(nearest, on="class_id", suffixes=("", "_nearest"))
        for kind in spaces4:
            np.testing.assert_allclose(joined[f"{kind}_distance"], joined[f"{kind}_distance_nearest"], atol=2e-3)
        for _, row in group.iloc[::7].iterrows():
            texts = class_of == row["class_id"]
            assert row["class_size"] == texts.sum() and row["texts_in_support"] == (texts & outside).sum()
            assert row["leaves"] == corpus4.leaves[texts].min()
    assert set(table["part"]) == {name for name, ids in split.tests.items() if len(ids)}
    assert (table.query("part == 'forced'")["texts_in_support"] == 0).all()


def test_a_trained_function_lies_at_no_distance(corpus4, spaces4, split):
    leak = split.tests["id"][:5]
    leaky = replace(split, targets=np.append(split.targets, leak))
    table = task_properties(corpus4, leaky, spaces4)
    leaked = table["class_id"].isin(leak)
    for kind in spaces4:
        assert (table.loc[leaked, f"{kind}_distance"] < 2e-3).all()
    assert (table.loc[~leaked, "semantic_distance"] > 0).all()


def test_repeated_tests_have_one_row_and_merge_with_results(corpus4, spaces4):
    settings = density_settings(regime="random", num_train=1000, num_test=40, num_cells=10)
    split = density_split(corpus4, spaces4, settings)
    table = task_properties(corpus4, split, {"semantic": spaces4["semantic"]})
    assert not table.duplicated(["part", "class_id"]).any() and "syntactic_distance" not in table
    results = pd.concat([t.frame().assign(part=part) for part, t in tasks_by_part(corpus4, split).items()])
    merged = results.merge(table)
    assert len(merged) == len(results) == len(table) and {"leaves", "weight", "semantic_distance"} <= set(merged)
    assert (merged["texts_in_support"] == merged["class_size"]).all()


def test_a_space_of_another_corpus_is_refused(corpus3, spaces4, split3):
    with pytest.raises(ArtifactError, match="syntactic space was fitted on another corpus"):
        task_properties(corpus3, split3, spaces4)


# ---------------------------------------------------------------- success by a number


def test_whole_numbers_are_shown_value_by_value():
    table = pd.DataFrame({"part": ["id"] * 5 + ["forced"] * 2, "leaves": [1, 1, 3, 3, 3, 3, 4]})
    table["solved"] = [True, False, True, True, False, False, False]
    found = success_by(table, "leaves")
    assert found[["part", "middle", "num_tasks"]].to_numpy().tolist() == [
        ["id", 1, 2], ["id", 3, 3], ["forced", 3, 1], ["forced", 4, 1]
    ]  # fmt: skip
    assert found["pass_at_1"].tolist() == pytest.approx([1 / 2, 2 / 3, 0, 0])
    assert list(zip(found["ci_low"], found["ci_high"])) == [wilson(1, 2), wilson(2, 3), wilson(0, 1), wilson(0, 1)]
    assert (found["low"] == found["middle"]).all() and (found["high"] == found["middle"]).all()


@pytest.mark.parametrize("num_bins", [1, 4, 8])
def test_other_numbers_are_shown_in_bins_of_equal_counts(num_bins):
    generator = np.random.default_rng(0)
    values = generator.exponential(size=400)
    table = pd.DataFrame({"distance": values, "solved": generator.random(400) < np.exp(-values)})
    found = success_by(table, "distance", num_bins=num_bins)
    assert found["num_tasks"].tolist() == [400 // num_bins] * num_bins and (found["part"] == "all").all()
    chunks = table.sort_values("distance")["distance"].to_numpy().reshape(num_bins, -1)
    np.testing.assert_array_equal(found["low"], chunks.min(axis=1))
    np.testing.assert_array_equal(found["high"], chunks.max(axis=1))
    np.testing.assert_allclose(found["middle"], np.median(chunks, axis=1))
    solved = table.sort_values("distance")["solved"].to_numpy().reshape(num_bins, -1).mean(axis=1)
    np.testing.assert_allclose(found["pass_at_1"], solved)


def test_equal_values_share_a_bin_and_missing_ones_have_none():
    values = np.array([1.0] * 60 + list(range(2, 42)) + [np.nan] * 5)
    found = success_by(pd.DataFrame({"size": values, "solved": 1}), "size", num_bins=5)
    assert found["num_tasks"].sum() == 100
    assert found.loc[0, ["low", "high", "num_tasks"]].tolist() == [1, 1, 60]
    assert (found["low"].to_numpy()[1:] > found["high"].to_numpy()[:-1]).all()


def test_many_whole_numbers_are_binned_and_parts_have_bins_of_their_own():
    table = pd.DataFrame({"class_size": np.arange(160), "solved": False, "part": np.repeat(["id", "forced"], 80)})
    found = success_by(table, "class_size")
    assert found.groupby("part", sort=False)["num_tasks"].apply(list).tolist() == [[10] * 8] * 2
    assert found["part"].tolist() == ["id"] * 8 + ["forced"] * 8


def test_weights_count_as_draws_and_repeated_classes_as_one_task():
    table = pd.DataFrame({"leaves": 1, "solved": [1, 0, 0], "weight": [2, 1, 1]})
    (row,) = success_by(table, "leaves").to_dict("records")
    effective = 16 / 6
    assert row["pass_at_1"] == 1 / 2 and row["num_tasks"] == 3
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(wilson(effective / 2, effective))
    runs = pd.DataFrame({"leaves": 1, "solved": [1, 0, 1, 1, 0, 0], "class_id": [7, 8, 9, 7, 8, 9]})
    (row,) = success_by(runs, "leaves").to_dict("records")
    assert row["num_tasks"] == 3 and (row["ci_low"], row["ci_high"]) == pytest.approx(wilson(1.5, 3))


def test_what_success_cannot_be_shown_by_is_refused():
    table = pd.DataFrame({"leaves": [1, 2], "solved": True, "root": ["+", "-"]})
    with pytest.raises(ConfigurationError, match="lack distance: merge"):
        success_by(table, "distance")
    with pytest.raises(ConfigurationError, match="'root' holds no numbers"):
        success_by(table, "root")
    with pytest.raises(ConfigurationError, match="0 bins"):
        success_by(table, "leaves", num_bins=0)


# ---------------------------------------------------------------- calibration


def confident(corpus, probability, solved):
    """Evaluation of answers of given probability and outcome."""
    num = len(probability)
    with np.errstate(divide="ignore"):
        candidates = replace(written(np.zeros((num, 1), dtype=np.uint8)), log_probability=np.log(probability))
    return Evaluation(tasks_of(corpus, corpus.class_id[:1]), candidates, np.where(solved, SOLVED, WRONG), solved)


def test_an_honest_solver_is_calibrated_and_a_boaster_is_not(corpus3):
    generator = np.random.default_rng(4)
    probability = generator.random(20_000)
    honest = calibration(confident(corpus3, probability, generator.random(20_000) < probability))
    assert honest["num_tasks"].tolist() == [2000] * 10
    np.testing.assert_allclose(honest["confidence"], np.arange(0.05, 1, 0.1), atol=0.02)
    np.testing.assert_allclose(honest["accuracy"], honest["confidence"], atol=0.04)
    assert honest["confidence"].between(honest["ci_low"], honest["ci_high"]).sum() >= 8
    assert expected_calibration_error(honest) < 0.015
    boaster = calibration(confident(corpus3, probability, generator.random(20_000) < probability / 2))
    assert expected_calibration_error(boaster) == pytest.approx(0.25, abs=0.02)


def test_the_error_weighs_bins_by_their_tasks():
    table = pd.DataFrame({"confidence": [0.5, 0.9], "accuracy": [0.6, 0.5], "num_tasks": [30, 10]})
    assert expected_calibration_error(table) == pytest.approx((30 * 0.1 + 10 * 0.4) / 40)


def test_bins_of_probabilities_are_counted_by_hand(corpus3):
    table = calibration(confident(corpus3, np.array([0.1, 0.9, 0.2, 1.0]), np.array([0, 1, 1, 1])), num_bins=2)
    assert table["confidence"].tolist() == pytest.approx([0.15, 0.95])
    assert table[["accuracy", "num_tasks"]].to_numpy().tolist() == [[0.5, 2], [1, 2]]
    assert (table["ci_low"][0], table["ci_high"][0]) == wilson(1, 2)


def test_the_auc_is_the_share_of_ordered_pairs(corpus3):
    generator = np.random.default_rng(6)
    probability, solved = generator.integers(0, 10, 80) / 10, generator.random(80) < 0.4
    right, wrong = probability[solved], probability[~solved]
    pairs = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    assert failure_detection_auc(confident(corpus3, probability, solved)) == pytest.approx(np.mean(pairs))
    assert np.isnan(failure_detection_auc(confident(corpus3, probability, np.ones(80))))
    assert np.isnan(failure_detection_auc(confident(corpus3, probability, np.zeros(80))))


def test_only_first_answers_with_a_probability_count(corpus3):
    honest = confident(corpus3, np.array([0.2, 0.4, 0.6, np.nan]), np.array([1, 0, 1, 1]))
    later = replace(honest, candidates=replace(honest.candidates, rank=np.array([0, 0, 1, 0])))
    table = calibration(later)
    assert table["num_tasks"].sum() == 2 and failure_detection_auc(later) == 0
    silent = confident(corpus3, np.full(3, np.nan), np.ones(3))
    for measure in (calibration, failure_detection_auc):
        with pytest.raises(ConfigurationError, match="no first answer has a probability"):
            measure(silent)
