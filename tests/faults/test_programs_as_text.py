"""Hostile program text at every door where text becomes a program: it is read or refused, and never runs."""

import json
import os
import re
import subprocess
import sys

import pandas as pd
import pytest
from faults.limited import PATIENCE, TESTS, answer_of

from synthlab.__main__ import main
from synthlab.errors import GrammarError, ProgramSyntaxError, SynthlabError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid, get_grammar
from synthlab.language.operator import ADD, MULTIPLY, NEGATE, Operator
from synthlab.language.program import parse
from synthlab.splits.regions import read_region, texts_in
from synthlab.study import formulas
from synthlab.study.freezing import Domain, build_benchmark
from synthlab.study.predictions import read_predictions
from synthlab.study.scoring import score

CLAMP = Operator(symbol="clamp", arity=3, meaning=lambda a, b, c: a * b + c)
NAMED = Grammar(name="text_named", variables=("x", "y"), constants=(1, 20), operators=(ADD, NEGATE, MULTIPLY, CLAMP))
GRAMMARS = (POLYNOMIAL, RATIONAL, PIECEWISE, NAMED)
MOST = 2 << 30

CODE = (
    "__import__('os').system('touch canary')",
    "exec(\"open('canary', 'w')\")",
    "eval('1')",
    "f\"{open('canary', 'w')}\"",
    "{open('canary', 'w')}",
    "%(x)s",
    "(lambda: open('canary', 'w'))()",
    "lambda x: x",
    "x.__class__.__mro__[1].__subclasses__()",
    "x.real",
    "`touch canary`",
    "$(touch canary)",
    "x; y",
    "x if y else 1",
    "[x for x in ()]",
    "x := 1",
    "x = 1",
    "print(x)",
    "globals",
    "@x",
    "x\n#y",
    "'x'",
    "<script>open('canary')</script>",
    "';DROP TABLE programs;--",
    "../../etc/passwd",
    "!!python/object/apply:os.system ['touch canary']",
    "\x1b[31mx\x1b[0m",
    "x + \x1b]0;canary\x07",
)
LETTERS = {
    "full-width x": ("ｘ + y", 0),
    "Cyrillic x": ("1 * \u0445", 4),
    "Greek chi": ("χ", 0),
    "mathematical bold x": ("𝐱 + 1", 0),
    "Arabic three": ("x + ٣", 4),
    "Arabic letters before": ("٣ * x", 0),
    "superscript two": ("x²", 1),
    "subscript two": ("x + y₂", 5),
    "vulgar fraction": ("x + ½", 4),
    "Roman numeral two": ("x + Ⅱ", 4),
    "full-width one": ("x + １", 4),
    "Unicode minus": ("x \u2212 y", 2),
    "en dash": ("x – y", 2),
    "multiplication sign": ("x × y", 2),
    "middle dot": ("x·y", 1),
    "full-width parenthesis": ("（x)", 0),
    "no-break space": ("x\u00a0+ y", 1),
    "line separator": ("x\u2028+ y", 1),
    "vertical tab": ("x\x0b+ y", 1),
    "form feed": ("x\x0c", 1),
    "byte order mark": ("\ufeffx", 0),
    "zero-width space": ("x +\u200b y", 3),
    "zero-width joiner": ("x\u200d", 1),
    "right-to-left override": ("x \u202e+ y", 2),
    "soft hyphen": ("x\u00ad", 1),
    "combining accent": ("x\u0301", 1),
    "variation selector": ("1\ufe0f + x", 1),
    "tag letter": ("x\U000e0078", 1),
    "NUL": ("x\x00 + y", 1),
    "escape": ("\x1b[2J", 0),
    "delete": ("x\x7f", 1),
    "lone surrogate": ("x + \ud800", 4),
    "surrogates of an undecodable byte": ("\udcff", 0),
    "private use": ("x\ue000", 1),
    "no character": ("x\uffff", 1),
    "emoji": ("🙂", 0),
}
"""Text of every kind, and where it leaves the language."""


@pytest.fixture
def untouched(tmp_path, monkeypatch):
    """A working folder in which nothing may appear."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert list(folder.iterdir()) == []


def refused(grammar, text):
    """The refusal of a text: it has a place in the text, says what was expected, and can be shown anywhere."""
    with pytest.raises(ProgramSyntaxError) as caught:
        parse(grammar, text)
    message = str(caught.value)
    assert 0 <= caught.value.position <= len(text) and caught.value.expected
    assert message.isascii() and message.isprintable() and len(message) < 400
    assert message.startswith(f"position {caught.value.position}: expected {caught.value.expected}")
    return caught.value


@pytest.mark.fault("code in program text")
def test_code_is_no_program_wherever_it_stands(untouched, fired):
    for grammar in GRAMMARS:
        for code in CODE:
            error = refused(grammar, code)
            assert error.position == first_foreign(grammar, code), (grammar.name, code)
            for around, before in (("x + {}", 4), ("+ x {}", 4), ("({})", 1), ("* + {} x 1", 4), ("  {}  ", 2)):
                position = refused(grammar, around.replace("{}", code)).position
                assert position >= before or not grammar.index.get("*"), (code, around)
            fired(6)


def first_foreign(grammar, text):
    """Where the text first holds what is no token, by a scanner that knows nothing of trees; else where it is odd."""
    symbols = sorted((t for t in grammar.tokens if not t[0].isalnum()), key=len, reverse=True)
    position = 0
    while position < len(text):
        word = re.match(r"[A-Za-z_]\w*|[0-9]+", text[position:], re.ASCII)
        symbol = next((s for s in symbols if text.startswith(s, position)), None)
        if text[position] in " \t\r\n(),":
            position += 1
        elif symbol:
            position += len(symbol)
        elif word and word.group() in grammar.tokens:
            position += word.end()
        else:
            return position
    raise AssertionError(f"{text!r} has tokens only")


@pytest.mark.fault("code in program text")
def test_code_is_no_name_of_a_grammar(untouched, fired):
    spaced = [code for code in CODE if not re.fullmatch(r"[A-Za-z_]+", code)]
    for code in spaced:
        for changes in ({"name": code}, {"variables": (code, "y")}, {"constants": (code,)}):
            with pytest.raises(GrammarError) as caught:
                Grammar(**{"name": "g", "variables": ("x", "y"), "operators": (ADD,), **changes})
            assert str(caught.value).isascii() and str(caught.value).isprintable() and len(str(caught.value)) < 300
        with pytest.raises(GrammarError, match="use a name or ASCII punctuation"):
            Operator(symbol=code, arity=2, meaning=lambda a, b: a + b)
        with pytest.raises(GrammarError, match="no finite number"):
            Grid(((0, code),))
        with pytest.raises(GrammarError, match="unknown grammar"):
            get_grammar(code)
        fired(6)


@pytest.mark.fault("code in program text")
def test_code_on_the_command_line_is_one_line_of_error(untouched, fired, capsys):
    for code in CODE:
        doors = [
            ["parse", code], ["same", "x", code], ["same", code, "x"], ["eval", code, "--x", "1", "--y", "1"],
            ["pqgram", code, "x"], ["search", "--target", code], ["parse", "x", "--grammar", code],
            ["eval", "x", "--x", code, "--y", "1"], ["eval", "x", "--x", "1", "--set", f"y={code}"],
        ]  # fmt: skip
        for arguments in doors:
            assert main(arguments) == 2, arguments
            out, error = capsys.readouterr()
            assert out == "" and error.startswith("synthlab: ") and error.count("\n") == 1
            assert error[:-1].isprintable() and len(error) < 600, arguments
        fired(len(doors))


@pytest.mark.fault("code in program text")
def test_code_is_no_region_of_a_split_and_no_formula(untouched, fired, monkeypatch, corpus3):
    for code in CODE:
        for text in (code, json.dumps(code)):
            region = read_region([f"subtree={text}"], rule="subtree")
            with pytest.raises(ProgramSyntaxError):
                texts_in(region, POLYNOMIAL, corpus3.prefix)
        with pytest.raises(SynthlabError):
            texts_in(read_region([f"root={code}"], rule="root"), POLYNOMIAL, corpus3.prefix)
        rows = (formulas.Formula("stolen", code, "", ""),)
        monkeypatch.setitem(formulas.FORMULAS, "polynomial", rows)
        with pytest.raises(ProgramSyntaxError):
            formulas.formulas(POLYNOMIAL)
        fired(4)


@pytest.mark.fault("code in program text")
def test_code_among_predictions_is_graded_ungrammatical(untouched, fired, tmp_path):
    root = {"root": read_region([], rule="root", root="*")}
    domain = Domain(grammar="polynomial", max_size=3, regions=root, isolated=(), num_tasks=20, reserved=0.25)
    benchmark = build_benchmark([domain])
    task = benchmark.tasks["task"].iloc[0]
    hostile = [*CODE, *(text for text, _ in LETTERS.values())]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps({"task": task, "rank": k, "program": t}) + "\n" for k, t in enumerate(hostile)))
    for rows in (read_predictions(path), pd.DataFrame({"task": task, "rank": range(len(CODE)), "program": CODE})):
        (row,) = score(rows, benchmark).tasks.query("answered").to_dict("records")
        assert row["status"] == "ungrammatical" and not row["solved"] and row["num_correct"] == 0
        assert row["num_candidates"] == len(rows)
        fired(len(rows))


@pytest.mark.fault("unknown operators, Unicode digits, homoglyphs")
def test_only_ascii_is_read_and_the_place_is_named(untouched, fired, capsys):
    for name, (text, position) in LETTERS.items():
        for grammar in GRAMMARS:
            if not set(text) & set("*") or grammar.index.get("*"):
                error = refused(grammar, text)
                assert error.position == position, name
                assert "one of x y 1" in error.expected
                fired()
        assert main(["parse", text.replace("\x00", "\x01")]) == 2, name  # no argument holds a NUL
        assert capsys.readouterr().err[:-1].isprintable()
        fired()
    decimals = [chr(k) for k in range(128, sys.maxunicode + 1) if chr(k).isdecimal() or chr(k).isdigit()]
    assert len(decimals) > 700
    for digit in decimals:
        assert refused(POLYNOMIAL, f"x + {digit}").position == 4
        assert refused(POLYNOMIAL, f"1{digit}").position == 1
    fired(2 * len(decimals))


@pytest.mark.fault("unknown operators, Unicode digits, homoglyphs")
def test_operators_of_other_grammars_and_other_spellings_are_unknown(untouched, fired):
    unknown = {
        POLYNOMIAL: ["x / y", "x // y", "x ** y", "x % y", "min(x, y)", "x ^ y", "x & y", "x @ y", "x == y", "neg x"],
        RATIONAL: ["x // y", "x ** 2", "max(x, y)", "x 3", "3", "x + X", "Y", "1.5", "1e3", "0x1", "0b1", "1_0", "1j"],
        PIECEWISE: ["MIN(x, y)", "mi n(x, y)", "minimum(x, y)", "min[x, y]", "min{x, y}", "x / y"],
        NAMED: ["clamp2(x, y, 1)", "clam(x, y, 1)", "x - y", "20.0", "2 0", "020", "2", "clamp(x; y; 1)"],
    }
    for grammar, texts in unknown.items():
        for text in texts:
            refused(grammar, text)
            fired()


@pytest.mark.fault("unknown operators, Unicode digits, homoglyphs")
def test_a_grammar_of_many_long_tokens_has_short_messages(fired):
    names = tuple(f"v{k}_{'a' * 58}" for k in range(250))
    with pytest.raises(GrammarError, match="at most 64"):
        Grammar(name="wide", variables=("v" * 65,), operators=(ADD,), grid=Grid.regular(0))
    grammar = Grammar(name="wide", variables=names, operators=(ADD,), grid=Grid(((0, 1),) + ((0,),) * 249))
    for text in ("?", "+", f"{names[0]} +", "x" * 15_000, "1" * 15_000):
        with pytest.raises(ProgramSyntaxError) as caught:
            parse(grammar, text)
        assert (len(str(caught.value)) < 3000 and "more)" in str(caught.value)) or len(str(caught.value)) < 200
        fired()


HUGE = """
import re, time
from synthlab.errors import ProgramSyntaxError
from synthlab.language.grammar import *
from synthlab.language.operator import *
from synthlab.language.program import parse
tower = Grammar(name="tower", variables=("x",), constants=(1,), operators=(ADD, NEGATE, SQUARE), grid=Grid.regular(0))
texts = {
    "10k parentheses": "(" * 10_000 + "x" + ")" * 10_000,
    "9k parentheses": "(" * 9_000 + "x" + ")" * 9_000,
    "9k open parentheses": "(" * 9_000,
    "9k closing parentheses": "x" + ")" * 9_000,
    "1M open parentheses": "(" * 1_000_000,
    "a chain of calls": "neg(" * 3_000 + "x" + ")" * 3_000,
    "a long chain of calls": "neg(" * 10_000 + "x" + ")" * 10_000,
    "a prefix chain of calls": "neg " * 4_000 + "x",
    "a right-nested tree": "(x+" * 4_900 + "x" + ")" * 4_900,
    "a left-nested prefix tree": "+ " * 4_900 + "x " * 4_901,
    "a right-nested prefix tree": "+ x " * 4_900 + "x",
    "a chain of 4999 terms": "x+" * 4_999 + "x",
    "a chain of 20k terms": "x + " * 20_000 + "x",
    "a chain of 1M terms": "x + " * 1_000_000 + "x",
    "1M prefix operators": "+ " * 1_000_000,
    "10 MB of source": "x + 1 " * 1_750_000,
    "10 MB of blanks": " " * 10_000_000,
    "10 MB of one name": "x" * 10_000_000,
    "20k blanks": " " * 20_000,
    "a name of 20k letters": "x" * 20_000,
    "a literal of 19 digits": "1" * 19,
    "a literal of 20k digits": "x + " + "9" * 19_990,
    "a literal of 1M digits": "9" * 1_000_000,
    "20k commas": "," * 20_000,
    "20k operators": "+" * 20_000,
    "20k NULs": chr(0) * 20_000,
}
answer = {}
for grammar in (POLYNOMIAL, tower):
    for name, text in texts.items():
        start = time.perf_counter()
        try:
            found = parse(grammar, text).depth
        except ProgramSyntaxError as error:
            found = [error.position, error.expected, str(error)]
        answer[f"{grammar.name}: {name}"] = [len(text), found, time.perf_counter() - start]
"""


@pytest.mark.fault("deep, long or huge program text")
def test_huge_text_is_refused_soon_in_little_memory_and_stack(fired):
    answers = answer_of(HUGE, memory=MOST, stack=1 << 18)
    assert len(answers) == 52
    for name, (length, found, seconds) in answers.items():
        assert seconds < PATIENCE / 10, name
        if name.endswith(": 9k parentheses"):  # superfluous ones are no nesting of operators
            assert found == 0
            continue
        assert not isinstance(found, int), f"{name} was read, {found} levels deep"
        position, expected, message = found
        assert 0 <= position <= length and len(message) < 400 and message.isprintable() and message.isascii()
        if length > 20_000:
            assert (position, expected) == (20_000, "at most 20000 characters"), name
        fired()
    assert answers["tower: a chain of calls"][1][1] == "at most 500 levels of nesting"
    assert answers["polynomial: a literal of 19 digits"][1][1] == "a literal of at most 18 digits"


@pytest.mark.fault("deep, long or huge program text")
def test_the_command_line_survives_huge_arguments(fired, tmp_path):
    texts = ["(" * 100_000, "x+" * 60_000 + "x", "9" * 120_000, "(x*" * 450 + "x" + ")" * 450]
    ends = [
        subprocess.run(
            [sys.executable, "-m", "synthlab", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(TESTS.parent)},
            check=False,
        )
        for arguments in (["parse", texts[0]], ["eval", texts[3], "--x", "9" * 18, "--y", "1", "--json"])
    ]
    assert [end.returncode for end in ends] == [2, 2]
    assert ends[0].stderr.startswith("synthlab: position 20000: expected at most 20000 characters")
    assert re.search(r"about 8,\d\d\d digits: evaluate a smaller program$", ends[1].stderr.strip()), ends[1].stderr
    fired(2)
    for text in texts[:3]:
        for arguments in (["parse", text], ["same", text, "x"], ["eval", "x", "--x", text, "--y", "1"]):
            assert main(arguments) == 2
            fired()
    assert list(tmp_path.iterdir()) == []
