"""Growing functions only, against published counts and the first text of every function of listed universes."""

import itertools

import brute
import languages
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
    TERNARY,
    UNARY,
    UNIVERSES,
    arities,
    label,
    rows,
)

from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.language.grammar import ADD, PAD, PIECEWISE, POLYNOMIAL, RATIONAL, SUBTRACT, Grammar, Grid
from synthlab.language.identity import (
    ResiduePoints,
    coefficient_bound,
    fingerprints,
    identity_algebra,
    observation_algebra,
)
from synthlab.language.interpreter import evaluate
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE
from synthlab.universe.corpus import function_table
from synthlab.universe.enumeration import (
    NewFunctions,
    enumerate_functions,
    grow,
    merged_order,
    new_functions,
    operand_order,
)

by_universe = pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES, ids=label)
GROWN = [
    (POLYNOMIAL, 5, "leaves"),
    (POLYNOMIAL, 2, "depth"),
    (RATIONAL, 4, "leaves"),
    (RATIONAL, 2, "depth"),
    (PIECEWISE, 3, "leaves"),
    (UNARY, 7, "nodes"),
    (TERNARY, 9, "leaves"),
    (MULADD, 2, "depth"),
    (FLOORED, 2, "depth"),
    (AVERAGE, 6, "leaves"),
]
by_grown = pytest.mark.parametrize(("grammar", "size", "measure"), GROWN, ids=label)


def texts(grammar, table):
    return [tuple(grammar.tokens[t] for t in row) for row in rows(table.text())]


def grown(grammar, size, measure, **options):
    return enumerate_functions(grammar, identity_algebra(grammar), size, measure, **options)


def assert_same_table(one, two):
    for name in ("tokens", "operands", "sizes", "values", "keys"):
        assert np.array_equal(getattr(one, name), getattr(two, name), equal_nan=name == "values"), name
    assert np.array_equal(one.text(), two.text())
    assert one.executed == two.executed


# ---------------------------------------------------------------- what is found


@by_universe
def test_every_function_is_found_by_its_least_text(grammar, size, measure):
    table = grown(grammar, size, measure)
    found = list(zip(table.sizes.tolist(), rows(table.text()), strict=True))
    assert found == brute.minimal(languages.functions(grammar, size, measure))


@by_universe
def test_new_functions_are_counted_by_size(grammar, size, measure):
    smallest = 0 if measure == "depth" else 1
    sizes = [s for s, _ in brute.minimal(languages.functions(grammar, size, measure))]
    table = grown(grammar, size, measure)
    assert table.counts() == [sizes.count(n) for n in range(smallest, max(sizes) + 1)]
    assert len(table) == len(sizes)


@by_universe
def test_keys_are_the_fingerprints_of_the_texts(grammar, size, measure):
    table = grown(grammar, size, measure)
    assert np.array_equal(table.keys, fingerprints(grammar, table.text()))
    assert len(np.unique(table.keys, axis=0)) == len(table)
    algebra = identity_algebra(grammar)
    assert np.array_equal(table.values, evaluate(grammar, table.text(), algebra), equal_nan=True)


@by_universe
def test_texts_of_some_rows_are_those_of_all(grammar, size, measure):
    table = grown(grammar, size, measure)
    every = table.text()
    chosen = np.random.default_rng(0).integers(0, len(table), size=30)
    assert np.array_equal(table.text(chosen), every[chosen])
    assert table.text(np.array([], dtype=np.int64)).shape == (0, every.shape[1])


@pytest.mark.parametrize(
    ("grammar", "size", "measure"), [entry for entry in UNIVERSES if entry[2] != "depth"], ids=label
)
def test_operands_point_to_smaller_minimal_programs(grammar, size, measure):
    table = grown(grammar, size, measure)
    found = rows(table.text())
    for row, (token, operands) in enumerate(zip(table.tokens.tolist(), table.operands.tolist(), strict=True)):
        arity = arities(grammar)[grammar.tokens[token]]
        assert found[row] == (token, *itertools.chain.from_iterable(found[o] for o in operands[:arity]))
        assert all(o < row for o in operands[:arity])


@pytest.mark.parametrize(
    ("grammar", "size", "measure"), [entry for entry in UNIVERSES if entry[2] != "depth"], ids=label
)
def test_every_pair_of_minimal_operands_is_tried_once(grammar, size, measure):
    """Executed are the leaves, and every operator on minimal operands; a swapped pair is not tried again."""
    found = brute.minimal(languages.functions(grammar, size, measure))
    by_size = {n: sorted(text for s, text in found if s == n) for n in range(1, size + 1)}
    executed = grammar.num_terminals
    for operator in grammar.operators:
        for total in range(2, size + 1):
            for sizes in brute.operand_choices(operator.arity, total, measure):
                if not operator.commutative:
                    executed += int(np.prod([len(by_size[s]) for s in sizes]))
                else:
                    executed += sum(a <= b for a in by_size[sizes[0]] for b in by_size[sizes[1]])
    assert grown(grammar, size, measure).executed == executed


def test_published_counts_of_functions():
    table = function_table(POLYNOMIAL, 6)
    assert table.counts() == [5, 35, 238, 1939, 16850, 155719]
    assert len(table) == 174_786


def test_rational_counts():
    assert function_table(RATIONAL, 5).counts() == [4, 33, 344, 3755, 44756]


def test_a_binary_grammar_has_the_same_functions_by_leaves_and_by_nodes():
    for grammar in (POLYNOMIAL, RATIONAL, PIECEWISE):
        by_leaves, by_nodes = grown(grammar, 3, "leaves"), grown(grammar, 5, "nodes")
        assert np.array_equal(by_leaves.text(), by_nodes.text())
        assert by_nodes.counts()[::2] == by_leaves.counts() and not any(by_nodes.counts()[1::2])


def test_the_table_agrees_with_the_listed_universe(corpus4):
    table = function_table(POLYNOMIAL, 4)
    assert np.array_equal(table.text(), corpus4.prefix[corpus4.class_id][:, : table.text().shape[1]])
    assert np.array_equal(table.sizes, corpus4.class_leaves)
    assert np.array_equal(table.keys, corpus4.fingerprints)


def test_the_zero_function_is_found_though_its_fingerprint_is_zero():
    table = grown(POLYNOMIAL, 3, "leaves")
    zero = np.flatnonzero(~table.keys.any(axis=1))
    assert [texts(POLYNOMIAL, table)[k] for k in zero] == [("-", "x", "x")]
    with_zero = Grammar(
        name="zero", variables=("x",), constants=(0, 1), operators=(SUBTRACT, ADD), grid=Grid.regular(0)
    )
    table = grown(with_zero, 3, "leaves")
    assert rows(table.text())[:3] == [(0,), (1,), (2,)]
    assert (~table.keys.any(axis=1)).sum() == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_another_fingerprint_seed_finds_the_same_programs(seed):
    for grammar, size, measure in ((POLYNOMIAL, 4, "leaves"), (RATIONAL, 3, "leaves"), (UNARY, 2, "depth")):
        other = enumerate_functions(grammar, identity_algebra(grammar, seed), size, measure)
        same = grown(grammar, size, measure)
        assert np.array_equal(other.text(), same.text())
        assert not (other.keys == same.keys)[0].any()


# ---------------------------------------------------------------- other arithmetic


@pytest.mark.parametrize("size", [3, 4])
def test_polynomials_of_this_size_already_differ_on_the_grid(size):
    table = enumerate_functions(POLYNOMIAL, observation_algebra(POLYNOMIAL), size)
    assert table.counts() == [5, 35, 238, 1939][:size]


@pytest.mark.parametrize(("size", "measure"), [(3, "leaves"), (5, "nodes"), (2, "depth")])
def test_observational_equivalence_merges_what_agrees_on_few_inputs(size, measure):
    points = [(x, y) for x in (0, 1) for y in (0, 1)]
    programs = brute.universe(arities(POLYNOMIAL), size, measure, brute.Outputs(("x", "y"), points))
    table = enumerate_functions(POLYNOMIAL, ResiduePoints(POLYNOMIAL, points), size, measure)
    assert list(zip(table.sizes.tolist(), rows(table.text()), strict=True)) == brute.minimal(programs)


def test_partly_undefined_rows_are_kept_apart():
    *_, table = grow(RATIONAL, ResiduePoints(RATIONAL, [(0, 1), (1, 0), (2, 3)]), 2)
    found = {" ".join(t): v for t, v in zip(texts(RATIONAL, table), table.values, strict=True)}
    assert (found["/ 1 x"] == UNDEFINED_RESIDUE).tolist() == [True, False, False]
    assert (found["/ 1 y"] == UNDEFINED_RESIDUE).tolist() == [False, True, False]


# ---------------------------------------------------------------- partitions


def test_a_larger_table_has_the_published_counts():
    assert grown(POLYNOMIAL, 7, "leaves").counts() == [5, 35, 238, 1939, 16850, 155719, 1505907]


def pieces(grammar, size, measure, num_partitions):
    """Partitions of the functions of the last size, from all functions below it."""
    algebra = identity_algebra(grammar)
    table = grown(grammar, size - 1, measure)
    if measure == "depth":
        # every function at the first level is as its table says; deeper ones are rewritten by `grow`
        by_text, known = np.arange(len(table)), table.keys[table.tokens < grammar.num_terminals]
    else:
        by_text, known = sorted_by_text(table), table.keys
    order = operand_order(table, by_text, size)
    return [new_functions(table, algebra, size, order, known, p, num_partitions) for p in range(num_partitions)]


def sorted_by_text(table):
    """Rows in the order of their texts alone."""
    found = rows(table.text())
    return np.array(sorted(range(len(found)), key=found.__getitem__))


@pytest.mark.parametrize("num_partitions", [2, 3, 5])
@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [
        (POLYNOMIAL, 5, "leaves"),
        (RATIONAL, 4, "leaves"),
        (UNARY, 7, "nodes"),
        (TERNARY, 7, "leaves"),
        (MIXED, 6, "leaves"),
        (PIECEWISE, 3, "leaves"),
        (CHOICES, 5, "leaves"),
        (POLYNOMIAL, 1, "depth"),
        (MULADD, 1, "depth"),
    ],
    ids=label,
)
def test_partitions_are_disjoint_and_merge_to_the_whole(grammar, size, measure, num_partitions):
    [whole] = pieces(grammar, size, measure, 1)
    parts = pieces(grammar, size, measure, num_partitions)
    sets = [set(map(tuple, part.keys.tolist())) for part in parts]
    assert sum(map(len, sets)) == len(set().union(*sets)) == len(whole.keys)
    merged = NewFunctions.merged(parts)
    for name in ("sequence", "tokens", "operands", "keys"):
        assert np.array_equal(getattr(merged, name), getattr(whole, name)), name
    assert merged.executed == whole.executed and not merged.stopped
    assert (np.diff(whole.sequence) > 0).all()
    highest = [part.keys[:, 0].max() for part in parts if len(part.keys)]
    assert highest == sorted(highest)


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [
        (POLYNOMIAL, 4, "leaves"),
        (UNARY, 7, "nodes"),
        (TERNARY, 9, "leaves"),
        (BOUNDS, 6, "nodes"),
        (HALVES, 4, "leaves"),
    ],
    ids=label,
)
def test_rows_by_text_are_merged_from_size_to_size(grammar, size, measure):
    table, order = None, None
    for table in grow(grammar, identity_algebra(grammar), size, measure=measure):
        order = np.argsort(table.tokens) if order is None else merged_order(table, order)
        assert np.array_equal(order, sorted_by_text(table))


# ---------------------------------------------------------------- growth


@pytest.mark.parametrize(
    ("size", "measure", "lengths"),
    [(4, "leaves", [5, 40, 278, 2217]), (5, "nodes", [5, 5, 40, 40, 278]), (2, "depth", [5, 40, 1166])],
    ids=label,
)
def test_growth_yields_every_size(size, measure, lengths):
    assert [len(t) for t in grow(POLYNOMIAL, identity_algebra(POLYNOMIAL), size, measure=measure)] == lengths


@pytest.mark.parametrize("algebra_of", [identity_algebra, observation_algebra])
@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(POLYNOMIAL, 5, "leaves"), (UNARY, 3, "depth"), (PIECEWISE, 4, "leaves"), (UNARY, 8, "nodes")],
    ids=label,
)
def test_growth_stops_when_told(grammar, size, measure, algebra_of):
    algebra, seen = algebra_of(grammar), []

    def stop(keys, executed):
        seen.append((len(keys), executed))
        return executed > 5000

    *_, table = grow(grammar, algebra, size, measure=measure, on_block=stop)
    assert seen[-1][1] > 5000 and all(executed <= 5000 for _, executed in seen[:-1])
    looked_at = grammar.num_terminals + sum(n for n, _ in seen)
    pruned = grammar.exact and algebra_of is identity_algebra and measure != "depth"
    assert table.executed == seen[-1][1]
    assert table.executed > looked_at if pruned else table.executed == looked_at
    whole = enumerate_functions(grammar, algebra, size, measure)
    assert len(table) < len(whole)
    if measure != "depth":
        assert np.array_equal(table.keys, whole.keys[: len(table)])
        assert rows(table.text()) == rows(whole.text())[: len(table)]


def test_a_watched_growth_that_is_not_stopped_is_complete():
    blocks = []
    for grammar, size, measure in ((POLYNOMIAL, 4, "leaves"), (UNARY, 2, "depth"), (FLOORED, 3, "leaves")):
        *_, table = grow(
            grammar, identity_algebra(grammar), size, measure=measure, on_block=lambda k, n: blocks.append(k.copy())
        )
        assert_same_table(table, grown(grammar, size, measure))
        seen = set(map(tuple, np.concatenate(blocks).tolist())) - {(PRIME, PRIME)}
        leaves = set(map(tuple, table.keys[table.tokens < grammar.num_terminals].tolist()))
        assert seen | leaves == set(map(tuple, table.keys.tolist()))
        blocks.clear()


def test_a_bound_below_the_first_operator_finds_the_leaves():
    for grammar, size, measure in ((TERNARY, 2, "leaves"), (POLYNOMIAL, 2, "nodes"), (UNARY, 0, "depth")):
        table = grown(grammar, size, measure)
        assert rows(table.text()) == [(k,) for k in range(grammar.num_terminals)]
        assert table.executed == grammar.num_terminals


def test_texts_are_padded_to_the_right():
    for grammar, size, measure in UNIVERSES:
        text = grown(grammar, size, measure).text()
        assert (np.diff((text == PAD).astype(int), axis=1) >= 0).all()


# ---------------------------------------------------------------- refusals


def test_sizes_without_proof_of_identity_are_refused():
    safe = max(n for n in range(1, 60) if coefficient_bound(POLYNOMIAL, n) < 2**61 - 1)
    with pytest.raises(BudgetExceeded, match=f"up to {safe} leaves"):
        function_table(POLYNOMIAL, safe + 1)


@pytest.mark.parametrize(
    ("grammar", "size", "measure", "message"),
    [
        (UNARY, 3, "leaves", "unary operator"),
        (POLYNOMIAL, 0, "leaves", "use at least 1"),
        (POLYNOMIAL, 0, "nodes", "use at least 1"),
        (POLYNOMIAL, -1, "depth", "use at least 0"),
        (POLYNOMIAL, 3, "height", "unknown measure"),
    ],
    ids=label,
)
def test_measures_that_bound_nothing_are_refused(grammar, size, measure, message):
    with pytest.raises(ConfigurationError, match=message):
        next(grow(grammar, identity_algebra(grammar), size, measure=measure))
    with pytest.raises(ConfigurationError, match=message):
        function_table(grammar, size, measure=measure)
