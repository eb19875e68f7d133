"""Random, noisy and mutated program text: two readers agree on every one, and what is read prints as itself."""

import itertools

import pytest
from faults.reading import BLANKS, GRAMMARS, WEIRD, check_text, fuzz, read
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.language.grammar import POLYNOMIAL, RATIONAL

NUM = 10_000


@pytest.mark.fault("unknown operators, Unicode digits, homoglyphs")
def test_two_readers_agree_on_random_texts(fired):
    accepted = fuzz(NUM, seed=1)
    assert NUM / 5 < accepted < NUM * 3 / 4, "both kinds of text are tried"
    fired(inputs=NUM)


@pytest.mark.fault("unknown operators, Unicode digits, homoglyphs")
def test_two_readers_agree_on_what_hypothesis_finds(fired):
    tried = []
    alphabet = st.sampled_from([*"xy123+-*/(), ", *WEIRD, *BLANKS]) | st.characters()

    @given(st.sampled_from(GRAMMARS), st.text(alphabet, max_size=40) | st.binary(max_size=40))
    @settings(max_examples=300, deadline=None, database=None)
    def check(grammar, text):
        text = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
        check_text(grammar, text)
        tried.append(text)

    check()
    assert len(tried) >= 250
    fired(inputs=len(tried))


@pytest.mark.fault("unknown operators, Unicode digits, homoglyphs")
def test_every_short_text_is_read_alike(fired):
    """All texts of up to four of the words that matter, with and without blanks."""
    count = 0
    for grammar, words in (
        (POLYNOMIAL, ("x", "1", "+", "*", "(", ")", ",", "²")),
        (RATIONAL, ("x", "/", "-", "(", ")")),
    ):
        for length in range(5):
            for chosen in itertools.product(words, repeat=length):
                check_text(grammar, " ".join(chosen))
                count += 1
    assert count == sum(8**n + 5**n for n in range(5))
    fired(inputs=count)


def test_the_second_reader_knows_the_language():
    """Whoever agrees with everything proves nothing."""
    assert read(POLYNOMIAL, "x + y * 2") == ["+", "x", "*", "y", "2"] == read(POLYNOMIAL, "+ x * y 2")
    assert read(POLYNOMIAL, "x - y - 1") == ["-", "-", "x", "y", "1"]
    for text in ("", "x y", "+ x", "x +", "(x", "x)", "()", "x, y", "z", "x + ²", "+ (x) y"):
        assert read(POLYNOMIAL, text) is None
