"""Rules of the code that no linter states: small functions, documented names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "synthlab"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in FILES}

MAX_MODULE, MAX_FUNCTION, LONG_FUNCTION, SHARE_SHORT = 400, 60, 40, 0.9
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


# ---------------------------------------------------------------- size


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Name and number of lines of every function, docstring included."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION):
            yield node.name, node.end_lineno - node.lineno + 1


ALL_FUNCTIONS = [(f"{name}:{function}", lines) for name, tree in TREES.items() for function, lines in functions(tree)]


def test_functions_are_short() -> None:
    assert len(ALL_FUNCTIONS) > 100
    assert [f for f in ALL_FUNCTIONS if f[1] > MAX_FUNCTION] == []
    short = sum(lines < LONG_FUNCTION for _, lines in ALL_FUNCTIONS)
    assert short >= SHARE_SHORT * len(ALL_FUNCTIONS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_MODULE


def test_lines_of_a_function_are_counted() -> None:
    source = "def f():\n    '''Doc.'''\n    def g():\n        pass\n    return g\n"
    assert list(functions(ast.parse(source))) == [("f", 5), ("g", 2)]


# ---------------------------------------------------------------- documentation


class Documentation:
    """Which public names of some modules lack a docstring; a documented base speaks for its overrides."""

    OPEN_BASES = frozenset({"object", "ABC", "Protocol", "Generic", "Exception", "ValueError", "NamedTuple", "Enum"})

    def __init__(self, trees: dict[str, ast.Module]) -> None:
        self.trees = trees
        self.classes = {n.name: n for t in trees.values() for n in ast.walk(t) if isinstance(n, ast.ClassDef)}

    def missing(self) -> list[str]:
        """Undocumented names as ``file:line name``."""
        return [f"{file}:{n.lineno} {n.name}" for file, tree in self.trees.items() for n in self._bare(tree.body, None)]

    def _bare(self, body: list[ast.stmt], owner: ast.ClassDef | None) -> Iterator[ast.ClassDef | ast.FunctionDef]:
        for node in body:
            if not isinstance(node, (*FUNCTION, ast.ClassDef)) or node.name.startswith("_"):
                continue
            inherited = owner is not None and self._speaks_for(owner, node.name)
            if not ast.get_docstring(node) and not inherited:
                yield node
            if isinstance(node, ast.ClassDef):
                yield from self._bare(node.body, node)

    def _speaks_for(self, owner: ast.ClassDef, method: str) -> bool:
        for base in (ast.unparse(b).split("[")[0].split(".")[-1] for b in owner.bases):
            if base not in self.classes:
                if base not in self.OPEN_BASES:
                    return True  # a library's base class documents its own hooks
                continue
            parent = self.classes[base]
            found = next((n for n in parent.body if isinstance(n, FUNCTION) and n.name == method), None)
            if (found and ast.get_docstring(found)) or self._speaks_for(parent, method):
                return True
        return False


def test_public_names_have_docstrings() -> None:
    assert Documentation(TREES).missing() == []


def test_modules_have_docstrings() -> None:
    assert [name for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree)] == []


def test_missing_docstrings_are_noticed() -> None:
    source = """
def f(): pass
def _g(): pass
class A(abc.ABC):
    '''Doc.'''
    def told(self):
        '''Doc.'''
    def silent(self): pass
class B(A):
    '''Doc.'''
    def told(self): pass
    def silent(self): pass
class C(nn.Module):
    '''Doc.'''
    def forward(self): pass
class D: pass
"""
    missing = Documentation({"m": ast.parse(source)}).missing()
    assert [m.split()[1] for m in missing] == ["f", "silent", "silent", "D"]
