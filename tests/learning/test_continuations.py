"""Allowed tokens against all texts within the limits, listed by recursion; nothing here knows of least completions."""

import functools
import itertools
from collections import defaultdict

import languages
import numpy as np
import pytest
import torch

from synthlab.errors import ConfigurationError, ProgramSyntaxError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, Grammar, Grid
from synthlab.language.measure import sizes_of
from synthlab.language.notation import NOTATIONS, Notation
from synthlab.language.operator import ADD, MULTIPLY, NEGATE, Operator
from synthlab.language.program import Program, parse, prefix_lengths
from synthlab.learning.continuations import Continuations

FIVE = Operator(symbol="five", arity=5, meaning=lambda a, b, c, d, e: a + b + c + d - e)
CALLS = Grammar(name="calls", variables=("x",), constants=(1,), operators=(ADD, languages.MID), grid=Grid.regular(0))
SIGNS = Grammar(name="signs", variables=("x",), constants=(1,), operators=(NEGATE, ADD), grid=Grid.regular(0))
FIVES = Grammar(name="fives", variables=("x",), operators=(FIVE, MULTIPLY), grid=Grid.regular(0))
THREES = Grammar(name="threes", variables=("x",), operators=(languages.MID,), grid=Grid.regular(0))
by_notation = pytest.mark.parametrize("name", NOTATIONS)
by_measure = pytest.mark.parametrize("measure", ["leaves", "nodes"])


# ---------------------------------------------------------------- all texts


@functools.cache
def programs(grammar, num_tokens):
    """Prefix texts of exactly so many tokens, as tuples of token texts."""
    found = [(t,) for t, arity in languages.arities(grammar).items() if not arity and num_tokens == 1]
    for token, arity in languages.arities(grammar).items():
        for parts in sequences(grammar, programs, arity, num_tokens - 1) if arity else ():
            found.append((token, *itertools.chain.from_iterable(parts)))
    return found


def sequences(grammar, listed, num, num_tokens):
    """Sequences of `num` texts that have so many tokens in all."""
    if num == 0:
        return [()] if num_tokens == 0 else []
    return [
        (first, *rest)
        for length in range(1, num_tokens - num + 2)
        for first in listed(grammar, length)
        for rest in sequences(grammar, listed, num - 1, num_tokens - length)
    ]


@functools.cache
def terms(grammar, num_tokens):
    """Infix texts that are a leaf, a call, or something in parentheses."""
    found = [(t,) for t, arity in languages.arities(grammar).items() if not arity and num_tokens == 1]
    found += [("(", *inner, ")") for inner in infix_texts(grammar, num_tokens - 2)]
    for operator in grammar.operators:
        if not operator.infix:
            for parts in sequences(grammar, infix_texts, operator.arity, num_tokens - 2 - operator.arity):
                inside = itertools.chain.from_iterable((",", *part) for part in parts)
                found.append((operator.symbol, "(", *itertools.islice(inside, 1, None), ")"))
    return found


@functools.cache
def infix_texts(grammar, num_tokens):
    """Infix texts with any parentheses: terms with operators between them."""
    if num_tokens < 1:
        return []
    found = list(terms(grammar, num_tokens))
    symbols = [o.symbol for o in grammar.operators if o.infix]
    for length in range(1, num_tokens - 1):
        for left, symbol in itertools.product(infix_texts(grammar, length), symbols):
            found += [(*left, symbol, *right) for right in terms(grammar, num_tokens - 1 - length)]
    return found


def is_infix(grammar, words):
    """Whether the parser reads these tokens, and not as prefix."""
    if words[0] in {o.symbol for o in grammar.operators} and words[1:2] != ("(",):
        return False
    try:
        parse(grammar, " ".join(words))
    except ProgramSyntaxError:
        return False
    return True


@pytest.mark.parametrize(("grammar", "most"), [(POLYNOMIAL, 4), (SIGNS, 6), (CALLS, 5)], ids=languages.label)
def test_the_listed_infix_texts_are_those_that_the_parser_reads(grammar, most):
    words = (*grammar.tokens, "(", ")", ",")
    for length in range(1, most + 1):
        listed = infix_texts(grammar, length)
        assert len(set(listed)) == len(listed)
        assert set(listed) == {row for row in itertools.product(words, repeat=length) if is_infix(grammar, row)}
    long = infix_texts(CALLS, 8)
    assert ("mid", "(", "x", ",", "x", ",", "1", ")") in long and all(is_infix(CALLS, row) for row in long)


def postfix(grammar, text):
    program = Program(grammar, tuple(map(grammar.index.get, text)))
    return program.fold(lambda t: (grammar.tokens[t],), lambda o, parts: (*itertools.chain(*parts), o.symbol))


def texts_within(notation, max_tokens, max_size, measure):
    """All texts within the limits as tuples of token numbers."""
    grammar, found = notation.grammar, []
    marks = 0 if notation.name == "prefix" else 1
    for length in range(1, max_tokens + 1 - marks):
        found += infix_texts(grammar, length) if notation.name == "infix" else programs(grammar, length)
    if max_size is not None:
        counted = grammar.tokens[: grammar.num_terminals] if measure == "leaves" else grammar.tokens
        found = [text for text in found if sum(word in counted for word in text) <= max_size]
    if notation.name == "postfix":
        found = [postfix(grammar, text) for text in found]
    return {tuple(map(notation.tokens.index, text + ("<end>",) * marks)) for text in found}


def walk(continuations, rows):
    """State behind all rows of one length."""
    state = continuations.start(len(rows))
    for column in np.array(rows, dtype=np.int64).reshape(len(rows), -1).T:
        state = continuations.advance(state, torch.from_numpy(column.copy()))
    return state


def check(notation, max_tokens, max_size=None, measure="leaves"):
    texts = texts_within(notation, max_tokens, max_size, measure)
    assert texts
    follow = defaultdict(set)
    for text in texts:
        for length in range(len(text)):
            follow[text[:length]].add(text[length])
    continuations = Continuations(notation, max_tokens, max_size=max_size, measure=measure)
    numbers = np.arange(len(notation.tokens))
    for length in range(1 + max(map(len, texts))):
        rows = [row for row in follow if len(row) == length]
        ended = [text for text in texts if len(text) == length]
        state = walk(continuations, rows + ended)
        assert all(len(part) == len(rows + ended) for part in state)
        finished = continuations.finished(state)
        assert finished.dtype == torch.bool and finished.tolist() == [False] * len(rows) + [True] * len(ended)
        allowed = continuations.allowed(state, length)
        assert allowed.dtype == torch.bool and allowed.shape == (len(rows + ended), len(numbers))
        assert [set(numbers[row].tolist()) for row in allowed.numpy()[: len(rows)]] == [follow[row] for row in rows]
        assert allowed.any(dim=1).all()


@by_notation
@pytest.mark.parametrize(
    ("grammar", "max_tokens"),
    [(POLYNOMIAL, 2), (POLYNOMIAL, 6), (CALLS, 7), (CALLS, 10), (SIGNS, 7), (FIVES, 9), (THREES, 12)],
    ids=languages.label,
)
def test_allowed_tokens_are_those_of_all_texts(grammar, max_tokens, name):
    check(Notation(grammar, name), max_tokens if name == "infix" else min(max_tokens, 9))


@by_notation
@by_measure
@pytest.mark.parametrize(
    ("grammar", "max_tokens", "max_size"),
    [
        (POLYNOMIAL, 6, 1),
        (POLYNOMIAL, 6, 2),
        (POLYNOMIAL, 6, 3),
        (CALLS, 10, 3),
        (CALLS, 9, 4),
        (SIGNS, 8, 2),
        (FIVES, 9, 5),
        (FIVES, 10, 6),
        (THREES, 12, 2),
        (THREES, 12, 4),
    ],
    ids=languages.label,
)
def test_sizes_are_limited_too(grammar, max_tokens, max_size, measure, name):
    check(Notation(grammar, name), max_tokens, max_size, measure)


def test_the_shortest_way_to_end_may_be_too_large():
    """On four programs, `five` needs a fifth leaf and two tokens; three multiplications need no leaf."""
    notation = Notation(FIVES, "postfix")
    x, five, times = map(notation.tokens.index, ("x", "five", "*"))
    for max_tokens, max_size, expected in ((7, 5, {x}), (8, 4, {times}), (8, 5, {x, times}), (20, 4, {times})):
        continuations = Continuations(notation, max_tokens, max_size=max_size)
        state = walk(continuations, [(x, x, x, x)])
        assert set(continuations.allowed(state, 4)[0].nonzero()[:, 0].tolist()) - {five} == expected


def test_by_depth_only_tokens_are_limited():
    notation = Notation(POLYNOMIAL, "infix")
    by_depth, free = Continuations(notation, 9, max_size=0, measure="depth"), Continuations(notation, 9)
    rows = [text[:4] for text in texts_within(notation, 6, None, "leaves") if len(text) > 4]
    assert by_depth.allowed(walk(by_depth, rows), 4).equal(free.allowed(walk(free, rows), 4))


# ---------------------------------------------------------------- random walks


@by_notation
@pytest.mark.parametrize(
    ("grammar", "max_tokens", "max_size", "measure"),
    [
        (POLYNOMIAL, 16, 5, "leaves"),
        (PIECEWISE, 21, 6, "leaves"),
        (languages.UNARY, 14, 8, "nodes"),
        (languages.MIXED, 30, None, "leaves"),
        (languages.MULADD, 2, 1, "nodes"),
    ],
    ids=languages.label,
)
def test_random_walks_over_allowed_tokens_end_in_programs_within_the_limits(
    grammar, max_tokens, max_size, measure, name
):
    notation = Notation(grammar, name)
    continuations = Continuations(notation, max_tokens, max_size=max_size, measure=measure)
    generator = torch.Generator().manual_seed(3)
    state, written = continuations.start(3000), np.full((3000, max_tokens), PAD, dtype=np.uint8)
    for position in range(max_tokens):
        allowed = continuations.allowed(state, position)
        tokens = torch.multinomial(allowed.float(), 1, generator=generator)[:, 0]
        open_rows = ~continuations.finished(state).numpy()
        written[open_rows, position] = tokens.numpy()[open_rows]
        state = continuations.advance(state, tokens)
    assert continuations.finished(state).all()
    prefix = notation.decode(written)
    lengths, longest = prefix_lengths(grammar, prefix), (written != PAD).sum(axis=1).max()
    assert (lengths > 0).all()
    sizes = sizes_of(grammar, prefix, measure)
    assert longest <= max_tokens and (max_size is None or sizes.max() == max_size)


# ---------------------------------------------------------------- anything else that decoding does


@by_notation
def test_no_token_raises_and_finished_rows_stay_finished(name):
    notation = Notation(languages.MULADD, name)
    continuations = Continuations(notation, 8, max_size=4, measure="nodes")
    generator = torch.Generator().manual_seed(1)
    state, finished = continuations.start(5000), torch.zeros(5000, dtype=torch.bool)
    written = np.zeros((5000, 12), dtype=np.uint8)
    for position in range(12):
        tokens = torch.randint(len(notation.tokens), (5000,), generator=generator)
        if position % 4 == 3:
            tokens[::50], tokens[1::50] = PAD, -1
        written[:, position] = tokens.clamp(0, len(notation.tokens) - 1).numpy()
        state = continuations.advance(state, tokens)
        assert continuations.allowed(state, position + 1).any(dim=1).all()
        assert (continuations.finished(state) | ~finished).all()
        finished = continuations.finished(state)
    if name == "prefix":
        assert finished.tolist() == (prefix_lengths(notation.grammar, written) > 0).tolist()
    else:
        assert finished.tolist() == (written == notation.end).any(axis=1).tolist()
    assert finished.any() and not finished.all()


@by_notation
def test_the_same_token_over_and_over_is_no_error(name):
    notation = Notation(PIECEWISE, name)
    continuations, numbers = Continuations(notation, 6, max_size=3), torch.arange(len(notation.tokens))
    state = continuations.start(len(numbers))
    for position in range(300):
        assert continuations.allowed(state, position).any(dim=1).all()
        state = continuations.advance(state, numbers)
    ends = numbers < PIECEWISE.num_terminals if name == "prefix" else numbers == notation.end
    assert continuations.finished(state).equal(ends)


@by_notation
def test_beams_can_be_reordered(name):
    notation = Notation(CALLS, name)
    continuations = Continuations(notation, 12)
    rows = sorted(text[:5] for text in texts_within(notation, 9, None, "leaves") if len(text) > 5)
    order = torch.from_numpy(np.random.default_rng(0).integers(len(rows), size=200))
    state = tuple(part.index_select(0, order) for part in walk(continuations, rows))
    again = walk(continuations, [rows[k] for k in order.tolist()])
    assert continuations.allowed(state, 5).equal(continuations.allowed(again, 5))


def one_step(continuations, state, tokens):
    state = continuations.advance(state, tokens)
    return continuations.allowed(state, 3), continuations.finished(state), state


@by_notation
def test_shapes_do_not_depend_on_values_and_nothing_is_read_by_the_host(name):
    """A device without values runs it all, and so does a graph without breaks."""
    notation = Notation(CALLS, name)
    nowhere = Continuations(notation, 12, max_size=4, device="meta")
    allowed, finished, state = one_step(nowhere, nowhere.start(7), torch.zeros(7, dtype=torch.long, device="meta"))
    assert allowed.shape == (7, len(notation.tokens)) and finished.shape == (7,)
    assert [(s.shape, s.dtype) for s in state] == [(s.shape, s.dtype) for s in nowhere.start(7)]
    here, tokens = Continuations(notation, 12, max_size=4), torch.tensor([0, 2, 3])
    traced = torch.compile(functools.partial(one_step, here), backend="eager", fullgraph=True)(here.start(3), tokens)
    for one, two in zip(traced[:2], one_step(here, here.start(3), tokens)[:2], strict=True):
        assert one.equal(two)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("prefix", {"max_tokens": 0}, "no prefix text has 0 tokens: allow at least 1"),
        ("infix", {"max_tokens": 1}, "no infix text has 1 tokens: allow at least 2"),
        ("postfix", {"max_tokens": 5, "max_size": 0}, "no program has 0 leaves: allow at least 1"),
        ("prefix", {"max_tokens": 5, "max_size": -1, "measure": "depth"}, "no program has -1 depth"),
        ("prefix", {"max_tokens": 5, "measure": "letters"}, "unknown measure 'letters': choose from leaves, nodes"),
    ],
)
def test_limits_that_no_program_meets_are_refused(name, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Continuations(Notation(POLYNOMIAL, name), **arguments)
