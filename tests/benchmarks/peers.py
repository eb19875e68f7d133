"""Other evaluators of the same programs, each as a pair of functions: prepare programs, then evaluate them.

Every evaluator gets whole-number inputs in its own floats, on one thread. What is not installed is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.measure import installed

from synthlab.language.grammar import Grammar
from synthlab.language.program import Program


@dataclass(frozen=True)
class Peer:
    """One evaluator.

    Attributes
    ----------
    name, requires
        Its name in the report, and the package it needs (none for Python itself).
    dtype
        The floats it computes in.
    whole_set
        Whether it is fast enough for all programs; others get a subset.
    prepare, evaluate
        From a padded token matrix to something to run; from that and points (W, variables) to outputs (P, W).
    """

    name: str
    requires: str | None
    dtype: Any
    whole_set: bool
    prepare: Callable[[Grammar, np.ndarray], Any]
    evaluate: Callable[[Any, np.ndarray], np.ndarray]


def available() -> tuple[list[Peer], list[str]]:
    """Peers that can run here, and packages that are missing."""
    missing = sorted({p.requires for p in PEERS if p.requires and not installed(p.requires)})
    return [p for p in PEERS if p.requires not in missing], missing


def _texts(grammar: Grammar, prefix: np.ndarray) -> list[str]:
    return [Program.from_row(grammar, row).infix_text() for row in prefix]


def _rows(functions: list[Callable[..., Any]], points: np.ndarray) -> np.ndarray:
    """Outputs (P, W) of functions of one array per variable; constants fill their row."""
    columns = list(np.ascontiguousarray(points.T))
    out = np.empty((len(functions), len(points)), dtype=points.dtype)
    for row, function in enumerate(functions):
        out[row] = function(*columns)
    return out


# ---------------------------------------------------------------- Python


def _compile(grammar: Grammar, prefix: np.ndarray) -> list[Any]:
    arguments = ", ".join(grammar.variables)
    return [eval(compile(f"lambda {arguments}: {text}", "<text>", "eval")) for text in _texts(grammar, prefix)]


def _lambdify(grammar: Grammar, prefix: np.ndarray) -> list[Any]:
    import sympy

    symbols = sympy.symbols(grammar.variables)
    terminals = [*symbols, *map(sympy.Integer, grammar.constants)]
    programs = [Program.from_row(grammar, row) for row in prefix]
    trees = [p.fold(terminals.__getitem__, lambda op, operands: op.meaning(*operands)) for p in programs]
    return [sympy.lambdify(symbols, tree, "numpy") for tree in trees]


def _numexpr(grammar: Grammar, prefix: np.ndarray) -> list[Any]:
    import numexpr

    numexpr.set_num_threads(1)
    functions = []
    for text, row in zip(_texts(grammar, prefix), prefix, strict=True):
        used = [k for k in range(len(grammar.variables)) if k in row]  # unused arguments are refused
        function = numexpr.NumExpr(text, [(grammar.variables[k], np.float64) for k in used])
        every = len(used) == len(grammar.variables)
        functions.append(function if every else lambda *columns, f=function, u=used: f(*[columns[k] for k in u]))
    return functions


# ---------------------------------------------------------------- Operon


def _operon_trees(grammar: Grammar, prefix: np.ndarray) -> Any:
    """Trees of C++ nodes; Operon reads operands backwards from the root, so a tree is a reversed prefix text."""
    import pyoperon as operon

    names = operon.Dataset(np.zeros((1, len(grammar.variables)), dtype=np.float32, order="F")).VariableHashes
    kinds = {"+": operon.NodeType.Add, "-": operon.NodeType.Sub, "*": operon.NodeType.Mul}
    nodes = [operon.Node(operon.NodeType.Variable, name) for name in names]
    nodes += [operon.Node(operon.NodeType.Constant) for _ in grammar.constants]
    for node, value in zip(nodes, [*(1 for _ in grammar.variables), *grammar.constants], strict=True):
        node.Value = float(value)
    nodes += [operon.Node(kinds[o.symbol]) for o in grammar.operators]
    trees = []
    for row in prefix[:, ::-1].tolist():
        tree = operon.Tree([nodes[token] for token in row if token < len(nodes)])
        trees.append(tree.UpdateNodes())
    return trees


def _operon_values(trees: Any, points: np.ndarray) -> np.ndarray:
    import pyoperon as operon

    out = np.empty((len(trees), len(points)), dtype=np.float32)
    columns = np.asfortranarray(points)  # the data set looks at it without keeping it alive
    operon.EvaluateTrees(trees, operon.Dataset(columns), operon.Range(0, len(points)), out, 1)
    return out


PEERS = (
    Peer("Operon (C++)", "pyoperon", np.float32, True, _operon_trees, _operon_values),
    Peer("Python compile, NumPy", None, np.float64, False, _compile, _rows),
    Peer("SymPy lambdify", "sympy", np.float64, False, _lambdify, _rows),
    Peer("numexpr", "numexpr", np.float64, False, _numexpr, _rows),
)
