"""A beam over stacks of values: states compute what their texts say, and nothing is counted that was not executed."""

import math
from fractions import Fraction

import brute
import languages
import naive
import numpy as np
import pytest

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grammar
from synthlab.language.operator import MINIMUM, MULTIPLY
from synthlab.language.residues import PRIME
from synthlab.search import execution_guided
from synthlab.search.budget import Budget, Cost
from synthlab.search.execution_guided import ExecutionGuidedBeam, needs
from synthlab.search.library import Library
from synthlab.search.orders import smallness
from synthlab.search.problem import COMPLETE, FOUND, SPENT, Problem
from synthlab.study.larger import larger_tasks

AMPLE = Budget(seconds=600.0)


def points_of(grammar):
    return [dict(zip(grammar.variables, point, strict=True)) for point in grammar.grid.points]


def values_of(grammar, tokens):
    """Outputs of prefix tokens, by fractions; None where there is none."""
    tree = naive.tree([grammar.tokens[t] for t in tokens], languages.arities(grammar))
    return [naive.walk(tree, point, brute.MEANINGS) for point in points_of(grammar)]


def problem_of(grammar, tokens, max_size, measure="leaves"):
    return Problem.from_outputs(grammar, values_of(grammar, tokens), max_size=max_size, measure=measure)


def residue(value):
    return Fraction(value).numerator * pow(Fraction(value).denominator, -1, PRIME) % PRIME


def tokens_of(grammar, text):
    return [grammar.index[token] for token in text.split()]


def watched(monkeypatch):
    """Every set of states that a beam keeps."""
    seen, original = [], execution_guided._Beam._next

    def watch(*arguments):
        seen.append(original(*arguments))
        return seen[-1]

    monkeypatch.setattr(execution_guided._Beam, "_next", watch)
    return seen


# ---------------------------------------------------------------- answers


def small_functions(grammar, size, measure, num, seed=0):
    """Texts of functions with a value at every point, none beyond a size, the minimal size of each."""
    chosen = {}
    for minimal, text, function in languages.functions(grammar, size, measure):
        if function is not None and function not in chosen and None not in values_of(grammar, text):
            chosen[function] = minimal, text
    rows = np.random.default_rng(seed).permutation(len(chosen))[:num]
    return [list(chosen.values())[row] for row in rows]


@pytest.mark.parametrize("width", [1, 64, 1 << 13])
@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(POLYNOMIAL, 3, "leaves"), (RATIONAL, 3, "leaves"), (POLYNOMIAL, 5, "nodes"), (PIECEWISE, 3, "leaves"),
     (languages.UNARY, 4, "nodes"), (languages.TERNARY, 5, "leaves"), (languages.MIXED, 5, "leaves")],
    ids=languages.label,
)  # fmt: skip
def test_every_small_function_is_found_and_none_beyond_the_bound(grammar, size, measure, width):
    solver = ExecutionGuidedBeam(width=width)
    for minimal, text in small_functions(grammar, size, measure, 6):
        outputs = values_of(grammar, text)
        for bound in {size, minimal}:
            result = solver.solve(problem_of(grammar, text, bound, measure), AMPLE)
            assert result.stopped == FOUND and values_of(grammar, result.program.prefix) == outputs
            assert (result.program.leaves if measure == "leaves" else len(result.program.prefix)) <= bound
        if minimal > 1:
            beyond = solver.solve(problem_of(grammar, text, minimal - 1, measure), AMPLE)
            assert beyond.stopped == COMPLETE and beyond.program is None and beyond.agreement < 1


def test_by_depth_answers_keep_to_the_bound():
    solver = ExecutionGuidedBeam()
    for minimal, text in small_functions(POLYNOMIAL, 2, "depth", 10):
        result = solver.solve(problem_of(POLYNOMIAL, text, minimal, "depth"), AMPLE)
        assert result.program.depth == minimal and values_of(POLYNOMIAL, result.program.prefix) == values_of(
            POLYNOMIAL, text
        )


def test_larger_functions_are_found_by_what_the_whole_stack_leaves():
    tasks, _ = larger_tasks(POLYNOMIAL, 10, 8, seed=1, beyond=Library.build(POLYNOMIAL, 4))
    budget, found = Budget(seconds=600.0, programs=8_000), {}
    for whole in (True, False):
        solver = ExecutionGuidedBeam(whole_stack=whole)
        results = [solver.solve(Problem.of(tasks, row), budget) for row in range(8)]
        found[whole] = sum(result.found for result in results)
        assert all(result.found or result.stopped == SPENT for result in results)
    assert found[True] >= 6 and found[False] <= 2


def test_values_out_of_range_hide_no_others():
    huge = Grammar(name="enormous", variables=("x", "y"), constants=(10**9,), operators=(MINIMUM, MULTIPLY))
    assert huge.integral and not huge.exact
    text = tokens_of(huge, "min y * x 1000000000")
    result = ExecutionGuidedBeam(width=512).solve(problem_of(huge, text, 3), AMPLE)  # its cube is beyond 2^60
    assert result.found and values_of(huge, result.program.prefix) == values_of(huge, text)


def test_without_an_answer_the_best_whole_program_is_kept():
    outputs = [x * y + (1 if (x, y) == (3, 3) else 0) for x, y in POLYNOMIAL.grid.points]
    result = ExecutionGuidedBeam().solve(Problem.from_outputs(POLYNOMIAL, outputs, max_size=2), AMPLE)
    assert not result.found and result.stopped == COMPLETE
    assert result.agreement == 35 / 36 and result.best.infix_text() in ("x * y", "y * x")


# ---------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("grammar", "measure"), [(POLYNOMIAL, "leaves"), (RATIONAL, "leaves"), (languages.UNARY, "nodes")],
    ids=languages.label,
)  # fmt: skip
def test_states_hold_what_their_texts_compute(grammar, measure, monkeypatch):
    states = watched(monkeypatch)
    outputs = [x * x * y - 3 * x * y + Fraction(7) for x, y in grammar.grid.points]
    problem = Problem.from_outputs(grammar, outputs, max_size=6, measure=measure)
    ExecutionGuidedBeam(width=12).solve(problem, Budget(seconds=600.0, programs=900))
    stacks = set()
    for kept in states[:6]:
        for row, text in enumerate(kept.texts.tolist()):
            stack = parts_of(grammar, text)
            assert len(stack) == kept.heights[row] and kept.texts.shape[1] == sum(map(len, stack))
            values = [tuple(map(residue, values_of(grammar, part))) for part in stack]
            assert [tuple(kept.values[row, level].tolist()) for level in range(len(stack))] == values
            sizes = [sum(measure == "nodes" or t < grammar.num_terminals for t in part) for part in stack]
            assert kept.sizes[row].tolist() == sizes + [0] * (kept.sizes.shape[1] - len(stack))
            assert sum(sizes) <= 6 and tuple(values) not in stacks
            stacks.add(tuple(values))
            wanted = [kept.wanted[row, level].tolist() for level in range(len(stack) + 1)]
            known = [kept.known[row, level].tolist() for level in range(len(stack) + 1)]
            assert wanted[0] == problem.codes.tolist() and all(known[0])
            for level, value in enumerate(values):
                assert completes(grammar, value, wanted[level], known[level], wanted[level + 1], known[level + 1])
    assert len(stacks) > 40


def parts_of(grammar, postfix):
    """Prefix texts of the values on the stack."""
    stack = []
    for token in postfix:
        arity = int(grammar.arities[token])
        operands = [stack.pop() for _ in range(arity)][::-1]
        stack.append([token, *(t for part in operands for t in part)])
    return stack


RULES = {
    "+": lambda a, b, t: (a + b - t) % PRIME == 0,
    "-": lambda a, b, t: (a - b - t) % PRIME == 0,
    "*": lambda a, b, t: (a * b - t) % PRIME == 0,
    "/": lambda a, b, t: b != 0 and (a - b * t) % PRIME == 0,
}


def completes(grammar, value, wanted, known, rest, rest_known):
    """Whether some operator on a value and a rest makes what is wanted, whatever stands where the rest is open."""
    for rule in (RULES[token] for token in grammar.tokens if token in RULES):
        fits = [
            not k or (rule(v, r, t) if s else any(rule(v, b, t) and rule(v, b + 1, t) for b in (1, 5)))
            for v, t, k, r, s in zip(value, wanted, known, rest, rest_known, strict=True)
        ]
        if all(fits):
            return True
    return value == tuple(wanted)


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(POLYNOMIAL, 3, "leaves"), (POLYNOMIAL, 5, "nodes"), (languages.TERNARY, 5, "leaves"),
     (languages.TERNARY, 7, "nodes"), (languages.MIXED, 6, "leaves"), (languages.UNARY, 5, "nodes"),
     (languages.MULADD, 6, "nodes")],
    ids=languages.label,
)  # fmt: skip
def test_a_stack_needs_what_the_smallest_program_from_there_adds(grammar, size, measure):
    least = {}
    for text in languages.listed(grammar, size, measure):
        adds = [measure == "nodes" or t < grammar.num_terminals for t in text]
        height = 0
        for position in range(len(text) - 1, -1, -1):  # a mirrored prefix text is a postfix text
            height += 1 - int(grammar.arities[text[position]])
            least[height] = min(least.get(height, size), sum(adds[:position]))
    found = needs(problem_of(grammar, [0], size, measure))
    assert {height: int(found[height]) for height in least} == least and len(least) >= 2
    assert (found[[h for h in range(1, size + 1) if h not in least]] > 0).all()


# ---------------------------------------------------------------- counted and limited


def test_extensions_are_counted_as_programs():
    impossible = Problem.from_outputs(POLYNOMIAL, list(range(36)), max_size=2)
    result = ExecutionGuidedBeam(width=100).solve(impossible, AMPLE)
    # five terminals; five more on each; three operators on every pair
    assert result.cost.programs == 5 + 25 + 75 and result.stopped == COMPLETE and result.cost.lookups == 0
    narrow = ExecutionGuidedBeam(width=20).solve(impossible, AMPLE)
    assert narrow.cost.programs == 105 - 5 * 3 + 105  # again, twice as wide


@pytest.mark.parametrize("limit", [1, 17, 200, 1001])
@pytest.mark.parametrize("axis", ["programs", "tested"])
def test_budgets_are_kept(limit, axis):
    impossible = Problem.from_outputs(POLYNOMIAL, [k * k % 31 for k in range(36)], max_size=9)
    result = ExecutionGuidedBeam(width=50).solve(impossible, Budget(seconds=600.0, **{axis: limit}))
    assert result.cost.programs == limit and result.stopped == SPENT


def test_no_time_left_ends_the_search():
    impossible = Problem.from_outputs(POLYNOMIAL, [k * k % 31 for k in range(36)], max_size=9)
    assert ExecutionGuidedBeam().solve(impossible, Budget(seconds=1e-9)).cost.programs == 0


def test_targets_with_gaps_are_given_up_at_once():
    outputs = [None, *range(35)]
    result = ExecutionGuidedBeam().solve(Problem.from_outputs(RATIONAL, outputs, max_size=5), AMPLE)
    assert not result.found and result.best is None and result.cost.programs == 0


# ---------------------------------------------------------------- judging


def test_small_is_what_fractions_with_small_numbers_are():
    rows = [
        [Fraction(k * k - 9) for k in range(6)],
        [Fraction(3 * k - 8, 7 + k) for k in range(6)],
        [Fraction(-5, 3)] * 6,
        [Fraction(0)] * 6,
        [Fraction(4), None, Fraction(4), None, None, Fraction(4)],
        [None] * 6,
        [Fraction(3**25), Fraction(1), *[None] * 4],
    ]
    codes = np.array([[0 if v is None else residue(v) for v in row] for row in rows], dtype=np.uint64)
    known = np.array([[v is not None for v in row] for row in rows])

    def log(value):
        if abs(value.numerator) >= 1 << 30:
            return 61 * math.log(2)
        return math.log1p(abs(value.numerator)) + math.log(value.denominator)

    expected = []
    for row in rows:
        logs = [log(v) for v in row if v is not None]
        expected.append(-(logs[0] if len({v for v in row if v is not None}) == 1 else sum(logs)))
    assert smallness(codes, known) == pytest.approx(expected)


class Signposts:
    """A guide that knows the way: log-odds 1, 2, ... for some outputs in turn, 0 for all others."""

    training = Cost(seconds=3.0, programs=40, flops=5.0)

    def __init__(self, *wanted):
        self.wanted, self.asked = [list(map(residue, row)) for row in wanted], 0

    def __call__(self, codes, known):
        self.asked += len(codes)
        assert known.shape == codes.shape
        return np.array([1.0 + self.wanted.index(row) if row in self.wanted else 0.0 for row in codes.tolist()])


def test_a_guide_decides_which_states_are_kept():
    library, points = Library.build(POLYNOMIAL, 2), POLYNOMIAL.grid.points
    target = [x * y + 3 for x, y in points]
    guide = Signposts([x * y + 3 - x for x, y in points], [x * y + 3 - x - y for x, y in points], [3] * 36)
    solver = ExecutionGuidedBeam(library, guide, width=1, name="guided beam")
    result = solver.solve(Problem.from_outputs(POLYNOMIAL, target, max_size=3), AMPLE)
    assert result.program.infix_text() == "x * y + 3" and result.method == "guided beam"
    # x; x y; x y *, among five more terminals; x y * 3; x y * 3 +, among three operators
    assert result.cost.programs == 5 + 5 + (5 + 3) + 5 + 3
    assert solver.setup == library.cost + Signposts.training and guide.asked > 0


def test_without_a_guide_nothing_is_spent_before_the_first_task():
    assert ExecutionGuidedBeam().setup == Cost() == ExecutionGuidedBeam(Library.build(POLYNOMIAL, 2)).setup


def test_what_makes_no_sense_is_refused():
    library = Library.build(POLYNOMIAL, 2)
    for arguments, width in (((), 0), ((), 10_000), ((None, Signposts()), 64)):
        with pytest.raises(ConfigurationError, match="keep 1 to 8,192 states, and give a guide its library"):
            ExecutionGuidedBeam(*arguments, width=width)
    with pytest.raises(ConfigurationError, match="a library of 'polynomial' by leaves for a problem of 'rational'"):
        ExecutionGuidedBeam(library, Signposts()).solve(problem_of(RATIONAL, [0], 3), AMPLE)
    floats = Problem(languages.HALVES, 3, "leaves", np.zeros(36), np.zeros(36, dtype=np.uint64))
    with pytest.raises(ConfigurationError, match="compared on rounded floats"):
        ExecutionGuidedBeam().solve(floats, AMPLE)
