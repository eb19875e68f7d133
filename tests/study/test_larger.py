"""Drawn tasks against listed universes: every function once, beyond the library, with a value at every point."""

from collections import Counter
from fractions import Fraction

import brute
import naive
import numpy as np
import pytest
from languages import UNARY, functions, listed
from scipy import stats

from synthlab.assessment.correctness import ON_GRID, SOLVED, STATUSES, TOO_LONG, WRONG, check
from synthlab.assessment.tasks import Candidates
from synthlab.errors import BudgetExceeded, ConfigurationError, GrammarError, SynthlabError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.identity import fingerprints, probe_points
from synthlab.language.operator import ADD, DIVIDE, MINIMUM, MULTIPLY, SUBTRACT, Operator
from synthlab.language.program import Program, infix_texts, parse, token_matrix
from synthlab.search.library import Library
from synthlab.study import larger
from synthlab.study.larger import OUTCOMES, draw_larger, larger_tasks, proven_larger

PRIME = 2**61 - 1


@pytest.fixture(scope="module")
def library3():
    return Library.build(POLYNOMIAL, 3)


@pytest.fixture(scope="module")
def library4():
    return Library.build(POLYNOMIAL, 4)


def trees(grammar, prefix):
    """Rows of a token matrix as trees."""
    arities = dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))
    return [naive.tree([grammar.tokens[t] for t in row if t != PAD], arities) for row in prefix.tolist()]


def expanded(prefix):
    """Normal form of every polynomial program."""
    return [frozenset(naive.expand(tree).items()) for tree in trees(POLYNOMIAL, prefix)]


def new_functions(grammar, size, measure="leaves"):
    """Numbers of the functions whose least program has the size, and all texts of that size with their function."""
    texts, smallest = {}, {}
    for length, text, number in functions(grammar, size, measure):
        if number is not None:
            smallest.setdefault(number, length)
        if length == size:
            texts[text] = number
    return {number for number, length in smallest.items() if length == size}, texts


def rows(prefix):
    return [tuple(t for t in row if t != PAD) for row in prefix.tolist()]


def grid_values(grammar, tree):
    return [naive.walk(tree, dict(zip("xy", p, strict=True)), naive.FRACTION_MEANINGS) for p in grammar.grid.points]


# ---------------------------------------------------------------- what becomes a task


def test_tasks_are_distinct_functions_of_texts_of_the_size_and_none_has_a_smaller_program(library4, naive4):
    tasks, prefix = larger_tasks(POLYNOMIAL, 5, 400, beyond=library4, seed=3)
    forms = expanded(prefix)
    assert len(set(forms)) == len(tasks) == 400
    smaller = naive.Polynomials()
    every = naive.universe(naive.POLYNOMIAL_ARITIES, 4, smaller)
    assert len(every) == len(naive4) and not set(forms) & set(smaller.keys)
    assert {sum(t < POLYNOMIAL.num_terminals for t in text) for text in rows(prefix)} == {5}


def test_without_a_library_smaller_functions_are_drawn_too(naive4):
    _, prefix = larger_tasks(POLYNOMIAL, 5, 400, seed=3)
    smaller = naive.Polynomials()
    naive.universe(naive.POLYNOMIAL_ARITIES, 4, smaller)
    assert 100 < sum(form in smaller.keys for form in expanded(prefix)) < 400


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(POLYNOMIAL, 3, "leaves"), (POLYNOMIAL, 5, "nodes"), (RATIONAL, 3, "leaves"), (UNARY, 5, "nodes"),
     (PIECEWISE, 3, "leaves"), (POLYNOMIAL, 2, "depth")],
    ids=str,
)  # fmt: skip
def test_all_functions_that_are_new_at_a_size_are_found_and_no_more(grammar, size, measure):
    """Nothing that can be a task is ever missed: so many tasks exist as brute force lists, and not one more."""
    new, texts = new_functions(grammar, size, measure)
    shown = {}  # functions of which some text has a value at every point
    for text in texts:
        if texts[text] in new and texts[text] not in shown:
            outputs = brute_outputs(grammar, text)
            if None not in outputs:
                shown[texts[text]] = outputs
    library = Library.build(grammar, size - 1 - (grammar is POLYNOMIAL and measure == "nodes"), measure)
    tasks, prefix = larger_tasks(grammar, size, len(shown), measure=measure, beyond=library)
    assert {texts[text] for text in rows(prefix)} == set(shown)
    assert tasks.class_leaves.tolist() == [sum(t < grammar.num_terminals for t in text) for text in rows(prefix)]
    for text, outputs in zip(rows(prefix), tasks.outputs, strict=True):
        np.testing.assert_allclose(outputs, [float(v) for v in shown[texts[text]]], rtol=1e-12, atol=1e-15)
    with pytest.raises(ConfigurationError, match=f"only {len(shown):,} of {len(shown) + 1:,} tasks among"):
        larger_tasks(grammar, size, len(shown) + 1, measure=measure, beyond=library)


def brute_outputs(grammar, text):
    """Exact outputs of a text on the grid, by recursion."""
    algebra = brute.Outputs(grammar.variables, [tuple(map(Fraction, p)) for p in grammar.grid.points])
    stack = []
    for token in reversed(text):
        name, arity = grammar.tokens[token], int(grammar.arities[token])
        operands = tuple(stack.pop() for _ in range(arity))
        if None in operands:
            return (None,)
        stack.append(algebra.apply(name, operands) if arity else algebra.leaf(name))
    return stack[0] if stack[0] is not None else (None,)


def test_outputs_and_residues_are_those_of_the_drawn_texts():
    tasks, prefix = larger_tasks(RATIONAL, 9, 200)
    for row, tree in enumerate(trees(RATIONAL, prefix)):
        exact = grid_values(RATIONAL, tree)
        np.testing.assert_allclose(tasks.outputs[row], [float(v) for v in exact], rtol=1e-9, atol=1e-9)
        residues = [v.numerator * pow(v.denominator, -1, PRIME) % PRIME for v in map(Fraction, exact)]
        assert tasks.codes[row].tolist() == residues
    tasks, prefix = larger_tasks(POLYNOMIAL, 12, 200)
    assert tasks.outputs.dtype == np.int64
    for row, tree in enumerate(trees(POLYNOMIAL, prefix)):
        assert tasks.outputs[row].tolist() == grid_values(POLYNOMIAL, tree)


def test_functions_that_are_known_do_not_occur(library3):
    new, texts = new_functions(POLYNOMIAL, 4)
    chosen = sorted(new)[::2]
    by_number = {number: text for text, number in texts.items()}
    trained = token_matrix(Program(POLYNOMIAL, by_number[number]) for number in chosen)
    known = fingerprints(POLYNOMIAL, np.concatenate([trained, trained[:5]]))
    rest = new - set(chosen)
    _, prefix = larger_tasks(POLYNOMIAL, 4, len(rest), beyond=library3, known=known)
    assert {texts[text] for text in rows(prefix)} == rest


# ---------------------------------------------------------------- what is left out, and why


def test_every_drawn_program_is_counted_under_its_first_reason(monkeypatch):
    """Hand-made draws with one program for each reason, in two batches; those behind the last task do not count."""
    library = Library.build(RATIONAL, 2)
    known = fingerprints(RATIONAL, token_matrix([parse(RATIONAL, "x * y * 2"), parse(RATIONAL, "1 / (y - y)")]))
    batches = [
        ["x * x * x + 1", "x + y + (x - x)", "y * 2 * (x * 1)", "x / (y - y + (1 - 1))"],
        ["1 + x * (x * x)", "1 / (x + x + x - 1)", "y * (y - x / y)", "x * x * x * x"],
    ]
    width = max(len(parse(RATIONAL, t).prefix) for batch in batches for t in batch)
    seeds = []

    def drawn(grammar, size, num, *, measure, seed):
        seeds.append(seed)
        return token_matrix([parse(grammar, t) for t in batches[(len(seeds) - 1) % 2]], width)

    monkeypatch.setattr(larger, "sample_programs", drawn)
    found = draw_larger(RATIONAL, 6, 2, beyond=library, known=known)
    assert infix_texts(RATIONAL, found.prefix) == ["x * x * x + 1", "y * (y - x / y)"]
    assert found.num_drawn == 7 and len(set(seeds)) == 2
    assert found.left_out == {
        "undefined": 1, "known": 1, "smaller": 1, "out of range": 0, "no value on the grid": 1, "repeated": 1
    }  # fmt: skip
    table = found.frame().set_index("outcome")
    assert tuple(table.index) == OUTCOMES and table["programs"].sum() == 7
    assert found.acceptance == table.loc["accepted", "share"] == 2 / 7
    assert table["share"].sum() == pytest.approx(1)


def within(tree, point, limit, meanings=naive.FRACTION_MEANINGS):
    """Whether all values on the way stay below a limit."""
    inside = all(within(child, point, limit, meanings) for child in tree[1:])
    return inside and abs(naive.walk(tree, point, meanings)) < limit


def test_texts_whose_values_overflow_are_left_out_and_functions_with_another_text_are_not():
    """x * x * (2 - 2) overflows on the way to 0, which 2 * 2 * (2 - 2) does not."""
    grid = Grid(((Fraction(10**10), Fraction(3)),))
    large = Grammar(name="large", variables=("x",), constants=(2,), operators=(ADD, SUBTRACT, MULTIPLY), grid=grid)
    texts = [text for text in listed(large, 4) if len(text) == 7]
    forms = [frozenset(naive.expand(tree).items()) for tree in trees(large, np.array(texts))]
    exact = [all(within(t, {"x": p[0]}, 2**60) for p in grid.points) for t in trees(large, np.array(texts))]
    possible = {form for form, fits in zip(forms, exact, strict=True) if fits}
    assert 0 < len(possible) < len(set(forms)) and possible & {f for f, e in zip(forms, exact, strict=True) if not e}
    found = draw_larger(large, 4, len(possible))
    drawn = [texts.index(text) for text in rows(found.prefix)]
    assert {forms[k] for k in drawn} == possible and all(exact[k] for k in drawn)
    share = 1 - np.mean(exact)
    assert abs(found.left_out["out of range"] / found.num_drawn - share) < 4 * np.sqrt(share / found.num_drawn)
    assert found.left_out["smaller"] == found.left_out["known"] == found.left_out["undefined"] == 0


def test_hidden_inputs_must_stay_in_range_as_well():
    """Where identity is decided on probes, x * x * x is no task if some hidden input is large."""
    far = Grammar(
        name="far", variables=("x",), constants=(2,), operators=(MINIMUM, MULTIPLY), grid=Grid.regular(0),
        hidden_domain=(-(10**7), 10**7),
    )  # fmt: skip
    numbers = {text: number for _, text, number in functions(far, 3)}
    points, meanings = probe_points(far), naive.MEANINGS
    texts = [text for text in numbers if len(text) == 5]
    possible = {
        numbers[text] for text, tree in zip(texts, trees(far, np.array(texts)), strict=True)
        if all(within(tree, {"x": p[0]}, 2**60, meanings) for p in points)
    }  # fmt: skip
    cube = tuple(far.index[t] for t in ("*", "x", "*", "x", "x"))
    assert numbers[cube] not in possible
    found = draw_larger(far, 3, len(possible))
    assert {numbers[text] for text in rows(found.prefix)} == possible and found.left_out["out of range"] > 0
    with pytest.raises(ConfigurationError, match=r"out of range, .* repeated"):
        draw_larger(far, 3, len(possible) + 1)


@pytest.mark.parametrize("good", [0, 300])
def test_operators_that_break_a_promise_are_reported_not_left_out(good, monkeypatch):
    """At once, or only among the few programs that are left when others have overflowed."""

    def broken(grammar, prefix):
        if len(prefix) > good > 0:
            raise SynthlabError("exceeds the exact range")
        if len(prefix):
            raise GrammarError("leaves the integers")
        return np.empty((0, 36))

    monkeypatch.setattr(larger, "grid_outputs", broken)
    with pytest.raises(GrammarError, match="leaves the integers"):
        draw_larger(POLYNOMIAL, 4, 5)


def test_a_value_beyond_floats_is_no_output():
    """Residues know the ninth power of x * x, which float64 cannot show."""
    giant = Operator(symbol="giant", arity=2, meaning=lambda a, b: (a * b) ** 9, commutative=True)
    huge = Grammar(
        name="huge", variables=("x",), constants=(1,), operators=(ADD, giant, DIVIDE), grid=Grid(((2**59,),))
    )  # fmt: skip
    found = draw_larger(huge, 2, 6)
    texts = {"x + x", "giant(x, x)", "x / x", "x + 1", "1 + x", "giant(x, 1)", "giant(1, x)", "x / 1", "1 / x",
             "1 + 1", "giant(1, 1)", "1 / 1"}  # fmt: skip
    assert set(infix_texts(huge, found.prefix)) < texts - {"giant(x, x)"}
    with pytest.raises(ConfigurationError, match=r"only \d of 12 tasks .*no value on the grid"):
        draw_larger(huge, 2, 12)


# ---------------------------------------------------------------- the draw


def test_the_same_seed_draws_the_same_tasks_and_fewer_are_the_first_of_more():
    many, prefix = larger_tasks(POLYNOMIAL, 7, 3000, seed=11)
    few, first = larger_tasks(POLYNOMIAL, 7, 40, seed=11)
    other, _ = larger_tasks(POLYNOMIAL, 7, 40, seed=12)
    assert (first == prefix[:40]).all()
    for name in ("outputs", "codes", "class_id", "class_leaves", "fingerprints", "weight"):
        assert (getattr(few, name) == getattr(many, name)[:40]).all(), name
    assert (other.fingerprints != few.fingerprints).any(axis=1).mean() > 0.9


def test_functions_are_drawn_in_proportion_to_the_number_of_their_texts(monkeypatch):
    monkeypatch.setattr(larger, "_FIRST_BATCH", 8)
    _, texts = new_functions(POLYNOMIAL, 2)
    expected, num = Counter(texts.values()), 1200
    counted = Counter()
    for seed in range(num):
        _, prefix = larger_tasks(POLYNOMIAL, 2, 1, seed=seed)
        counted[texts[rows(prefix)[0]]] += 1
    pairs = [(counted[n], num * e / len(texts)) for n, e in expected.items()]
    seen, wanted = map(np.array, zip(*pairs, strict=True))
    assert wanted.min() > 5 and stats.chisquare(seen, wanted).pvalue > 1e-3


def test_tasks_serve_the_checker_and_samples_of_them():
    tasks, prefix = larger_tasks(POLYNOMIAL, 8, 60)
    assert tasks.class_id.tolist() == list(range(-2, -62, -1))
    assert (tasks.max_size, tasks.measure, set(tasks.class_leaves), set(tasks.weight)) == (8, "leaves", {8}, {1})
    num = len(tasks)
    x = np.full_like(prefix, PAD)
    x[:, 0] = POLYNOMIAL.index["x"]
    padded = np.full((num, prefix.shape[1] + 2), PAD, dtype=np.uint8)
    padded[:, 0], padded[:, 1:-1], padded[:, -1] = POLYNOMIAL.index["*"], prefix, POLYNOMIAL.index["1"]
    for texts, status in ((prefix, SOLVED), (np.roll(prefix, 1, axis=0), WRONG), (x, WRONG), (padded, TOO_LONG)):
        judged = check(tasks, Candidates(np.arange(num), np.zeros(num, dtype=int), texts, np.zeros(num)))
        assert set(judged.status) == {status}, STATUSES[status]
        assert judged.frame()["class_id"].is_unique
    part = tasks.sample(20, seed=4)
    chosen = -2 - part.class_id
    assert len(set(chosen)) == 20 and (part.fingerprints == tasks.fingerprints[chosen]).all()
    answers = Candidates(np.arange(20), np.zeros(20, dtype=int), prefix[chosen], np.zeros(20))
    assert set(check(part, answers).status) == {SOLVED} and ON_GRID != SOLVED


# ---------------------------------------------------------------- what is proven


def test_only_functions_beyond_the_library_are_proven_larger(library3):
    _, texts = new_functions(POLYNOMIAL, 4)
    smallest = {}
    for size, _, number in functions(POLYNOMIAL, 4):
        smallest.setdefault(number, size)
    every = sorted(texts)
    keys = fingerprints(POLYNOMIAL, token_matrix(Program(POLYNOMIAL, t) for t in every))
    assert proven_larger(library3, keys).tolist() == [smallest[texts[text]] > 3 for text in every]
    undefined = np.full((1, 2), PRIME, dtype=np.uint64)
    assert proven_larger(library3, np.concatenate([undefined, keys[-1:]])).tolist() == [
        False,
        smallest[texts[every[-1]]] > 3,
    ]
    assert proven_larger(library3, keys[:0]).tolist() == []


def test_what_cannot_be_drawn_is_refused(library3):
    with pytest.raises(BudgetExceeded, match="proven up to 37 leaves, not 38"):
        larger_tasks(POLYNOMIAL, 38, 5)
    with pytest.raises(ConfigurationError, match="holds every function up to 3 leaves: draw tasks of a larger size"):
        larger_tasks(POLYNOMIAL, 3, 5, beyond=library3)
    with pytest.raises(ConfigurationError, match="'polynomial' by leaves says nothing of 'rational' by leaves"):
        larger_tasks(RATIONAL, 5, 5, beyond=library3)
    with pytest.raises(ConfigurationError, match="says nothing of 'polynomial' by nodes: build one of the same"):
        larger_tasks(POLYNOMIAL, 7, 5, beyond=library3, measure="nodes")
    for num, seed in ((0, 0), (5, -1)):
        with pytest.raises(ConfigurationError, match=f"{num} tasks with seed {seed}: ask for one or more"):
            larger_tasks(POLYNOMIAL, 5, num, seed=seed)
    for known in (np.zeros(4, dtype=np.uint64), np.zeros((3, 3), dtype=np.uint64), np.zeros((3, 2))):
        with pytest.raises(ConfigurationError, match=r"known functions are fingerprints, uint64 \(K, 2\), not"):
            larger_tasks(POLYNOMIAL, 5, 5, known=known)
    with pytest.raises(ConfigurationError, match="no program of exactly 4 nodes"):
        larger_tasks(POLYNOMIAL, 4, 5, measure="nodes")
