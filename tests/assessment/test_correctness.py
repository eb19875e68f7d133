"""Every outcome of a candidate, from hand-made candidates and from expanded polynomials."""

import numpy as np
import pytest

from synthlab.assessment.correctness import ON_GRID, SOLVED, STATUSES, TOO_LONG, UNDEFINED, UNGRAMMATICAL, WRONG, check
from synthlab.assessment.tasks import Candidates, tasks_of
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.operator import ADD, DIVIDE
from synthlab.language.program import parse, token_matrix
from synthlab.universe.corpus import build_corpus
from synthlab.universe.counting import rank

VANISHING = "x*(x+2)*(x+1)*(x-1)*(x-2)*(x-3)"  # zero for every x of the grid of `polynomial`, -2..3


def tokens(grammar, text):
    """Token numbers of infix text, or of raw prefix tokens after a ``!``."""
    return [grammar.index[t] for t in text[1:].split()] if text.startswith("!") else list(parse(grammar, text).prefix)


def asked(corpus, *texts):
    """Tasks for the functions of texts, in that order."""
    rows = np.full((len(texts), corpus.prefix.shape[1]), PAD, dtype=np.uint8)
    for row, text in zip(rows, texts, strict=True):
        prefix = tokens(corpus.grammar, text)
        row[: len(prefix)] = prefix
    classes = corpus.class_id[corpus.class_index[rank(corpus.grammar, rows, corpus.max_size)]]
    assert len(set(classes.tolist())) == len(texts)
    tasks = tasks_of(corpus, classes)
    return tasks.take(np.searchsorted(tasks.class_id, classes))


def submit(grammar, *answers):
    """Candidates from (task, rank, text)."""
    rows = [tokens(grammar, text) for *_, text in answers]
    prefix = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.uint8)
    for target, row in zip(prefix, rows, strict=True):
        target[: len(row)] = row
    task, place = (np.array([a[k] for a in answers]) for k in (0, 1))
    return Candidates(task, place, prefix, np.full(len(rows), np.nan))


def status_of(corpus, target, text, **settings):
    evaluation = check(asked(corpus, target), submit(corpus.grammar, (0, 0, text)), **settings)
    return STATUSES[evaluation.status[0]]


@pytest.mark.parametrize(
    ("target", "text", "status"),
    [
        ("x*(y+1)", "x*(y+1)", "solved"),
        ("x*(y+1)", "x+y*x", "solved"),
        ("x*(y+1)", "(y+2-1)*x", "solved"),
        ("x*(y+1)", "x*y+1", "wrong function"),
        ("x", "y", "wrong function"),
        ("x*(y+1)", "!+ x", "ungrammatical"),
        ("x*(y+1)", "!* + x", "ungrammatical"),
        ("x", "!x + +", "solved"),  # what follows the first complete tree is not part of the answer
        ("x+y", "x+y+(1-1)*x", "too long"),
        ("x+y", "x+y+1-1", "solved"),
        ("x+y", "x+y+x-x+1", "too long"),
    ],
)
def test_every_outcome_of_one_candidate(corpus4, target, text, status):
    assert status_of(corpus4, target, text) == status


@pytest.mark.parametrize("target", ["x", "x*y", "1", "x-y*3"])
@pytest.mark.parametrize("sign", "+-")
def test_right_on_the_grid_is_not_solved(corpus4, target, sign):
    text = f"({target}){sign}{VANISHING}"
    leaves = parse(POLYNOMIAL, text).leaves
    assert status_of(corpus4, target, text, max_size=leaves) == "right on grid"
    assert status_of(corpus4, target, text, max_size=leaves - 1) == "too long"
    assert status_of(corpus4, target, text) == "too long"
    assert status_of(corpus4, target, f"{text}+1", max_size=leaves + 1) == "wrong function"


def test_right_on_the_grid_of_thirds(rational3):
    factors = "*".join(f"(x+x+x{c})" for c in ("-1", "-2-2", "-2-2-2-1", "+2", "+2+2+1", "+2+2+2+2"))
    for target in ("x", "y/x", "1/(x*y)"):
        text = f"({target})+({factors})*y"
        assert status_of(rational3, target, text, max_size=60) == "right on grid"
        assert status_of(rational3, target, f"({text})*(x-y)", max_size=60) == "wrong function"


@pytest.mark.parametrize(
    ("target", "text", "status"),
    [
        ("x", "x/(x-x)", "undefined"),
        ("1", "x/x", "solved"),  # as functions; the removable pole is not on the grid
        ("x/y", "1/(y/x)", "solved"),
        ("x/y", "y/x", "wrong function"),
        ("x", "(y/y)*x", "solved"),
    ],
)
def test_division(rational3, target, text, status):
    assert status_of(rational3, target, text) == status


def test_a_candidate_with_a_pole_on_the_grid_is_wrong_not_undefined(rational3):
    assert status_of(rational3, "x", "1/(x+x+x-1)", max_size=5) == "wrong function"


NO_TEXTS = [[PAD] * 5, [200, PAD, PAD, PAD, PAD], [5, 0, 200, 1, 0], [5, 5, 5, 5, 0], [PAD, 0, 0, 0, 0]]


@pytest.mark.parametrize("row", NO_TEXTS)
def test_rows_that_are_no_text_are_ungrammatical(corpus3, row):
    candidates = Candidates(np.array([0]), np.array([0]), np.array([row], dtype=np.uint8), np.array([0.0]))
    assert STATUSES[check(asked(corpus3, "x"), candidates).status[0]] == "ungrammatical"


def test_solved_is_equality_of_expanded_polynomials(corpus4, naive4):
    generator = np.random.default_rng(11)
    tasks = tasks_of(corpus4, generator.choice(corpus4.class_id[corpus4.class_leaves < 4], 60, replace=False))
    numbers = np.array([number for _, number in naive4])
    right = np.flatnonzero(np.isin(numbers, numbers[tasks.class_id]))
    answers = np.concatenate([generator.choice(right, 3000), generator.integers(0, len(naive4), 500)])
    task = generator.integers(0, len(tasks), len(answers))
    task[:1500] = [np.flatnonzero(numbers[tasks.class_id] == numbers[a])[0] for a in answers[:1500]]
    candidates = Candidates(task, np.arange(len(task)), corpus4.prefix[answers], np.zeros(len(task)))
    expected = numbers[answers] == numbers[tasks.class_id[task]]
    evaluation = check(tasks, candidates)
    assert 1500 <= expected.sum() < 3000
    assert np.array_equal(evaluation.status == SOLVED, expected)
    assert set(evaluation.status[~expected].tolist()) == {WRONG}  # four leaves cannot vanish on this grid
    assert evaluation.num_correct().tolist() == np.bincount(task[expected], minlength=len(tasks)).tolist()


# ---------------------------------------------------------------- per task


@pytest.fixture
def three_tasks(corpus3):
    """Samples of three tasks, not in the order of their ranks; the last task has none."""
    tasks = asked(corpus3, "x", "x*y", "3")
    answers = [
        (0, 1, f"x+{VANISHING}"), (0, 0, "y"), (0, 3, "x"), (0, 2, "!+ x"),
        (1, 2, "x*y"), (1, 1, "y*x"), (1, 0, "x+y+1+1+1"), (1, 3, f"x*y-{VANISHING}"),
    ]  # fmt: skip
    return check(tasks, submit(POLYNOMIAL, *answers), max_size=12)


def test_the_submitted_sample_is_the_first_that_is_right_on_the_grid(three_tasks):
    assert three_tasks.submitted().tolist() == [ON_GRID, SOLVED, UNGRAMMATICAL]
    assert three_tasks.first_status().tolist() == [WRONG, WRONG, UNGRAMMATICAL]
    assert three_tasks.num_correct().tolist() == [1, 2, 0]


def test_without_a_sample_that_is_right_on_the_grid_the_first_is_submitted(corpus3):
    tasks = asked(corpus3, "x", "y")
    long = "1+1+1+1"
    answers = [(0, 0, long), (0, 1, "y"), (1, 1, "x"), (1, 0, "!* y")]
    evaluation = check(tasks, submit(POLYNOMIAL, *answers))
    assert evaluation.submitted().tolist() == [TOO_LONG, UNGRAMMATICAL]
    assert set(evaluation.num_samples.tolist()) == {2}


def test_an_undefined_sample_is_never_submitted_before_a_right_one(rational3):
    answers = [(0, 0, "x/(y-y)"), (0, 1, "y*x/y")]
    evaluation = check(asked(rational3, "x"), submit(RATIONAL, *answers))
    assert evaluation.first_status().tolist() == [UNDEFINED]
    assert evaluation.submitted().tolist() == [SOLVED]


def test_the_table_holds_one_row_a_task(three_tasks):
    table = three_tasks.frame()
    assert table["solved"].tolist() == [False, False, False]
    assert table["status"].tolist() == ["wrong function", "wrong function", "ungrammatical"]
    assert table["num_correct"].tolist() == [1, 2, 0]
    assert table["class_id"].tolist() == three_tasks.tasks.class_id.tolist()
    assert {"leaves", "weight", "num_samples"} <= set(table)


def test_only_what_is_right_on_the_grid_can_be_chosen():
    """x/x is the function 1, but on a grid that holds 0 it has no value there: no solver could pick it."""
    grammar = Grammar(
        name="whole", variables=("x",), constants=(1,), operators=(ADD, DIVIDE), grid=Grid.regular(0, num=4)
    )
    corpus = build_corpus(grammar, 2)
    one = corpus.class_index[rank(grammar, token_matrix([parse(grammar, "1")], 3), 2)]
    tasks = tasks_of(corpus, corpus.class_id[one])
    texts = token_matrix([parse(grammar, text) for text in ("x", "x / x", "1 / 1")], 3)
    candidates = Candidates(np.zeros(3, dtype=int), np.arange(3), texts, np.zeros(3))
    evaluation = check(tasks, candidates)
    assert [STATUSES[s] for s in evaluation.status] == ["wrong function", "solved", "solved"]
    assert evaluation.on_grid.tolist() == [False, False, True]
    assert STATUSES[evaluation.submitted()[0]] == "solved"
    fewer = check(tasks, candidates.take(np.arange(2)))
    assert STATUSES[fewer.submitted()[0]] == "wrong function" and fewer.num_correct().tolist() == [1]
