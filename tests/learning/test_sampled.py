"""Training on drawn programs: what is left out, what is refused, and runs that are kept and gone on with."""

import signal
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from learning.runs import checkpoints, spy

from synthlab.assessment.tasks import tasks_of
from synthlab.errors import BudgetExceeded, ConfigurationError, SplitError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar
from synthlab.language.identity import fingerprints
from synthlab.language.interpreter import UNDEFINED, evaluate_exact, grid_outputs
from synthlab.language.measure import sizes_of
from synthlab.language.operator import ADD, MULTIPLY
from synthlab.language.program import Program, parse, prefix_lengths, token_matrix
from synthlab.learning.networks import Synthesizer
from synthlab.learning.run import Run
from synthlab.learning.sampled import audit_sample, in_range, sample_key, train_on_samples, trainable
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.store import Store
from synthlab.study.larger import larger_tasks, tasks_of_texts
from synthlab.study.proposers import ModelProposer
from synthlab.universe.sampling import PCFG, sample_programs

MODEL = ModelConfig(width=16, layers=1, room=2)
SHORT = TrainingConfig(num_steps=40, batch_size=32, learning_rate=4e-3, num_checks=2)


@pytest.fixture(scope="module")
def drawn():
    """Programs of up to eight leaves."""
    return PCFG(POLYNOMIAL, (0.125,) * 8).sample(1000, 8, seed=3)


@pytest.fixture(scope="module")
def larger(drawn):
    """Twelve functions of ten leaves that are not among them, and their texts."""
    return larger_tasks(POLYNOMIAL, 10, 12, known=fingerprints(POLYNOMIAL, drawn))


@pytest.fixture(scope="module")
def run_on(drawn, larger):
    """Train with defaults that a test may replace."""
    tasks, texts = larger

    def call(folder, prefix=drawn, grammar=POLYNOMIAL, **changes):
        settings = dict(
            max_size=8, model_config=MODEL, training=SHORT, tests={"larger": tasks}, texts={"larger": texts},
            store=Store(folder), progress=False,
        )  # fmt: skip
        return train_on_samples(grammar, prefix, **(settings | changes))

    return call


@pytest.fixture(scope="module")
def uninterrupted(run_on, tmp_path_factory):
    return run_on(tmp_path_factory.mktemp("whole"))


def matrix(grammar, *texts):
    return token_matrix([parse(grammar, text) for text in texts])


# ---------------------------------------------------------------- the run


def test_a_sampled_run_learns_and_says_what_of(uninterrupted, drawn, larger):
    run, history = uninterrupted, uninterrupted.history
    losses = history[history["name"] == "loss"]["value"]
    assert run.finished and losses.iloc[-1] < 0.85 * losses.iloc[0]
    assert history[history["name"] == "larger"]["step"].tolist() == [20, 40]
    assert run.corpus == {
        "grammar": "polynomial", "digest": POLYNOMIAL.digest, "max_size": 8, "measure": "leaves",
        "seed": larger[0].seed,
    }  # fmt: skip
    assert run.split_key == sample_key(drawn, {"larger": larger[0]})
    assert run.cost["programs"] == 1000 and run.cost["samples"] == 40 * 32
    assert set(run.answers["class_id"]) <= set(larger[0].class_id.tolist())


def test_its_model_writes_programs_beyond_the_bound_of_training(uninterrupted, larger):
    assert uninterrupted.model().max_size == 10
    found = ModelProposer(uninterrupted, how="samples", temperature=4.0, max_size=10).propose(larger[0].outputs, 30)
    texts = found.prefix.reshape(360, -1)
    assert (prefix_lengths(POLYNOMIAL, texts) > 0).all() and sizes_of(POLYNOMIAL, texts).max() == 10
    usual = ModelProposer(uninterrupted, how="samples", temperature=4.0).propose(larger[0].outputs, 30)
    assert sizes_of(POLYNOMIAL, usual.prefix.reshape(360, -1)).max() == 8


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL])
def test_every_item_shows_the_outputs_of_the_text_that_it_teaches(grammar):
    drawn = sample_programs(grammar, 4, 400, seed=1)
    sample = trainable(grammar, drawn)
    data = sample.data(Synthesizer(MODEL, grammar, 6))
    shown = data.outputs[data.rows.long()].numpy()
    assert np.allclose(shown, grid_outputs(grammar, sample.prefix), rtol=1e-12, atol=1e-12)
    assert len(data) == len(sample.prefix) and len(data.outputs) == len(np.unique(sample.fingerprints, axis=0))
    assert np.array_equal(data.texts.numpy()[:, : drawn.shape[1]], sample.prefix)
    assert data.texts.shape[1] == 15 and (data.texts[:, drawn.shape[1] :] == PAD).all()


# ---------------------------------------------------------------- what is left out


def fate(grammar, row):
    """What becomes of a program, by exact fractions at every point of the grid and at some others."""
    program = Program.from_row(grammar, row)
    points = [dict(zip(grammar.variables, point)) for point in grammar.grid.points]
    others = [dict(zip(grammar.variables, (Fraction(k, 89), Fraction(7 * k, 97)))) for k in range(5, 25)]
    if all(evaluate_exact(program, point) is UNDEFINED for point in others):
        return "undefined"
    values = [evaluate_exact(program, point) for point in points]
    if UNDEFINED in values:
        return "no value on the grid"
    return "out of range" if float(max(map(abs, values))) > 1e18 else "kept"


def test_programs_without_a_value_are_left_out_and_counted():
    drawn = sample_programs(RATIONAL, 6, 700, seed=6)
    expected = [fate(RATIONAL, row) for row in drawn]
    sample = trainable(RATIONAL, drawn)
    assert sample.left_out == {n: expected.count(n) for n in ("out of range", "undefined", "no value on the grid")}
    assert sample.left_out["undefined"] > 0 and sample.left_out["no value on the grid"] > 0
    assert np.array_equal(sample.prefix, drawn[[word == "kept" for word in expected]])
    assert np.array_equal(sample.fingerprints, fingerprints(RATIONAL, sample.prefix))


def test_values_that_no_encoding_shows_are_left_out_one_by_one():
    huge = Grammar(name="huge", variables=("x", "y"), constants=(10**6,), operators=(ADD, MULTIPLY))
    drawn = sample_programs(huge, 5, 300, seed=2)
    expected = [fate(huge, row) for row in drawn]
    sample = trainable(huge, drawn)
    assert 0 < expected.count("out of range") == sample.left_out["out of range"] < 150
    assert np.array_equal(sample.prefix, drawn[[word == "kept" for word in expected]])
    just, beyond = "1000000 * 1000000 * 1000000", "1000000 * 1000000 * 1000000 + 1000000"
    edge = trainable(huge, matrix(huge, just, beyond))
    assert len(edge.prefix) == 1 and Program.from_row(huge, edge.prefix[0]).infix_text() == just


def test_halving_finds_exactly_the_rows_that_fail():
    bad, sizes = {3, 4, 17}, []

    def compute(rows):
        sizes.append(len(rows))
        if bad & set(rows[:, 0].tolist()):
            raise ConfigurationError("too large")
        return rows[:, 0] * 2

    rows, values = in_range(compute, np.arange(20)[:, None])
    assert rows.tolist() == [k for k in range(20) if k not in bad] and values.tolist() == (2 * rows).tolist()
    assert max(sizes) == 20


# ---------------------------------------------------------------- leaks


def test_a_planted_function_is_refused_before_anything_is_trained(run_on, drawn, larger, tmp_path, monkeypatch):
    seen = spy(monkeypatch)
    texts = matrix(POLYNOMIAL, "x * x * y * y - 3 * x * 2", "x * x * x * x * x * x - 3", "(x + y) * y * (y - 2)")
    tasks = tasks_of_texts(POLYNOMIAL, texts, 8)
    planted = drawn.copy()
    planted[500] = matrix(POLYNOMIAL, "y * ((x + y) * y - 2 * (x + y))", "x * x * x * x * x * x * x * x")[0]
    with pytest.raises(SplitError, match=r"the split leaks - larger function in training: 1 .*on hidden inputs"):
        run_on(tmp_path, planted, tests={"larger": tasks}, texts={"larger": texts})
    assert seen == [] and not any(p.is_file() for p in tmp_path.rglob("*"))
    assert audit_sample(trainable(POLYNOMIAL, drawn), {"larger": tasks}, {"larger": texts}).passed


def test_values_on_hidden_inputs_betray_what_fingerprints_would_not(run_on, corpus4, drawn, tmp_path):
    known = set(map(tuple, fingerprints(POLYNOMIAL, drawn).tolist()))
    unknown = np.array([tuple(keys) not in known for keys in corpus4.fingerprints.tolist()])
    apart = tasks_of(corpus4, corpus4.class_id[unknown & corpus4.is_task][-8:])
    text = corpus4.prefix[apart.class_id[5]]
    planted = np.concatenate([np.pad(text, (0, 8), constant_values=PAD)[None], drawn])
    blind = replace(apart, fingerprints=apart.fingerprints + np.uint64(1))
    infix = Program.from_row(POLYNOMIAL, text).infix_text()
    with pytest.raises(SplitError) as raised:
        run_on(tmp_path, planted, tests={"id": blind})
    assert str(raised.value) == (
        f"the split leaks - id function on hidden inputs in training: 1 ({infix}) - draw it again"
    )


def test_only_what_is_equal_on_probes_leaks_where_identity_is_no_proof():
    train = matrix(PIECEWISE, "min(x, y) + 1", "x * 2", "max(x, x * x)", "x - x")
    tests, counts = matrix(PIECEWISE, "1 + min(y, x)", "x + x + y", "max(x, y)"), []
    sample = trainable(PIECEWISE, train)
    for texts in (tests[:1], tests[1:]):
        tasks = tasks_of_texts(PIECEWISE, texts, 4)
        counts.append([num for _, num, _ in audit_sample(sample, {"t": tasks}, {"t": texts}).findings])
    assert counts == [[1, 1], [0, 0]]


# ---------------------------------------------------------------- kept and gone on with


def test_a_finished_run_is_loaded(run_on, uninterrupted, drawn, tmp_path, monkeypatch):
    first = run_on(tmp_path)
    assert first.weights == uninterrupted.weights and first.key == uninterrupted.key
    assert checkpoints(tmp_path) == [] and Store(tmp_path).has(Run.stage, first.key)
    seen = spy(monkeypatch)
    wider = np.pad(drawn, ((0, 0), (0, 5)), constant_values=PAD)
    again = run_on(tmp_path, wider)
    assert seen == [] and again.weights == first.weights and again.cost == first.cost
    assert again.history.equals(first.history)


def test_other_texts_another_order_or_other_tests_make_another_run(drawn, larger):
    tasks = larger[0]
    keys = [
        sample_key(drawn, {"larger": tasks}), sample_key(drawn[::-1], {"larger": tasks}),
        sample_key(drawn[1:], {"larger": tasks}), sample_key(drawn, {"open": tasks}),
        sample_key(drawn, {"larger": tasks.take(slice(1, None))}), sample_key(drawn, {}),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert sample_key(drawn.copy(), {"larger": tasks.take(slice(None))}) == keys[0]


@pytest.mark.parametrize("step", [7, 23])
def test_an_interrupted_run_is_not_stored_and_goes_on_bitwise(run_on, uninterrupted, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        spy(patch, at=step, do=lambda: signal.raise_signal(signal.SIGINT))
        first = run_on(tmp_path)
    assert first.steps_done == step and not Store(tmp_path).has(Run.stage, first.key) and checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        seen = spy(patch)
        whole = run_on(tmp_path)
    assert len(seen) == 40 - step and whole.weights == uninterrupted.weights
    assert whole.history.equals(uninterrupted.history) and checkpoints(tmp_path) == []


# ---------------------------------------------------------------- refusals


def test_what_cannot_be_trained_on_is_refused(run_on, drawn, larger, tmp_path):
    tasks, texts = larger
    open_ended = drawn.copy()
    open_ended[4, 0] = POLYNOMIAL.index["+"]
    refused = [
        (dict(prefix=open_ended), ConfigurationError, "1 of 1,000 rows are no programs"),
        (dict(max_size=7, tests={}), ConfigurationError, "training programs exceed 7 leaves: raise max_size"),
        (dict(model_config=replace(MODEL, room=1)), ConfigurationError, "'larger' allow 10 leaves, the model 8 \\+ 1"),
        (dict(texts={}), ConfigurationError, "'larger' belong to no enumerated universe: give their texts"),
        (dict(texts={"larger": texts[::-1]}), ConfigurationError, "compute other functions"),
        (dict(texts={"larger": texts[1:]}), ConfigurationError, "give one text per task"),
        (dict(tests={"larger": replace(tasks, measure="nodes")}), ConfigurationError, "of another grammar, measure"),
        (dict(tests={"a": tasks, "b": replace(tasks, seed=1)}), ConfigurationError, "or fingerprint seed"),
        (dict(prefix=drawn[:0]), SplitError, "none of 0 programs can be trained on"),
        (dict(max_size=500), BudgetExceeded, "exact identity of 'polynomial' is proven up to"),
    ]
    for changes, error, message in refused:
        with pytest.raises(error, match=message):
            run_on(tmp_path, **changes)
    with pytest.raises(ConfigurationError, match="of another grammar"):
        run_on(tmp_path, sample_programs(RATIONAL, 3, 10), grammar=RATIONAL)
    with pytest.raises(SplitError, match=r"none of 2 programs .*'undefined': 1, 'no value on the grid': 1"):
        run_on(tmp_path, matrix(RATIONAL, "1 / (x - x)", "1 / (x * (1 + 2) - 1)"), grammar=RATIONAL, tests={})
    assert not any(p.is_file() for p in tmp_path.rglob("*"))
