"""Programs of ten thousand levels, made from tokens: nothing that is done with them needs as deep a stack."""

import pytest
from faults.limited import answer_of

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.program import Program

MOST = 2 << 30

DEEP = """
import copy
from fractions import Fraction
from synthlab.errors import BudgetExceeded, ProgramSyntaxError
from synthlab.language.grammar import *
from synthlab.language.identity import fingerprint_text, same_function
from synthlab.language.interpreter import evaluate_exact, grid_outputs
from synthlab.language.notation import Notation
from synthlab.language.operator import *
from synthlab.language.program import Program, parse, prefix_lengths, token_matrix
from synthlab.language.sharing import share
from synthlab.spaces.pqgrams import profiles
from synthlab.spaces.syntactic import pq_distances
n = 10_000
plus, x = POLYNOMIAL.index["+"], POLYNOMIAL.index["x"]
right = Program(POLYNOMIAL, (plus, x) * n + (x,))
left = Program(POLYNOMIAL, (plus,) * n + (x,) * (n + 1))
both = [right, left]
rows = token_matrix(both)
answer = {
    "sizes": [[p.leaves, p.nodes, p.depth, p.root] for p in both],
    "infix": [right.infix_text() == "x + (" * (n - 1) + "x + x" + ")" * (n - 1), left.infix_text() == "x + " * n + "x"],
    "prefix": right.prefix_text() == "+ x " * n + "x",
    "repr": [len(repr(p)) for p in both],
    "equal": [copy.copy(right) == right == copy.deepcopy(right), right == left],
    "hash": hash(right) == hash(copy.deepcopy(right)),
    "value": [str(evaluate_exact(p, {"x": Fraction(1, 3), "y": 0})) for p in both],
    "fingerprints": fingerprint_text(right) == fingerprint_text(left) != fingerprint_text(parse(POLYNOMIAL, "x")),
    "same": [same_function(right, left), same_function(right, parse(POLYNOMIAL, "x + x"))],
    "outputs": grid_outputs(POLYNOMIAL, rows)[:, ::6].tolist(),
    "grams": profiles(POLYNOMIAL, rows).counts.tolist(),
    "distance": pq_distances(right, right, 2, 3)["distance"],
    "lengths": prefix_lengths(POLYNOMIAL, rows).tolist(),
    "nodes": len(share(POLYNOMIAL, rows).tokens),
    "notations": [
        bool((notation.decode(notation.encode(rows))[:, : 2 * n + 1] == rows).all())
        for notation in (Notation(POLYNOMIAL, name) for name in ("prefix", "postfix"))
    ],
}
try:
    parse(POLYNOMIAL, right.infix_text())
except ProgramSyntaxError as error:
    answer["read again"] = error.expected
deeper = Program(POLYNOMIAL, (plus, x) * 100_000 + (x,))
answer["deeper"] = [deeper.depth, len(deeper.infix_text()), len(repr(deeper)), copy.deepcopy(deeper) == deeper]
tower = Grammar(name="tower", variables=("x",), constants=(2,), operators=(SQUARE, DIVIDE), grid=Grid.regular(0))
towers = [parse(tower, "square(" * 400 + "x" + ")" * 400), parse(tower, "2 / " + "square(" * 400 + "2" + ")" * 400)]
answer["refused"] = []
for work in (
    lambda: evaluate_exact(towers[0], {"x": 3}), lambda: evaluate_exact(towers[1], {"x": 3}),
    lambda: same_function(towers[0], towers[0]), lambda: same_function(towers[1], parse(tower, "x")),
):
    try:
        answer["refused"].append(str(work()))
    except BudgetExceeded as error:
        answer["refused"].append("BudgetExceeded: " + str(error))
answer["ones"] = str(evaluate_exact(towers[0], {"x": -1}))
"""


@pytest.mark.fault("deep, long or huge program text")
def test_deep_programs_from_tokens_are_printed_compared_and_evaluated(fired):
    n = 10_000
    found = answer_of(DEEP, memory=MOST, stack=1 << 18)
    assert found["sizes"] == [[n + 1, 2 * n + 1, n, "+"]] * 2
    assert found["infix"] == [True, True] and found["prefix"] and max(found["repr"]) < 500
    assert found["equal"] == [True, False] and found["hash"] and found["value"] == [f"{n + 1}/3"] * 2
    assert found["fingerprints"] and found["same"] == [True, False]
    assert found["outputs"] == [[(n + 1) * k for k in range(-2, 4)]] * 2
    assert found["grams"] == [4 * n + n + 1] * 2 and found["distance"] == 0  # q - 1 + 2 bases a sum, and one a leaf
    assert found["lengths"] == [2 * n + 1] * 2 and found["notations"] == [True, True]
    assert found["nodes"] == 2 * n  # the leaf, one sum both ways, and the others either way
    assert found["read again"] == "at most 20000 characters"
    assert found["deeper"] == [100_000, 100_001 + 3 * 100_000 + 2 * 99_999, found["deeper"][2], True]
    assert found["deeper"][2] < 500
    assert all(text.startswith("BudgetExceeded: ") for text in found["refused"]) and found["ones"] == "1"
    fired(len(found))


@pytest.mark.fault("deep, long or huge program text")
def test_tokens_that_are_no_tree_are_no_program(fired):
    for prefix in ((), (5,), (5, 0), (0, 0), (5, 0, 0, 0), (200,), (-1,), (5, 0, -3), (5,) * 10_000, (0,) * 10_000):
        with pytest.raises(ConfigurationError, match="not one complete program") as caught:
            Program(POLYNOMIAL, prefix)
        assert len(str(caught.value)) < 200
        fired()
