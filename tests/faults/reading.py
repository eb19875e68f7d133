"""Random texts for the parser, and a second reader of programs that shares nothing with it."""

import ast
import random
import re

from synthlab.errors import ProgramSyntaxError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.notation import Notation
from synthlab.language.operator import Operator
from synthlab.language.program import Program, parse, token_matrix

SYMBOLS = ("+", "-", "*", "/", "**", "++", "+-", "<=>", "|", "/.", ":=", "%", "->", "~", ".")
NAMES = ("f", "neg", "xy", "min3", "_", "E1", "if", "lambda", "None", "clamp")
LEAVES = ("x", "y", "x1", "_x", "X", "e")
WEIRD = "²٣½ｘхχ−–\u00a0\u200b\u202e\ufeff\x00\x1b\x7f\ud800\udcff🙂 '\"`$\\{}[];#@\n\t\r\x0b"
BLANKS = " \t\r\n"


def random_grammar(seed):
    """A grammar of operators with one to three operands, names and symbols that begin alike, and equal strengths."""
    draw = random.Random(seed)
    leaves = draw.sample(LEAVES, draw.randint(1, 3))
    operators = [
        Operator(symbol=symbol, arity=2, meaning=lambda a, b: a + b, precedence=draw.randint(-2, 2))
        for symbol in draw.sample(SYMBOLS, draw.randint(1, 5))
    ]
    meanings = {1: lambda a: a, 2: lambda a, b: a - b, 3: lambda a, b, c: a + b + c}
    for name in draw.sample([n for n in NAMES if n not in leaves], draw.randint(1, 4)):
        arity = draw.randint(1, 3)
        operators.append(Operator(symbol=name, arity=arity, meaning=meanings[arity]))
    draw.shuffle(operators)
    constants = tuple(draw.sample([0, 1, 10, 101, 7], draw.randint(0, 3)))
    grid = Grid.regular(*[0] * len(leaves))
    return Grammar(
        name=f"random{seed}", variables=tuple(leaves), constants=constants, operators=tuple(operators), grid=grid
    )


GRAMMARS = (POLYNOMIAL, RATIONAL, PIECEWISE, *map(random_grammar, range(12)))


# ---------------------------------------------------------------- texts


def random_prefix(draw, grammar, most):
    """Prefix tokens of a random tree with about so many inner nodes."""
    leaves, tokens, slots = grammar.num_terminals, [], 1
    while slots:
        inner = draw.random() < (0.55 if len(tokens) + slots < most else 0)
        token = draw.randrange(leaves, len(grammar.tokens)) if inner else draw.randrange(leaves)
        tokens.append(token)
        slots += int(grammar.arities[token]) - 1
    return tokens


def bracketed(draw, grammar, tokens):
    """Infix text with random blanks and superfluous parentheses."""
    stack = []
    for token in reversed(tokens):
        text, arity = grammar.tokens[token], int(grammar.arities[token])
        parts = [stack.pop() for _ in range(arity)]
        if (arity and text[0].isalpha()) or (text[0] == "_" and arity):
            text = f"{text}({', '.join(parts)})"
        elif arity:
            text = f"({parts[0]}{draw.choice(['', ' ', '  '])}{text}{draw.choice([' ', '  '])}{parts[1]})"
        stack.append(f"({text})" if draw.random() < 0.1 else text)
    return stack[0]


def mutated(draw, text):
    """The text with a few characters, or a word, deleted, inserted, swapped or doubled."""
    for _ in range(draw.randint(1, 3)):
        words = re.findall(r"\s+|\w+|[^\w\s]+", text) if draw.random() < 0.6 else list(text)
        if not words:
            return draw.choice(WEIRD)
        at, other = draw.randrange(len(words)), draw.randrange(len(words))
        kind = draw.randrange(5)
        if kind == 0:
            del words[at]
        elif kind == 1:
            words.insert(at, draw.choice([*"()+-*,x1 ", draw.choice(WEIRD), words[other]]))
        elif kind == 2:
            words[at], words[other] = words[other], words[at]
        elif kind == 3:
            words[at : at + 1] = [words[at]] * 2
        else:
            words[at] = words[other]
        text = "".join(words)
    return text


def random_text(draw, grammar):
    """Text of one of six kinds, from noise to a whole program."""
    kind = draw.randrange(6)
    if kind == 0:
        return "".join(chr(draw.randrange(0x110000)) for _ in range(draw.randint(0, 12)))
    if kind == 1:
        return "".join(draw.choice(["(", ")", ",", " ", *WEIRD, *grammar.tokens]) for _ in range(draw.randint(0, 12)))
    if kind == 2:
        return draw.choice(["", " "]).join(
            draw.choice(["(", ")", ",", *grammar.tokens]) for _ in range(draw.randint(0, 9))
        )
    tokens = random_prefix(draw, grammar, draw.choice([1, 3, 8, 20]))
    text = draw.choice([
        lambda: " ".join(grammar.tokens[t] for t in tokens),
        lambda: Program(grammar, tuple(tokens)).infix_text(),
        lambda: bracketed(draw, grammar, tokens),
    ])()  # fmt: skip
    return text if kind == 3 else mutated(draw, text)


# ---------------------------------------------------------------- a second reader


def lexemes(grammar, text):
    """Words of a text, or None where it holds anything but tokens, brackets, commas and blanks."""
    symbols = sorted((o.symbol for o in grammar.operators if o.symbol[0] not in WORDS), key=len, reverse=True)
    found, at = [], 0
    while at < len(text):
        if text[at] in BLANKS:
            at += 1
            continue
        end = at + 1
        if text[at] in WORDS:
            kind = WORDS[:10] if text[at] in WORDS[:10] else WORDS
            while end < len(text) and text[end] in kind:
                end += 1
        elif text[at] not in "(),":
            symbol = next((s for s in symbols if text[at : at + len(s)] == s), None)
            if symbol is None:
                return None
            end = at + len(symbol)
        if text[at:end] not in grammar.tokens and text[at:end] not in ("(", ")", ","):
            return None
        found.append(text[at:end])
        at = end
    return found


WORDS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"


class Stuck(Exception):
    """The words are no program."""


class Reader:
    """Recursive descent, with one function per strength, as the books have it."""

    def __init__(self, grammar, words):
        self.words, self.at = [*words, ""], 0
        self.arity = dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))
        self.strength = {o.symbol: o.precedence for o in grammar.operators if o.symbol[0] not in WORDS}

    def take(self, *wanted):
        word = self.words[self.at]
        if wanted and word not in wanted:
            raise Stuck
        self.at += 1
        return word

    def infix(self, weakest=-10):
        tree = self.operand()
        while self.strength.get(self.words[self.at], -11) >= weakest:
            symbol = self.take()
            tree = [symbol, *tree, *self.infix(self.strength[symbol] + 1)]
        return tree

    def operand(self):
        word = self.take()
        if word == "(":
            tree = self.infix()
            self.take(")")
            return tree
        if word not in self.arity or word in self.strength:
            raise Stuck
        tree = [word]
        for number in range(self.arity[word]):
            self.take("," if number else "(")
            tree += self.infix()
        if self.arity[word]:
            self.take(")")
        return tree

    def prefix(self):
        word = self.take()
        if word not in self.arity:
            raise Stuck
        return [word, *(token for _ in range(self.arity[word]) for token in self.prefix())]


def read(grammar, text):
    """Prefix token texts of a program in either notation, or None."""
    words = lexemes(grammar, text)
    if not words:
        return None
    for way in (Reader.infix, Reader.prefix):
        reader = Reader(grammar, words)
        try:
            tree = way(reader)
            reader.take("")
            return tree
        except (Stuck, IndexError):
            continue
    return None


_PYTHON = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def python_tree(node):
    """Prefix token texts of an expression as Python reads it."""
    if isinstance(node, ast.Expression):
        return python_tree(node.body)
    if isinstance(node, ast.BinOp):
        return [_PYTHON[type(node.op)], *python_tree(node.left), *python_tree(node.right)]
    return [node.id] if isinstance(node, ast.Name) else [str(node.value)]


# ---------------------------------------------------------------- properties


def check_text(grammar, text):
    """Read one text in both ways, compare, and print what was read; the program, or None for a refusal."""
    wanted = read(grammar, text)
    try:
        program = parse(grammar, text)
    except ProgramSyntaxError as error:
        assert wanted is None, f"{grammar.name}: {text!r} was refused: {error}"
        assert 0 <= error.position <= len(text), text
        assert str(error).isascii() and str(error).isprintable() and len(str(error)) < 600, text
        if lexemes(grammar, text):  # what stands before the place is not at fault
            check_beginning(grammar, text[: error.position])
        return None
    assert wanted is not None, f"{grammar.name}: {text!r} was read as {program!r}"
    assert [grammar.tokens[t] for t in program.prefix] == wanted, text
    for printed in (program.infix_text(), program.prefix_text()):
        assert parse(grammar, printed) == program and read(grammar, printed) == wanted, text
    if grammar in (POLYNOMIAL, RATIONAL) and not set(text) & set("\r\n\t,") and text.strip()[0] not in "+-*/":
        assert python_tree(ast.parse(text.strip(), mode="eval")) == wanted, text
    return program


def check_beginning(grammar, text):
    """The text is a program, or can be continued: its only fault is that it ends."""
    try:
        parse(grammar, text)
    except ProgramSyntaxError as error:
        assert error.position == len(text) or text.strip() == "", (grammar.name, text, str(error))


def check_notations(grammar, programs):
    """Texts of tokens give the programs back in every notation."""
    rows = token_matrix(programs)
    for name in ("prefix", "postfix", "infix"):
        notation = Notation(grammar, name)
        back = notation.decode(notation.encode(rows))
        assert [Program.from_row(grammar, row) for row in back] == programs


def fuzz(num, seed):
    """Check so many random texts, spread over all grammars; how many of them were programs."""
    accepted = 0
    for number, grammar in enumerate(GRAMMARS):
        draw = random.Random(f"{seed}/{grammar.name}")
        share = (num + number) // len(GRAMMARS)
        programs = [p for p in (check_text(grammar, random_text(draw, grammar)) for _ in range(share)) if p]
        check_notations(grammar, programs)
        accepted += len(programs)
    return accepted
