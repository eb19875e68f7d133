"""Programs come in the order of their cost, none within the bound is missed, and budgets are kept."""

import functools
import itertools
import math
from fractions import Fraction

import brute
import naive
import numpy as np
import pytest
from languages import (
    AVERAGE,
    BOUNDS,
    CHOICES,
    FLOORED,
    HALVES,
    MIXED,
    MULADD,
    REVERSED,
    STRANGE,
    TERNARY,
    UNARY,
    arities,
    label,
)

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import ADD, DIVIDE, MULTIPLY, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar
from synthlab.language.identity import fingerprints, grid_codes, identity_algebra
from synthlab.language.interpreter import grid_outputs
from synthlab.language.program import parse, token_matrix
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.search import best_first, operands
from synthlab.search.best_first import BestFirst, Enumeration, token_costs
from synthlab.search.budget import Budget, Meter
from synthlab.search.operands import Operands, SmallestSizes
from synthlab.search.problem import COMPLETE, FOUND, INTERRUPTED, SPENT, Problem
from synthlab.universe.enumeration import enumerate_functions
from synthlab.universe.sampling import PCFG, sample_programs

AMPLE = Budget(seconds=600.0)
UNIVERSES = [
    (POLYNOMIAL, 3, "leaves"),
    (POLYNOMIAL, 5, "nodes"),
    (POLYNOMIAL, 1, "depth"),
    (RATIONAL, 3, "leaves"),
    (RATIONAL, 1, "depth"),
    (PIECEWISE, 3, "leaves"),
    (UNARY, 5, "nodes"),
    (UNARY, 2, "depth"),
    (TERNARY, 5, "leaves"),
    (MIXED, 5, "leaves"),
    (MULADD, 6, "nodes"),
    (AVERAGE, 3, "leaves"),
    (FLOORED, 3, "leaves"),
    (BOUNDS, 5, "nodes"),
    (REVERSED, 3, "leaves"),
    (STRANGE, 3, "leaves"),
    (HALVES, 3, "leaves"),
    (CHOICES, 4, "leaves"),
]
by_universe = pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES, ids=label)


def random_pcfg(grammar, seed):
    """Probabilities that differ by orders of magnitude, so that cheap programs are often the larger ones.

    With an even seed the first variable has nearly all the weight, and costs 1.
    """
    weights = np.exp(np.random.default_rng(seed).uniform(0, 5, size=len(grammar.tokens)))
    weights[0] = 20 * weights.sum() if seed % 2 == 0 else weights[0]
    return PCFG(grammar, tuple(weights / weights.sum()))


def uniform_pcfg(grammar):
    return PCFG.of(grammar, {})


def cost_of(pcfg, text):
    return sum(max(1, round(-10 * math.log(pcfg.probabilities[token]))) for token in text)


class FractionOutputs(brute.Outputs):
    """Outputs of quotients are exact too."""

    def leaf(self, token):
        return tuple(map(Fraction, super().leaf(token)))


@functools.cache
def on_grid(grammar, size, measure):
    """Text to number of its outputs on the grid, None where there are none at all; and text to size."""
    algebra = FractionOutputs(grammar.variables, grammar.grid.points)
    programs = brute.universe(arities(grammar), size, measure, algebra)
    return {text: number for _, text, number in programs}, {text: own for own, text, _ in programs}


def enumerated(pcfg, size, measure="leaves", room=1 << 14):
    """(cost, text) of everything that is new, in order, and the number of candidates."""
    enumeration, found, executed = Enumeration(pcfg, size, measure), [], 0
    for block in enumeration.blocks(lambda: room):
        assert 0 < len(block.tokens) <= room
        executed += len(block.tokens)
        for k in block.fresh:
            program = enumeration.known.program(int(block.tokens[k]), block.operands[k])
            found.append((block.cost, program.prefix))
    return found, executed


# ---------------------------------------------------------------- what is tried, and in which order


@pytest.mark.parametrize("seed", [0, 1, 2])
@by_universe
def test_every_function_is_first_found_at_the_cost_of_its_cheapest_program(grammar, size, measure, seed):
    pcfg = random_pcfg(grammar, seed)
    numbers, _ = on_grid(grammar, size, measure)
    cheapest = {}
    for text, number in numbers.items():
        if number is not None:
            cheapest[number] = min(cheapest.get(number, math.inf), cost_of(pcfg, text))
    found, _ = enumerated(pcfg, size, measure)
    assert all(cost == cost_of(pcfg, text) for cost, text in found)
    assert found == sorted(found, key=lambda entry: entry[0])
    first = {}
    for cost, text in found:
        first.setdefault(numbers[text], cost)  # a text beyond the bound would be missing here
    assert first == cheapest


@by_universe
def test_a_known_function_is_kept_again_only_by_a_smaller_program(grammar, size, measure):
    numbers, sizes = on_grid(grammar, size, measure)
    found, _ = enumerated(random_pcfg(grammar, 3), size, measure)
    if grammar.exact:  # equal on the grid is less than equal
        texts = [text for _, text in found]
        prints = fingerprints(grammar, token_matrix([program(grammar, t) for t in texts]))
        names = [(tuple(p), numbers[t]) for p, t in zip(prints.tolist(), texts, strict=True)]
    else:
        names = [numbers[text] for _, text in found]
    least = {}
    for name, (_, text) in zip(names, found, strict=True):
        assert sizes[text] < least.get(name, math.inf)
        least[name] = sizes[text]


def program(grammar, text):
    return parse(grammar, " ".join(grammar.tokens[t] for t in text))


@by_universe
def test_every_combination_of_kept_programs_is_tried_once(grammar, size, measure):
    pcfg = random_pcfg(grammar, 4)
    found, executed = enumerated(pcfg, size, measure)
    _, sizes = on_grid(grammar, size, measure)
    counts = {}  # kept programs by size
    for _, text in found:
        counts[sizes[text]] = counts.get(sizes[text], 0) + 1
    expected = grammar.num_terminals
    for operator in grammar.operators:
        for choice in itertools.product(counts, repeat=operator.arity):
            own = 1 + max(choice) if measure == "depth" else sum(choice) + (measure == "nodes")
            if own <= size:
                ordered = not operator.commutative or choice[0] != choice[1]
                pairs = math.prod(counts[s] for s in choice) if ordered else math.comb(counts[choice[0]] + 1, 2)
                expected += pairs if not operator.commutative or choice[0] <= choice[1] else 0
    assert executed == expected


@pytest.mark.parametrize(("grammar", "size"), [(POLYNOMIAL, 7), (RATIONAL, 5), (UNARY, 6), (MULADD, 7)], ids=label)
def test_equal_probabilities_enumerate_by_nodes(grammar, size):
    pcfg = uniform_pcfg(grammar)
    found, _ = enumerated(pcfg, size, "nodes")
    table = enumerate_functions(grammar, identity_algebra(grammar), size, "nodes")
    unit = int(token_costs(pcfg)[0])
    prints = fingerprints(grammar, token_matrix([program(grammar, text) for _, text in found]))
    for level in range(1, size + 1):
        rows = [k for k, (cost, _) in enumerate(found) if cost <= level * unit]
        expected = {tuple(key) for key in table.keys[table.sizes <= level].tolist()}
        assert {tuple(key) for key in prints[rows].tolist()} == expected


@pytest.mark.parametrize("room", [1, 7, 100])
@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(POLYNOMIAL, 3, "leaves"), (MIXED, 5, "leaves"), (PIECEWISE, 2, "leaves")],
    ids=label,
)
def test_blocks_of_any_length_find_the_same(grammar, size, measure, room):
    pcfg = random_pcfg(grammar, 5)
    assert enumerated(pcfg, size, measure, room) == enumerated(pcfg, size, measure)


def test_room_for_tasks_grows():
    pcfg = random_pcfg(MIXED, 6)
    enumeration = Enumeration(pcfg, 6)
    enumeration._tasks = enumeration._tasks[:1]
    executed = sum(len(block.tokens) for block in enumeration.blocks(lambda: 1 << 14))
    assert executed == enumerated(pcfg, 6)[1] > 1000


def test_tokens_without_probability_are_never_written():
    pcfg = PCFG.of(POLYNOMIAL, {"y": 0, "3": 0, "-": 0})
    found, _ = enumerated(pcfg, 4)
    used = {POLYNOMIAL.tokens[token] for _, text in found for token in text}
    assert used == {"x", "1", "2", "+", "*"}
    assert token_costs(pcfg)[[1, 4, 6]].tolist() == [0, 0, 0]


def test_costs_are_tenths_of_a_nat_and_at_least_one():
    grammar = Grammar(name="small", variables=("x", "y"), operators=(ADD,))
    assert token_costs(PCFG(grammar, (0.999, 0.0005, 0.0005))).tolist() == [1, 76, 76]
    assert token_costs(PCFG(grammar, (0.5, 0.25, 0.25))).tolist() == [7, 14, 14]


def test_bounds_that_bound_nothing_are_refused():
    with pytest.raises(ConfigurationError, match="nodes or depth"):
        Enumeration(uniform_pcfg(UNARY), 3, "leaves")
    with pytest.raises(ConfigurationError, match="255"):
        Enumeration(uniform_pcfg(POLYNOMIAL), 256)


# ---------------------------------------------------------------- the table of known functions


@pytest.mark.kernels
def test_only_new_keys_and_smaller_sizes_are_admitted():
    rng = np.random.default_rng(7)
    table, least = SmallestSizes(), {}
    for _ in range(30):
        keys = rng.integers(0, 40, size=(300, 2)).astype(np.uint64) << np.uint64(20)
        keys[rng.random(300) < 0.05] = UNDEFINED_RESIDUE
        sizes = rng.integers(1, 256, size=300).astype(np.uint8)
        expected = []
        for row, (key, size) in enumerate(zip(map(tuple, keys.tolist()), sizes.tolist(), strict=True)):
            if key[0] != int(UNDEFINED_RESIDUE) and size < least.get(key, 256):
                least[key] = size
                expected.append(row)
        assert table.admit(keys, sizes).tolist() == expected
        assert table.count == len(least)


@pytest.mark.kernels
def test_a_table_that_grows_forgets_nothing(monkeypatch):
    monkeypatch.setattr(operands, "num_slots", lambda num: 1 << max(3, (2 * num).bit_length()))
    keys = np.random.default_rng(8).integers(0, 1 << 61, size=(3000, 2), dtype=np.uint64)
    table = SmallestSizes()
    table._slots = table._slots[:8].copy()
    for part in np.split(keys, 30):
        assert len(table.admit(part, np.full(100, 9, dtype=np.uint8))) == 100
    assert len(table.admit(keys, np.full(3000, 9, dtype=np.uint8))) == 0
    assert len(table.admit(keys, np.full(3000, 8, dtype=np.uint8))) == 3000 == table.count


@pytest.mark.kernels
@pytest.mark.parametrize(("grammar", "size", "measure"), [(RATIONAL, 2, "leaves"), (MULADD, 4, "nodes")], ids=label)
def test_small_universes_are_found_uncompiled(grammar, size, measure):
    numbers, _ = on_grid(grammar, size, measure)
    found, _ = enumerated(random_pcfg(grammar, 9), size, measure)
    assert {numbers[text] for _, text in found} == {number for number in numbers.values() if number is not None}


# ---------------------------------------------------------------- solving


def problem_of(grammar, text, max_size, measure="leaves"):
    prefix = token_matrix([parse(grammar, text)])
    return Problem(grammar, max_size, measure, grid_outputs(grammar, prefix)[0], grid_codes(grammar, prefix)[0])


def outputs_of(program):
    tree = naive.tree(program.prefix_text().split(), arities(program.grammar))
    points = program.grammar.grid.points
    return [naive.walk(tree, dict(zip("xy", p, strict=True)), naive.MEANINGS) for p in points]


TARGETS = [
    (POLYNOMIAL, "(x+y)*(x-y)*3+x", 6, "leaves"),
    (POLYNOMIAL, "x*x*x-2*y", 9, "nodes"),
    (POLYNOMIAL, "(x+2)*(y*y)", 2, "depth"),
    (RATIONAL, "x/(y*y+2)-1", 6, "leaves"),
    (RATIONAL, "1/(x+x+x-1)", 5, "leaves"),
    (PIECEWISE, "min(x,y*y)+max(1,x)", 5, "leaves"),
    (UNARY, "neg(square(x)+y)*y", 8, "nodes"),
    (FLOORED, "x//(y-2)%x", 4, "leaves"),
]


@pytest.mark.parametrize("marked", [1, 6])
@pytest.mark.parametrize(("grammar", "text", "size", "measure"), TARGETS, ids=label)
def test_a_program_with_the_wanted_outputs_is_found(monkeypatch, grammar, text, size, measure, marked):
    monkeypatch.setattr(operands, "MARKED", marked)
    target = parse(grammar, text)
    pcfg = PCFG.fit(grammar, token_matrix([target]))
    result = BestFirst(pcfg, "name").solve(problem_of(grammar, text, size, measure), AMPLE)
    assert outputs_of(result.program) == outputs_of(target)
    assert cost_of(pcfg, result.program.prefix) <= cost_of(pcfg, target.prefix)
    assert (result.method, result.stopped, result.agreement) == ("name", FOUND, 1.0)
    assert result.cost.programs > 0 and result.cost.lookups == 0 and result.cost.seconds > 0


QUOTIENTS = Grammar(name="quotients", variables=("x", "y"), constants=(1,), operators=(DIVIDE, MULTIPLY))


def test_a_cheaper_program_with_a_pole_does_not_hide_one_without():
    pcfg = PCFG.of(QUOTIENTS, {"/": 1000, "1": 1000})
    product, quotient = ("* x y", "/ x / 1 y")
    assert cost_of(pcfg, parse(QUOTIENTS, quotient).prefix) < cost_of(pcfg, parse(QUOTIENTS, product).prefix)
    whole, pole = (BestFirst(pcfg).solve(problem_of(QUOTIENTS, text, 4), AMPLE) for text in (product, quotient))
    assert outputs_of(whole.program) == [x * y for x, y in QUOTIENTS.grid.points]
    assert outputs_of(pole.program) == [x * y if y else None for x, y in QUOTIENTS.grid.points]
    assert pole.cost.programs < whole.cost.programs


def test_a_cheaper_program_does_not_hide_a_smaller_one_that_alone_fits():
    pcfg = PCFG.of(POLYNOMIAL, {"1": 1e4, "+": 1e4, "2": 1e-3, "3": 1e-3, "-": 1e-3})
    cheap, small = (parse(POLYNOMIAL, text).prefix for text in ("1+1", "2"))
    assert cost_of(pcfg, cheap) < cost_of(pcfg, small)
    result = BestFirst(pcfg).solve(problem_of(POLYNOMIAL, "2-x*y", 3), AMPLE)
    assert outputs_of(result.program) == [2 - x * y for x, y in POLYNOMIAL.grid.points]
    assert small[0] in result.program.prefix


def test_what_has_no_program_within_the_bound_is_not_found(monkeypatch):
    monkeypatch.setattr(operands, "MARKED", 1)  # what is looked at again is not executed again
    result = BestFirst(uniform_pcfg(POLYNOMIAL)).solve(problem_of(POLYNOMIAL, "x*x*x*x", 3), AMPLE)
    assert (result.program, result.stopped) == (None, COMPLETE)
    assert result.cost.programs == enumerated(uniform_pcfg(POLYNOMIAL), 3)[1]


def test_another_grammar_is_refused():
    with pytest.raises(ConfigurationError, match="'polynomial': fit one for 'rational'"):
        BestFirst(uniform_pcfg(POLYNOMIAL)).solve(problem_of(RATIONAL, "x+y", 3), AMPLE)


def test_a_fitted_grammar_finds_its_programs_earlier():
    text = "x*x*x*y*y*y"
    fitted = PCFG.fit(POLYNOMIAL, token_matrix([parse(POLYNOMIAL, text)]), smoothing=0.1)
    executed = [
        BestFirst(pcfg).solve(problem_of(POLYNOMIAL, text, 6), AMPLE).cost.programs
        for pcfg in (fitted, uniform_pcfg(POLYNOMIAL))
    ]
    assert executed[0] < executed[1] / 10


# ---------------------------------------------------------------- budgets

HARD = "(x*x*y-3)*(y*y*x+2)-x"


@pytest.mark.parametrize("axis", ["programs", "tested"])
@pytest.mark.parametrize("limit", [1, 4, 5, 6, 100, 777, 20_000])
def test_no_program_is_executed_beyond_the_budget(axis, limit):
    result = BestFirst(uniform_pcfg(POLYNOMIAL)).solve(
        problem_of(POLYNOMIAL, HARD, 9), Budget(seconds=600.0, **{axis: limit})
    )
    assert (result.program, result.stopped, result.cost.programs) == (None, SPENT, limit)


def test_a_larger_budget_finds_what_a_smaller_one_does_not():
    problem, solver = problem_of(POLYNOMIAL, "3*y*y*x", 4), BestFirst(uniform_pcfg(POLYNOMIAL))
    needed = solver.solve(problem, AMPLE).cost.programs
    results = [solver.solve(problem, Budget(seconds=600.0, programs=n)) for n in (needed // 2, needed)]
    assert [r.found for r in results] == [False, True]
    assert [r.cost.programs for r in results] == [needed // 2, needed]


def test_time_that_is_up_ends_the_search(monkeypatch):
    monkeypatch.setattr(Meter, "seconds", property(lambda meter: meter.programs / 100))
    monkeypatch.setattr(best_first, "BLOCK", 100)
    result = BestFirst(uniform_pcfg(POLYNOMIAL)).solve(problem_of(POLYNOMIAL, HARD, 9), Budget(seconds=6.0))
    assert (result.program, result.stopped) == (None, SPENT)
    assert 600 <= result.cost.programs < 700 and result.cost.seconds == result.cost.programs / 100


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C while the hundredth block is executed."""
    execute, calls = Operands.execute, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 100:
            raise KeyboardInterrupt
        return execute(*arguments)

    monkeypatch.setattr(Operands, "execute", stop)
    monkeypatch.setattr(best_first, "BLOCK", 50)


def test_an_interrupted_search_reports_what_it_cost(interrupted):
    result = BestFirst(uniform_pcfg(POLYNOMIAL)).solve(problem_of(POLYNOMIAL, HARD, 9), AMPLE)
    assert (result.program, result.stopped) == (None, INTERRUPTED)
    assert 0 < result.cost.programs < 100 * 50


def test_an_interrupted_run_keeps_what_was_solved(interrupted):
    problems = [problem_of(POLYNOMIAL, text, size) for text, size in ((HARD, 9), ("x+y", 9), ("y", 2))]
    results = BestFirst(uniform_pcfg(POLYNOMIAL)).solve_all(problems, AMPLE)
    assert [r.stopped for r in results] == [INTERRUPTED, FOUND, INTERRUPTED]
    assert results[2].cost.programs == 0


# ---------------------------------------------------------------- many problems in one run


def statement(result):
    return result.program, result.best, result.cost.programs, result.stopped, result.agreement


@pytest.mark.parametrize("marked", [1, 6])
@pytest.mark.parametrize("programs", [None, 3000])
@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, PIECEWISE], ids=label)
def test_a_shared_run_answers_as_single_ones_do(monkeypatch, grammar, programs, marked):
    monkeypatch.setattr(operands, "MARKED", marked)
    prefix = sample_programs(grammar, 4, 12, seed=1)
    codes, outputs = grid_codes(grammar, prefix), grid_outputs(grammar, prefix)
    sizes = [(3, "leaves"), (4, "leaves"), (5, "nodes"), (1, "depth")]
    problems = [
        Problem(grammar, *sizes[k % 4], outputs[k], codes[k])
        for k in [*range(12), 0, 5]
        if not (codes[k] == UNDEFINED_RESIDUE).all()
    ]
    solver, budget = BestFirst(PCFG.fit(grammar, prefix)), Budget(seconds=600.0, programs=programs)
    shared = solver.solve_all(problems, budget)
    assert [statement(r) for r in shared] == [statement(solver.solve(p, budget)) for p in problems]
    assert 0 < sum(r.found for r in shared) < len(problems)


def test_seconds_are_those_until_each_was_found():
    problems = [problem_of(POLYNOMIAL, text, 6) for text in ("x*y*y*3*y*3", "x", "x*y+3", "x*x*x*x*x*x")]
    results = BestFirst(uniform_pcfg(POLYNOMIAL)).solve_all(problems, AMPLE)
    order = sorted(results, key=lambda r: r.cost.programs)
    seconds = [r.cost.seconds for r in order]
    assert all(r.found for r in results) and seconds == sorted(seconds) and seconds[0] < seconds[-1]
    assert order[0] is results[1]


def test_no_problems_have_no_results():
    assert BestFirst(uniform_pcfg(POLYNOMIAL)).solve_all([], AMPLE) == []


def test_a_shared_run_refuses_another_grammar():
    problems = [problem_of(POLYNOMIAL, "x", 3), problem_of(RATIONAL, "x", 3)]
    with pytest.raises(ConfigurationError, match="fit one"):
        BestFirst(uniform_pcfg(POLYNOMIAL)).solve_all(problems, AMPLE)
