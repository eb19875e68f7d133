"""A task shows the outputs of a function and nothing of its text; candidates are read as text without trust."""

from collections import defaultdict
from dataclasses import fields, replace
from fractions import Fraction

import naive
import numpy as np
import pytest

from synthlab.assessment.tasks import Candidates, Tasks, tasks_by_part, tasks_of
from synthlab.errors import ArtifactError, SplitError
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.universe.corpus import build_corpus

PRIME = 2**61 - 1


def naive_outputs(grammar, arities, row):
    """Exact outputs on the grid, by walking the tree with fractions."""
    tree = naive.tree([grammar.tokens[t] for t in row if t != PAD], arities)
    return [naive.walk(tree, dict(zip("xy", p, strict=True)), naive.FRACTION_MEANINGS) for p in grammar.grid.points]


def test_outputs_are_those_of_every_text_of_the_class(corpus3):
    tasks = tasks_of(corpus3, corpus3.class_id)
    for program in range(0, corpus3.num_programs, 7):
        row = corpus3.class_index[program]
        expected = naive_outputs(POLYNOMIAL, naive.POLYNOMIAL_ARITIES, corpus3.prefix[program])
        assert tasks.outputs[row].tolist() == expected
        assert [int(r) for r in tasks.codes[row]] == [int(v) % PRIME for v in expected]


def test_rational_outputs_are_rounded_and_their_residues_exact(rational3):
    tasks = tasks_of(rational3, rational3.class_id)
    for row in range(0, len(tasks), 5):
        expected = naive_outputs(RATIONAL, naive.RATIONAL_ARITIES, rational3.prefix[tasks.class_id[row]])
        np.testing.assert_allclose(tasks.outputs[row], [float(v) for v in expected], rtol=1e-12, atol=1e-15)
        exact = [v.numerator * pow(v.denominator, -1, PRIME) % PRIME for v in map(Fraction, expected)]
        assert [int(r) for r in tasks.codes[row]] == exact


def test_what_a_solver_sees_is_decided_by_the_function_alone(corpus4):
    """Two classes of one grid would be one question; every class is asked once, whatever its texts."""
    tasks = tasks_of(corpus4, corpus4.class_id)
    asked = defaultdict(list)
    for row in range(len(tasks)):
        asked[tasks.codes[row].tobytes()].append(row)
    assert len(asked) == len(tasks) == 2217
    assert {f.name for f in fields(Tasks)} == {
        "grammar", "max_size", "measure", "seed", "outputs", "codes", "class_id", "class_leaves", "fingerprints",
        "weight",
    }  # fmt: skip


def test_repeated_classes_become_one_task_of_their_weight(corpus3):
    first, second, third = corpus3.class_id[[40, 7, 99]]
    tasks = tasks_of(corpus3, np.array([first, second, first, third, first, second]))
    assert tasks.class_id.tolist() == sorted([first, second, third])
    assert dict(zip(tasks.class_id.tolist(), tasks.weight.tolist(), strict=True)) == {first: 3, second: 2, third: 1}
    table = tasks.frame()
    assert table["leaves"].tolist() == corpus3.leaves[tasks.class_id].tolist()
    assert (table["class_id"].tolist(), table["weight"].sum()) == (tasks.class_id.tolist(), 6)


def test_taking_tasks_takes_every_field_alike(corpus3):
    tasks = tasks_of(corpus3, corpus3.class_id)
    rows = np.array([5, 200, 17])
    part = tasks.take(rows)
    alone = [tasks_of(corpus3, tasks.class_id[[row]]) for row in rows]
    for name in ("outputs", "codes", "class_id", "class_leaves", "fingerprints", "weight"):
        assert np.array_equal(getattr(part, name), np.concatenate([getattr(one, name) for one in alone])), name
    assert (part.grammar, part.max_size, part.seed) == (tasks.grammar, 3, tasks.seed)
    assert len(tasks.take(slice(None, None, 100))) == 3


def test_a_class_with_a_pole_on_the_grid_is_no_task():
    corpus = build_corpus(RATIONAL, 4)
    poles = corpus.class_id[~corpus.is_task]
    assert len(poles) == 9
    with pytest.raises(SplitError, match="2 classes have a pole on the grid: draw the split again"):
        tasks_of(corpus, np.append(poles[:2], corpus.class_id[:3]))


def test_ids_of_no_class_are_refused(corpus3):
    with pytest.raises(ArtifactError, match="another corpus"):
        tasks_of(corpus3, np.array([corpus3.num_programs + 5]))
    other_text = np.setdiff1d(np.arange(corpus3.num_programs), corpus3.class_id)[0]
    with pytest.raises(ArtifactError, match="another corpus"):
        tasks_of(corpus3, np.array([other_text]))


def test_parts_are_the_test_sets_that_hold_something(corpus3, split3):
    split = replace(split3, tests={**split3.tests, "nothing": np.empty(0, dtype=np.int64)})
    parts = tasks_by_part(corpus3, split)
    assert set(parts) == set(split3.tests)
    for name, tasks in parts.items():
        assert sorted(tasks.class_id.tolist()) == sorted(split3.tests[name].tolist())


def test_candidates_read_as_text_and_ungrammatical_ones_as_tokens():
    x, one, plus, times = (POLYNOMIAL.index[t] for t in ("x", "1", "+", "*"))
    rows = [[times, x, plus, x, one], [plus, x, PAD, PAD, PAD], [x, plus, plus, PAD, PAD], [plus, 200, x, x, PAD]]
    candidates = Candidates(
        np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array(rows, dtype=np.uint8), np.log([0.5, 0.1, 0.2, 0.3])
    )
    table = candidates.frame(POLYNOMIAL)
    assert table["program"].tolist() == ["x * (x + 1)", "+ x", "x", "+ ? x x"]
    assert (table["task"].tolist(), table["rank"].tolist()) == ([0, 0, 1, 1], [0, 1, 0, 1])
    assert len(candidates) == 4 and np.exp(table["log_probability"]).tolist() == pytest.approx([0.5, 0.1, 0.2, 0.3])
