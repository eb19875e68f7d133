"""The ceiling against dictionaries of exact outputs, planted collisions, and a solver that reaches it."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from synthlab.assessment import ceiling as module
from synthlab.assessment.ceiling import ceiling
from synthlab.assessment.tasks import tasks_by_part, tasks_of
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.grammar import Grammar, Grid
from synthlab.language.interpreter import UNDEFINED, evaluate_exact
from synthlab.language.operator import ADD, DIVIDE, MAXIMUM, MULTIPLY, SUBTRACT
from synthlab.universe.corpus import build_corpus

COARSE = Grid(((0, 1), (0, 2)))
"""So few inputs that many functions look alike on them."""
GRAMMARS = {
    "polynomial": Grammar(
        name="coarse", variables=("x", "y"), constants=(1,), operators=(ADD, SUBTRACT, MULTIPLY), grid=COARSE
    ),
    "rational": Grammar(name="poles", variables=("x", "y"), constants=(1,), operators=(SUBTRACT, DIVIDE), grid=COARSE),
    "probes": Grammar(name="steps", variables=("x", "y"), constants=(1,), operators=(SUBTRACT, MAXIMUM), grid=COARSE),
}


@pytest.fixture(scope="module", params=GRAMMARS)
def coarse(request):
    return build_corpus(GRAMMARS[request.param], 4)


def exact_outputs(corpus, class_id):
    program, grammar = corpus.program(int(class_id)), corpus.grammar
    return tuple(evaluate_exact(program, dict(zip("xy", p, strict=True))) for p in grammar.grid.points)


def all_outputs(corpus):
    """Exact outputs of every function without a pole on the grid, by class id."""
    found = {int(c): exact_outputs(corpus, c) for c in corpus.class_id}
    return {c: outputs for c, outputs in found.items() if UNDEFINED not in outputs}


def every_third(corpus):
    ids = corpus.class_id[corpus.is_task]
    return {"id": tasks_of(corpus, ids[::3]), "forced": tasks_of(corpus, ids[1:9])}


def signs(outputs):
    """An encoder that sees little; its zeros are of either sign."""
    return np.where(outputs == 0, -0.0, np.sign(outputs)).astype(np.float32)


# ---------------------------------------------------------------- counts


def test_functions_of_one_grid_are_counted(coarse):
    outputs = all_outputs(coarse)
    assert 1 < len(set(outputs.values())) < len(outputs)
    num = Counter(outputs.values())
    tasks = every_third(coarse)
    table = ceiling(coarse, tasks).set_index("part")
    assert list(table) == ["num_tasks", "ambiguous_on_grid", "best_possible"]
    for part, asked in tasks.items():
        shared = [num[outputs[c]] for c in asked.class_id.tolist()]
        assert table.loc[part, "num_tasks"] == len(shared)
        assert table.loc[part, "ambiguous_on_grid"] == sum(k > 1 for k in shared)
        assert table.loc[part, "best_possible"] == pytest.approx(np.mean([1 / k for k in shared]))


def test_functions_of_one_encoded_input_are_counted(coarse):
    outputs, alike = all_outputs(coarse), defaultdict(list)
    for values in outputs.values():
        alike[tuple(np.sign(float(v)) for v in values)].append(values)
    tasks = every_third(coarse)
    table = ceiling(coarse, tasks, signs).set_index("part")
    for part, asked in tasks.items():
        groups = [alike[tuple(np.sign(float(v)) for v in outputs[c])] for c in asked.class_id.tolist()]
        assert table.loc[part, "encoder_collisions"] == sum(len(set(group)) > 1 for group in groups)
        assert table.loc[part, "best_possible"] == pytest.approx(np.mean([1 / len(group) for group in groups]))
    plain = ceiling(coarse, tasks).set_index("part")
    assert (table["ambiguous_on_grid"] == plain["ambiguous_on_grid"]).all()
    assert (table["best_possible"] <= plain["best_possible"]).all()


def test_the_solver_that_answers_one_of_the_functions_reaches_the_bound(coarse):
    """Over all functions, each as likely, it solves one per input; and no deterministic solver solves more."""
    tasks = {"all": tasks_of(coarse, coarse.class_id[coarse.is_task])}
    num_inputs = len(set(all_outputs(coarse).values()))
    assert ceiling(coarse, tasks)["best_possible"][0] == pytest.approx(num_inputs / len(tasks["all"]))


def test_poles_are_no_tasks_and_share_no_input(coarse):
    assert len(all_outputs(coarse)) == coarse.is_task.sum()
    if coarse.grammar.name == "poles":
        assert not coarse.is_task.all()


def test_the_size_of_blocks_decides_nothing(coarse, monkeypatch):
    tasks = every_third(coarse)
    whole = ceiling(coarse, tasks, signs)
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 5)
    assert ceiling(coarse, tasks, signs).equals(whole)


def test_the_full_grid_tells_all_small_functions_apart(corpus3, split3):
    table = ceiling(corpus3, tasks_by_part(corpus3, split3), lambda outputs: outputs.astype(np.float32))
    assert table["ambiguous_on_grid"].eq(0).all() and table["encoder_collisions"].eq(0).all()
    assert table["best_possible"].eq(1).all()
    assert dict(zip(table["part"], table["num_tasks"])) == {p: len(set(i)) for p, i in split3.tests.items() if len(i)}


# ---------------------------------------------------------------- planted collisions


def planted(corpus, first, second, values):
    """An encoder that tells all functions apart but two, which get the given features."""
    outputs = {corpus.outputs[row].astype(float).tobytes(): v for row, v in zip((first, second), values, strict=True)}

    def encoded(block):
        rows = [outputs.get(row.tobytes()) for row in block]
        return np.stack([row if v is None else np.full(len(row), v) for row, v in zip(block, rows)]).astype(np.float32)

    return encoded


@pytest.mark.parametrize(
    ("values", "alike"), [((0.0, -0.0), True), ((np.nan, -np.nan), True), ((0.5, 0.5), True), ((0.5, 0.25), False)]
)
def test_two_functions_of_one_input_are_found(corpus3, values, alike):
    ids = corpus3.class_id[[20, 30, 40]]
    tasks = {"some": tasks_of(corpus3, ids), "none": tasks_of(corpus3, ids[1:2])}
    # no other function has these features: none is 0, 1/2 or missing everywhere
    zero = np.flatnonzero((corpus3.outputs == 0).all(axis=1))
    table = ceiling(corpus3, tasks, planted(corpus3, 20, 40, values)).set_index("part")
    num_alike = 2 + (values[0] == 0) * len(zero) if alike else 1
    assert table["encoder_collisions"].tolist() == [2 if alike else 0, 0]
    assert table["best_possible"].tolist() == pytest.approx([(2 / num_alike + 1) / 3, 1])


def test_a_task_counts_as_often_as_it_was_drawn(corpus3):
    tasks = tasks_of(corpus3, corpus3.class_id[[20, 20, 20, 30]])
    table = ceiling(corpus3, {"id": tasks}, planted(corpus3, 20, 40, (0.5, 0.5)))
    assert table["num_tasks"][0] == 2 and table["best_possible"][0] == pytest.approx((3 / 2 + 1) / 4)


def test_a_part_without_tasks_has_no_ceiling(corpus3):
    none = tasks_of(corpus3, corpus3.class_id[:2]).take(slice(0, 0))
    table = ceiling(corpus3, {"id": none})
    assert table["num_tasks"][0] == 0 and np.isnan(table["best_possible"][0])


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("encoded", [lambda o: o, lambda o: o.astype(np.float32)[:, 0], lambda o: signs(o)[:-1]])
def test_an_encoder_that_gives_no_float32_matrix_is_refused(corpus3, split3, encoded):
    with pytest.raises(ConfigurationError, match="return a float32 matrix of one row each"):
        ceiling(corpus3, tasks_by_part(corpus3, split3), encoded)


def test_tasks_of_another_corpus_are_refused(corpus3, corpus4):
    with pytest.raises(ArtifactError, match="another corpus"):
        ceiling(corpus3, {"id": tasks_of(corpus4, corpus4.class_id[-3:])})
    tasks = tasks_of(corpus3, corpus3.class_id[:2])
    with pytest.raises(ArtifactError, match="another corpus"):
        ceiling(corpus3, {"id": replace(tasks, fingerprints=tasks.fingerprints[::-1])})
