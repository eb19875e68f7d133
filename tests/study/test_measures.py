"""What a trained model is asked, against slow and obvious second answers on the 3-leaf universe."""

import functools
from collections import Counter
from dataclasses import replace

import naive
import numpy as np
import pandas as pd
import pytest
import torch

from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ConfigurationError, SplitError
from synthlab.language.notation import END
from synthlab.learning.decoding import decode
from synthlab.learning.evaluation import evaluate_run, root_given, text_losses
from synthlab.learning.run import Run
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.density import density_settings
from synthlab.splits.regions import Region
from synthlab.splits.split import Split, learned_texts
from synthlab.splits.support import support_settings
from synthlab.store import Store
from synthlab.study.measures import compact, measured
from synthlab.study.trials import Measures, Trial, run_trial
from synthlab.study.workspace import SPACES, Universe, Workspace

UNIVERSE = Universe(max_size=3)
SETTINGS = support_settings(
    Region(rule="root", root="*"), num_test=60, reserved=0.25, regime="class", num_train=300, seed=3
)
ROUNDED = 5.1e-4
PREFIX = Trial(
    tags={"group": "support"}, universe=UNIVERSE, kind="support", settings=SETTINGS,
    model=ModelConfig(width=16, layers=1), training=TrainingConfig(num_steps=150, batch_size=64, learning_rate=2e-2,
                                                                   num_checks=0),
    measures=Measures(num_samples=5, details=True),
)  # fmt: skip


def of_notation(notation):
    short = replace(PREFIX.training, num_steps=40)
    return replace(PREFIX, model=replace(PREFIX.model, notation=notation, room=1), training=short)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(Store(tmp_path_factory.mktemp("measures")))


@pytest.fixture(scope="module")
def corpus(workspace):
    return workspace.corpus(UNIVERSE)


class Done:
    """A trial with all that came of it."""

    def __init__(self, workspace, trial):
        outcome = run_trial(workspace, trial)
        (cost,) = outcome.cost.to_dict("records")
        self.table = outcome.results
        self.split, self.run = Split.load(workspace.store, cost["split"]), Run.load(workspace.store, cost["run"])
        self.by_class = self.table.drop_duplicates("class_id").set_index("class_id")


@pytest.fixture(scope="module")
def done(workspace):
    return Done(workspace, PREFIX)


@pytest.fixture(scope="module", params=["postfix", "infix"])
def other(request, workspace):
    return Done(workspace, of_notation(request.param))


@pytest.fixture(scope="module")
def functions():
    """Every text of the universe as a tree, by the polynomial that it is."""
    found = {}
    for tokens, number in naive.universe(naive.POLYNOMIAL_ARITIES, 3, naive.Polynomials()):
        found.setdefault(number, []).append(naive.tree(tokens, naive.POLYNOMIAL_ARITIES))
    return {tuple(naive.flatten(trees[0])): trees for trees in found.values()}


def tree(corpus, program_id):
    return naive.tree(corpus.program(int(program_id)).prefix_text().split(), naive.POLYNOMIAL_ARITIES)


def trained_trees(corpus, split):
    return [tree(corpus, number) for number in learned_texts(corpus, split)]


# ---------------------------------------------------------------- answers


def compared(table, expected, columns, tolerance=0.0):
    """Rows of a part and class side by side."""
    both = table.merge(expected, on=["part", "class_id"], suffixes=("", "_there"), validate="one_to_one")
    assert len(both) == len(table) == len(expected) > 100
    for name in columns:
        if tolerance:
            assert np.abs(both[name] - both[f"{name}_there"]).max() < tolerance
        else:
            assert (both[name] == both[f"{name}_there"]).all(), name


def test_greedy_answers_and_their_probabilities_are_those_of_an_evaluation(done, corpus):
    expected = evaluate_run(done.run, corpus, done.split)
    compared(done.table, expected, ["leaves", "weight", "solved", "status"])
    compared(done.table, expected, ["log_probability"], ROUNDED)
    assert 10 < done.table["solved"].sum() < len(done.table) - 10
    assert set(done.table["part"]) == {p for p, ids in done.split.tests.items() if len(ids)}


def test_other_notations_are_measured_alike(other, corpus):
    expected = evaluate_run(other.run, corpus, other.split)
    compared(other.table, expected, ["solved", "status", "weight"])
    compared(other.table, expected, ["log_probability"], ROUNDED)
    assert other.table["root_given"].isna().all()  # there the root does not come first


def test_samples_are_those_of_another_decoding(done, other, corpus):
    for one in (done, other):
        expected = evaluate_run(one.run, corpus, one.split, num_samples=5, temperature=1.0)
        compared(one.table, expected, ["num_correct", "num_samples"])
    assert done.table["num_correct"].nunique() > 3


def test_answers_may_be_larger_where_the_model_has_room(workspace, corpus):
    trial = of_notation("prefix")
    usual, larger = (Done(workspace, replace(trial, measures=Measures(extra_size=more))) for more in (0, 1))
    for one, more in ((usual, 0), (larger, 1)):
        compared(one.table, evaluate_run(one.run, corpus, one.split, extra_size=more), ["solved", "status"])
    assert usual.run.key == larger.run.key
    for model, more in ((trial.model, 2), (trial.model, -1), (replace(trial.model, room=0), 1)):
        with pytest.raises(ConfigurationError, match=f"answers of {more} more than the bound: the model has room for"):
            replace(trial, model=model, measures=Measures(extra_size=more))


def written(program, notation):
    """Tokens of a program, from its text."""
    if notation == "prefix":
        return program.prefix_text().split()
    if notation == "infix":
        return [*(c for c in program.infix_text() if c != " "), END]

    def visit(node):
        return (*(token for child in node[1:] for token in visit(child)), node[0])

    return [*visit(naive.tree(program.prefix_text().split(), naive.POLYNOMIAL_ARITIES)), END]


def losses(one, corpus):
    """Minus the log-probability of every minimal text, one token after the other, by class."""
    model, classes = one.run.model(), np.unique(one.table["class_id"])
    index = {token: number for number, token in enumerate(model.notation.tokens)}
    texts = [[index[t] for t in written(corpus.program(int(c)), model.config.notation)] for c in classes]
    patches = model.read(model.look(tasks_of(corpus, classes).outputs))
    tokens = torch.zeros(len(classes), model.shape.max_tokens, dtype=torch.long)
    found = np.zeros(len(classes))
    for position in range(max(map(len, texts))):
        with torch.no_grad():
            logits = model(patches, tokens)[:, position].double()
        for row, text in enumerate(texts):
            if position < len(text):
                found[row] += torch.logsumexp(logits[row], 0) - logits[row, text[position]]
                tokens[row, position] = text[position]
    return pd.Series(found, classes)


def test_losses_are_sums_over_tokens_the_end_included(done, other, corpus):
    for one in (done, other):
        expected = losses(one, corpus)
        assert (one.by_class["test_loss"] - expected).abs().max() < ROUNDED + 1e-4
        assert expected.std() > 0.5


def test_the_loss_of_an_answer_is_its_probability(done, corpus):
    tasks, model = tasks_of(corpus, np.unique(done.table["class_id"])), done.run.model()
    answers = decode(model, tasks)
    complete = np.flatnonzero(done.by_class.loc[tasks.class_id, "status"].isin(["solved", "wrong function"]))
    found = text_losses(model, tasks.take(complete), answers.prefix[complete], rows_at_once=7)
    assert len(complete) > 50 and np.abs(found + answers.log_probability[complete]).max() < 1e-4


def test_the_root_is_handed_over(done, corpus):
    star = corpus.grammar.index["*"]
    tests = {p: ids[corpus.root[ids] == star] for p, ids in done.split.tests.items()}
    some = replace(done.split, tests={p: ids for p, ids in tests.items() if len(ids)})
    expected = root_given(done.run, corpus, some, "*").set_index("part")
    table = done.table[corpus.root[done.table["class_id"].to_numpy()] == star]
    for name, column in (("root_given", "root_given"), ("solved", "free")):
        assert table.groupby("part")[name].mean().to_dict() == pytest.approx(expected[column].to_dict())
    assert set(expected.index) >= {"forced", "matched_forced"}
    assert expected.loc["forced", "root_given"] > expected.loc["forced", "free"]  # so it can be told apart
    assert done.table["root_given"].isin([0.0, 1.0]).all()


def test_density_tests_weigh_what_they_drew_often(workspace):
    settings = density_settings(regime="semantic", num_train=200, num_test=40, num_cells=5)
    trial = replace(PREFIX, kind="density", settings=settings, measures=Measures(), training=replace(
        PREFIX.training, num_steps=4))  # fmt: skip
    one = Done(workspace, trial)
    for part, ids in one.split.tests.items():
        rows = one.table[one.table["part"] == part]
        assert rows.set_index("class_id")["weight"].to_dict() == Counter(ids.tolist()) and rows["weight"].sum() == 40
    assert one.table["weight"].max() > 1 and set(one.table["num_samples"]) == {0}
    assert not {"degree", "root_given", "edit_distance"} & set(one.table)


def test_a_split_without_tests_is_refused(workspace, done):
    with pytest.raises(SplitError, match="no test tasks: draw it again"):
        measured(workspace, PREFIX, replace(done.split, tests={"id": np.empty(0, dtype=np.int64)}), done.run)


# ---------------------------------------------------------------- what makes a task hard


def test_degrees_and_numbers_of_texts_are_those_of_all_texts(done, corpus, functions):
    for row in done.table.itertuples():
        texts = functions[naive.flatten(tree(corpus, row.class_id))]  # the key is the least text
        assert row.degree == max((i + j for i, j in naive.expand(texts[0])), default=0)
        outside = sum(text[0] != "*" for text in texts)
        assert row.texts == (len(texts) if row.part in ("forced", "matched_forced") else outside)
        assert row.part not in ("id", "open", "matched_id") or row.texts > 0
    assert done.table["texts"].nunique() > 5 and done.table["degree"].nunique() > 2


def shape(node):
    return tuple(map(shape, node[1:]))


def compounds(node, depth=2):
    """Every subtree cut off below two levels that has two levels."""

    def text(below, left):
        return below[0] if left == 0 or len(below) == 1 else (below[0], *(text(c, left - 1) for c in below[1:]))

    here = [text(node, depth)] if any(len(child) > 1 for child in node[1:]) else []
    return here + [found for child in node[1:] for found in compounds(child, depth)]


def test_answers_that_were_copied_are_marked(done, corpus):
    tasks = tasks_of(corpus, np.unique(done.table["class_id"]))
    answers = decode(done.run.model(), tasks).prefix
    known = trained_trees(corpus, done.split)
    trees, shapes = set(known), set(map(shape, known))
    for number, answer in zip(tasks.class_id, answers, strict=True):
        row = done.by_class.loc[number]
        try:
            tokens = [corpus.grammar.tokens[t] for t in answer if t != 255]
            found = naive.tree(tokens[: _length(tokens)], naive.POLYNOMIAL_ARITIES)
        except IndexError:
            assert row["status"] == "ungrammatical" and not row["tree_in_training"]
            continue
        assert row["tree_in_training"] == (found in trees)
        assert row["shape_in_training"] == (shape(found) in shapes)
        assert row["subtrees_in_training"] >= row["tree_in_training"]
    flags = done.by_class[["tree_in_training", "shape_in_training"]]
    assert flags.any().all() and not flags["tree_in_training"].all()


def _length(tokens):
    """Tokens of the first complete tree."""
    open_, position = 1, 0
    while open_:
        open_ += naive.POLYNOMIAL_ARITIES[tokens[position]] - 1
        position += 1
    return position


def test_compounds_that_no_training_text_has_are_novel(done, corpus):
    seen = {compound for known in trained_trees(corpus, done.split) for compound in compounds(known)}
    for number, share in done.by_class["novel_compounds"].items():
        own = compounds(tree(corpus, number))
        expected = sum(compound not in seen for compound in own) / len(own) if own else 0.0
        assert share == pytest.approx(expected, abs=ROUNDED)
    assert done.by_class["novel_compounds"].nunique() > 1


@functools.cache
def edits(one, other):
    """Least number of edits between two ordered forests, by the recursion of Zhang and Shasha (1989)."""
    if not one or not other:
        return sum(len(naive.flatten(node)) for node in one + other)
    last, end = one[-1], other[-1]
    return min(
        edits(one[:-1] + last[1:], other) + 1,
        edits(one, other[:-1] + end[1:]) + 1,
        edits(one[:-1], other[:-1]) + edits(last[1:], end[1:]) + (last[0] != end[0]),
    )


def test_edit_distances_are_the_least_over_the_three_nearest_texts(done, corpus, workspace):
    places = workspace.spaces(UNIVERSE)["syntactic"].coordinates.astype(np.float64)
    trained = learned_texts(corpus, done.split)
    known, checked = trained_trees(corpus, done.split), 0
    for number in done.by_class.index:
        found, own = done.by_class.loc[number, "edit_distance"], tree(corpus, number)
        distances = np.linalg.norm(places[trained] - places[number], axis=1)
        third = np.sort(distances)[2]
        sure, tied = (np.flatnonzero(near) for near in (distances < third - 1e-6, abs(distances - third) <= 1e-6))
        apart = {row: edits((own,), (known[row],)) for row in (*sure, *tied)}
        left = sorted((apart[row] for row in tied), reverse=True)[: 3 - len(sure)]  # the worst of those at one place
        assert min(apart.values()) <= found <= min([*left, *(apart[row] for row in sure)])
        checked += len(sure) + len(tied) == 3
    assert checked > 5 and done.by_class["edit_distance"].nunique() > 2


def test_edit_distances_are_never_below_the_least_over_all_texts(done, corpus):
    known, gaps = trained_trees(corpus, done.split), []
    for number in done.by_class.index[::5]:
        least = min(edits((tree(corpus, number),), (other,)) for other in known)
        gaps.append(done.by_class.loc[number, "edit_distance"] - least)
    assert min(gaps) == 0 <= max(gaps)  # the nearest by pq-grams are only candidates


def test_distances_are_to_the_nearest_training_text(done, corpus, workspace):
    trained, classes = learned_texts(corpus, done.split), done.by_class.index.to_numpy()
    for name, space in workspace.spaces(UNIVERSE, SPACES).items():
        rows, queries = trained, classes
        if name == "semantic":
            rows, queries = np.unique(corpus.class_index[trained]), corpus.class_rows(classes)
        apart = space.coordinates[queries, None].astype(np.float64) - space.coordinates[None, rows]
        expected = np.sqrt((apart**2).sum(axis=2)).min(axis=1)
        assert np.abs(done.by_class[f"{name}_distance"].to_numpy() - expected).max() < 3e-3
    assert (done.by_class["semantic_distance"] > 0).all()  # no function is trained on and tested


# ---------------------------------------------------------------- small types


def test_compact_tables_hold_the_same_to_three_decimals():
    generator, num = np.random.default_rng(0), 500
    table = pd.DataFrame({
        "part": ["id", "forced"] * (num // 2), "class_id": generator.integers(0, 3_000_000, num),
        "leaves": generator.integers(1, 6, num), "weight": generator.integers(1, 70_000, num), "degree": -1,
        "texts": generator.integers(0, 5_000_000_000, num), "num_correct": 0, "solved": generator.random(num) < 0.5,
        "log_probability": -generator.exponential(20, num), "test_loss": generator.exponential(20, num),
        "syntactic_distance": generator.random(num), "edit_distance": generator.integers(0, 9, num),
        "novel_compounds": generator.random(num), "root_given": generator.choice([0.0, 1.0, np.nan], num),
        "tree_in_training": generator.random(num) < 0.5, "status": "solved",
    })  # fmt: skip
    table.loc[3, "log_probability"] = -np.inf
    small = compact(table)
    assert list(small) == list(table) and small.memory_usage().sum() < 0.6 * table.memory_usage().sum()
    for name in table:
        if pd.api.types.is_float_dtype(small[name]):
            assert small[name].dtype == np.float32
            one, other = small[name].to_numpy(np.float64), table[name].to_numpy(np.float64)
            assert np.allclose(one, other, rtol=1e-6, atol=5e-4, equal_nan=True)
        else:
            assert small[name].tolist() == table[name].tolist()
