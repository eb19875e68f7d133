"""Small pictures of one program as inline SVG: drawn in a millisecond, in the colours of the page that shows them."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from synthlab.language.grammar import Grid
from synthlab.language.program import Program
from synthlab.views import theme
from synthlab.views.programs import place_nodes

MOST_NODES = 41
"""Largest tree that is drawn."""
_LEAF_WIDTH, _LEVEL_HEIGHT, _RADIUS = 38, 44, 14
_TREE_WIDTH, _TREE_HEIGHT, _LEAST_SCALE = 420, 330, 0.6
_CELL_WIDTH, _CELL_HEIGHT, _LABEL_WIDTH = 42, 24, 50
_VIRIDIS = np.array([
    (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140), (40, 174, 128), (94, 201, 98),
    (173, 220, 48), (253, 231, 37),
])  # fmt: skip
_BRIGHT_HALF = 0.5


def tree_svg(program: Program) -> str:
    """Tree of a program: operators are circles, variables and constants squares; empty above `MOST_NODES` nodes."""
    if program.nodes > MOST_NODES:
        return ""
    width, nodes, edges = place_nodes(program)
    lines = [
        f'<line x1="{_x(x)}" y1="{_y(depth)}" x2="{_x(x2)}" y2="{_y(depth2)}" stroke="currentColor" opacity=".5"/>'
        for x, depth, x2, depth2 in edges
    ]
    marks = [_node(_x(x), _y(depth), token, kind) for x, depth, token, kind in nodes]
    across, down = width * _LEAF_WIDTH, _y(program.depth) + _RADIUS + 4
    scale = max(_LEAST_SCALE, min(1.0, _TREE_WIDTH / across, _TREE_HEIGHT / down))
    return _svg(f"tree of {program.infix_text()}", across, down, [*lines, *marks], scale)


def _x(place: float) -> float:
    return round(place * _LEAF_WIDTH, 1)


def _y(depth: int) -> int:
    return depth * _LEVEL_HEIGHT + _RADIUS + 4


def _node(x: float, y: int, token: str, kind: str) -> str:
    """A token in its mark; long names are written smaller."""
    if kind == "operator":
        mark, ink = f'<circle cx="{x}" cy="{y}" r="{_RADIUS}" fill="{theme.BLUE}"/>', "#fff"
    else:
        side = 2 * _RADIUS - 3
        corner = f'x="{x - side / 2}" y="{y - side / 2}"'
        mark, ink = f'<rect {corner} width="{side}" height="{side}" rx="2" fill="{theme.ORANGE}"/>', "#000"
    return mark + _text(x, y, token, ink, min(15.0, 40 / max(1, len(token))))


def _text(x: float, y: float, text: str, ink: str, size: float, anchor: str = "middle") -> str:
    style = f'text-anchor="{anchor}" dominant-baseline="central" font-size="{size:.3g}" fill="{ink}"'
    return f'<text x="{x}" y="{y}" {style}>{html.escape(text)}</text>'


def _svg(label: str, width: float, height: float, parts: Sequence[str], scale: float = 1.0) -> str:
    size = f'width="{width * scale:.4g}" height="{height * scale:.4g}" viewBox="0 0 {width} {height}"'
    return f'<svg role="img" aria-label="{html.escape(label)}" {size}>{"".join(parts)}</svg>'


# ---------------------------------------------------------------- outputs


def outputs_svg(grid: Grid, variables: Sequence[str], outputs: np.ndarray) -> str:
    """Heat map of the outputs (G,) of one program on a grid: the first variable to the right, the others upwards.

    A cell without a value is hatched. Colours are viridis from the least to the largest value.
    """
    first, *others = grid.axes
    rows = list(itertools.product(*others))[::-1]
    values = outputs.reshape(len(first), len(rows)).T[::-1]
    finite = outputs[np.isfinite(outputs)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    cells = [
        _cell(_LABEL_WIDTH + column * _CELL_WIDTH, row * _CELL_HEIGHT, float(values[row, column]), low, high)
        for row in range(len(rows))
        for column in range(len(first))
    ]
    bottom, right = len(rows) * _CELL_HEIGHT, _LABEL_WIDTH + len(first) * _CELL_WIDTH
    labels = [
        _label(_LABEL_WIDTH + (column + 0.5) * _CELL_WIDTH, bottom + 12, [value]) for column, value in enumerate(first)
    ]
    if others:
        labels += [_label(_LABEL_WIDTH - 5, (row + 0.5) * _CELL_HEIGHT, at, "end") for row, at in enumerate(rows)]
    names = [_text((_LABEL_WIDTH + right) / 2, bottom + 30, variables[0], "currentColor", 13)]
    turned = f'<g transform="translate(8 {bottom / 2}) rotate(-90)">'
    names += [f"{turned}{_text(0, 0, ', '.join(variables[1:]), 'currentColor', 13)}</g>"] if others else []
    hatch = (
        '<defs><pattern id="synthlab-pole" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" fill="{theme.GREY}"/><path d="M0 6L6 0" stroke="#666"/></pattern></defs>'
    )
    return _svg("outputs on the grid", right, bottom + 40, [hatch, *cells, *labels, *names])


def _cell(x: float, y: float, value: float, low: float, high: float) -> str:
    box = f'x="{x}" y="{y}" width="{_CELL_WIDTH - 1}" height="{_CELL_HEIGHT - 1}"'
    if not math.isfinite(value):
        return f'<rect {box} fill="url(#synthlab-pole)"><title>no value</title></rect>'
    place = (value - low) / (high - low) if high > low else 0.0
    red, green, blue = (round(np.interp(place * (len(_VIRIDIS) - 1), range(len(_VIRIDIS)), c)) for c in _VIRIDIS.T)
    ink = "#000" if place > _BRIGHT_HALF else "#fff"
    text = _text(x + (_CELL_WIDTH - 1) / 2, y + (_CELL_HEIGHT - 1) / 2, short_number(value), ink, 11)
    return f'<rect {box} fill="rgb({red},{green},{blue})"><title>{value:.10g}</title></rect>{text}'


def _label(x: float, y: float, values: Sequence[Fraction], anchor: str = "middle") -> str:
    return _text(x, y, ", ".join(map(str, values)), "currentColor", 11, anchor)


def short_number(value: float) -> str:
    """A finite number in at most seven characters: 12, -0.67, 1.2e6."""
    if value == int(value) and abs(value) < 1e5:
        return f"{int(value)}"
    text = f"{value:.{2 if abs(value) < 1 else 3}g}" if 1e-3 <= abs(value) < 1e3 else f"{value:.1e}"
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
