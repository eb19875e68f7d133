"""Pictures of one program: its tree, and its outputs on the grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from synthlab.language.grammar import Operator
from synthlab.language.program import Program
from synthlab.views import theme


def outputs_heatmap(
    frame: pd.DataFrame, title: str = "What does the solver see?", subtitle: str = ""
) -> alt.LayerChart:
    """Outputs of one program on the grid (columns x, y, value); a pole stays grey."""
    table = theme.checked("outputs_heatmap", frame, "x", "y", "value")
    columns, rows = list(dict.fromkeys(table["x"])), list(dict.fromkeys(table["y"]))[::-1]
    base = alt.Chart(table).encode(
        alt.X("x:O", sort=columns, axis=alt.Axis(format=".3~f" if table["x"].dtype.kind == "f" else "")),
        alt.Y("y:O", sort=rows, axis=alt.Axis(format=".3~f" if table["y"].dtype.kind == "f" else "")),
        tooltip=["x", "y", "value"],
    )
    defined = base.transform_filter("isValid(datum.value)")
    cells = defined.mark_rect(stroke="white").encode(alt.Color("value:Q", scale=alt.Scale(scheme="viridis")))
    text = defined.mark_text().encode(
        alt.Text("value:Q", format=".4~g"), color=theme.on_viridis(table["value"], "value")
    )
    poles = base.mark_rect(stroke="white", color=theme.GREY)
    size = {"width": 56 * len(columns), "height": 42 * len(rows)}
    return theme.layers(poles, cells, text, title=theme.titled(title, subtitle), **size)


def program_tree(program: Program, title: str = "", subtitle: str = "") -> alt.LayerChart:
    """Drawing of a program as a tree: operators are circles, variables and constants are squares."""
    width, nodes, edges = place_nodes(program)
    table = pd.DataFrame(nodes, columns=["x", "depth", "token", "kind"])
    links = pd.DataFrame(edges, columns=["x", "depth", "x2", "depth2"])
    depth = int(table["depth"].max())
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, width], nice=False))
    y = alt.Y("depth:Q", axis=None, scale=alt.Scale(domain=[depth + 0.5, -0.5], nice=False))
    lines = alt.Chart(links).mark_rule(color="#888888", strokeWidth=2).encode(x, y, x2="x2", y2="depth2")
    kinds = ["operator", "leaf"]
    marks = (
        alt.Chart(table)
        .mark_point(filled=True, size=900, opacity=1)
        .encode(
            x,
            y,
            alt.Color("kind:N", legend=None, scale=alt.Scale(domain=kinds, range=[theme.BLUE, theme.ORANGE])),
            alt.Shape("kind:N", legend=None, scale=alt.Scale(domain=kinds, range=["circle", "square"])),
        )
    )
    ink = alt.condition("datum.kind == 'leaf'", alt.value("black"), alt.value("white"))
    text = alt.Chart(table).mark_text(fontSize=17, fontWeight="bold").encode(x, y, text="token:N", color=ink)
    heading = theme.titled(title or program.infix_text(), subtitle)
    drawn = [lines, marks, text] if len(links) else [marks, text]
    size = {"width": max(120, 64 * width), "height": 70 * (depth + 1)}
    return theme.layers(*drawn, title=heading, view=alt.ViewBackground(stroke=None), **size)


def place_nodes(
    program: Program,
) -> tuple[int, list[tuple[float, int, str, str]], list[tuple[float, int, float, int]]]:
    """Where the nodes of a tree are drawn, in units of a leaf's width and of a level's height.

    Returns
    -------
    tuple
        Width; nodes as (x, depth, token, "operator" or "leaf"); edges as (x, depth, x2, depth2).
    """
    width, _, nodes, edges = program.fold(
        lambda token: (1, 0.5, [(0.5, 0, program.grammar.tokens[token], "leaf")], []), _place_operands
    )
    return width, nodes, edges


def _place_operands(operator: Operator, below: Sequence[Any]) -> Any:
    """Set subtrees side by side under an operator: width, place of the root, nodes and edges."""
    nodes: list[tuple[float, int, str, str]] = []
    edges: list[tuple[float, int, float, int]] = []
    width, roots = 0, []
    for part_width, root, part_nodes, part_edges in below:
        nodes += [(width + x, depth + 1, text, kind) for x, depth, text, kind in part_nodes]
        edges += [(width + x, d + 1, width + x2, d2 + 1) for x, d, x2, d2 in part_edges]
        roots.append(width + root)
        width += part_width
    place = (roots[0] + roots[-1]) / 2
    nodes.append((place, 0, operator.symbol, "operator"))
    return width, place, nodes, edges + [(place, 0, root, 1) for root in roots]
