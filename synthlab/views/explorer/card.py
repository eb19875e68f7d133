"""One program on a card: text, tree, outputs, function, part of the split, and its neighbours in every space."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from synthlab.spaces.space import SEMANTIC, Space
from synthlab.universe.corpus import NO_CLASS, Corpus
from synthlab.views.explorer.live import INK, MUTED
from synthlab.views.explorer.pictures import outputs_svg, tree_svg
from synthlab.views.explorer.standing import Drawn, Place, Standing, part_of, places_of, standing_of
from synthlab.views.explorer.standing import find_program as find_program
from synthlab.views.explorer.standing import program_id_of as program_id_of

NUM_TEXTS = 8
"""Other texts of its function that a card names."""
_MOST_CHARACTERS = 240
_ROUNDING = 1e-6
_STYLE = f"""<style>
.synthlab-card {{color: {INK}; font-size: 13px; line-height: 1.45; overflow-wrap: anywhere}}
.synthlab-card table {{border-collapse: collapse; color: inherit; font-size: inherit}}
.synthlab-card code {{color: inherit; background: none; font: 1em var(--jp-code-font-family, monospace)}}
.synthlab-card h4 {{margin: 2px 0 6px; font-size: 17px; font-weight: 600}}
.synthlab-card h5 {{margin: 10px 0 2px; font-size: 13px; font-weight: 600}}
.synthlab-card th {{text-align: left; font-weight: 400; color: {MUTED}; white-space: nowrap}}
.synthlab-card th, .synthlab-card td {{padding: 1px 14px 1px 0; vertical-align: top; border: none}}
.synthlab-card .row {{display: flex; flex-wrap: wrap; gap: 8px 32px; align-items: flex-start}}
.synthlab-card .facts {{flex: 1 1 300px; max-width: 480px}}
.synthlab-card .picture {{max-width: 100%; max-height: 340px; overflow: auto}}
.synthlab-card .muted {{color: {MUTED}}}
</style>"""


def program_card(
    corpus: Corpus, spaces: Mapping[str, Space], program_id: int, *, split: Drawn | None = None, neighbors: int = 5
) -> str:
    """Card of a program of the universe, as HTML in the colours of the page.

    Parameters
    ----------
    corpus, spaces
        The universe and its spaces by name.
    program_id
        Which program.
    split
        A split, or the preview of one: says which part of it the program and its function are.
    neighbors
        Nearest other programs (semantic: functions) that are named in every space.
    """
    standing = standing_of(corpus, corpus.program(program_id))
    places = places_of(corpus, spaces, standing, neighbors + 1)
    return styled(card_of(corpus, spaces, standing, places, split=split, neighbors=neighbors))


def card_of(
    corpus: Corpus,
    spaces: Mapping[str, Space],
    standing: Standing,
    places: Mapping[str, Place],
    *,
    split: Drawn | None = None,
    neighbors: int = 5,
) -> str:
    """Body of the card of a program, in the universe or larger, to be put into `styled`.

    Parameters
    ----------
    corpus, spaces, split, neighbors
        As in `program_card`.
    standing, places
        The program and its places, with one more row each than neighbours are named.
    """
    facts = dict(_text_facts(corpus, standing)) | dict(_function_facts(corpus, standing))
    if split is not None:
        facts["part of the split"] = html.escape(part_of(corpus, spaces, split, standing))
    near = [_neighbors(corpus, space, standing, name, places.get(name), neighbors) for name, space in spaces.items()]
    return (
        f"<h4>{code(standing.program.infix_text())}</h4>"
        f'<div class="row"><div class="facts">{html_table(facts.items())}</div>{_pictures(corpus, standing)}</div>'
        f'<div class="row">{"".join(near)}</div>'
    )


def styled(*parts: str) -> str:
    """Parts of a card as one piece of HTML."""
    return f'{_STYLE}<div class="synthlab-card">{"".join(parts)}</div>'


# ---------------------------------------------------------------- pieces of HTML


def code(text: str) -> str:
    """A text as code, escaped, and cut where it is very long."""
    shown = text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + " ..."
    return f"<code>{html.escape(shown)}</code>"


def muted(text: str) -> str:
    """A text in the background, escaped."""
    return f'<span class="muted">{html.escape(text)}</span>'


def html_table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells of HTML, the first of each a label."""
    lines = [f"<tr><th>{label}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for label, *cells in rows]
    return f"<table>{''.join(lines)}</table>"


def neighbor_table(corpus: Corpus, standing: Standing, program_ids: np.ndarray, distances: np.ndarray) -> str:
    """Programs near to another with their distances to it, and whether they are the same function."""
    return html_table(
        (distance_text(far), code(corpus.program(int(i)).infix_text()), muted(_kinship(corpus, standing, int(i))))
        for i, far in zip(program_ids, distances, strict=True)
    )


def _kinship(corpus: Corpus, standing: Standing, program_id: int) -> str:
    if program_id == standing.program_id:
        return "the program itself"
    is_same = standing.class_row != NO_CLASS and corpus.class_index[program_id] == standing.class_row
    return "same function" if is_same else ""


def distance_text(distance: float) -> str:
    """A distance to three digits; 0 for what only rounding keeps apart."""
    return "0" if distance < _ROUNDING else f"{distance:.3g}"


# ---------------------------------------------------------------- what a card says


def _pictures(corpus: Corpus, standing: Standing) -> str:
    program, grammar = standing.program, corpus.grammar
    tree = tree_svg(program) or muted(f"a tree of {program.nodes:,} nodes is not drawn")
    outputs = outputs_svg(grammar.grid, grammar.variables, standing.outputs) if len(standing.outputs) else ""
    return f'<div class="picture">{tree}</div><div class="picture">{outputs}</div>'


def _text_facts(corpus: Corpus, standing: Standing) -> Iterator[tuple[str, str]]:
    program = standing.program
    leaves = f"{program.leaves:,} {'leaf' if program.leaves == 1 else 'leaves'}"
    yield "prefix", code(program.prefix_text())
    yield "size", f"{leaves}, {program.nodes:,} {'node' if program.nodes == 1 else 'nodes'}, depth {program.depth:,}"
    larger = f"none: larger than the universe (up to {corpus.max_size} {corpus.measure})"
    yield "id", larger if standing.program_id is None else f"{standing.program_id:,}"


def _function_facts(corpus: Corpus, standing: Standing) -> Iterator[tuple[str, str]]:
    if standing.problem:
        yield "function", f"unknown: {html.escape(standing.problem)}"
    elif not standing.is_function:
        yield "function", "none: it has no value anywhere, so it is in no class"
    elif standing.class_row == NO_CLASS:
        yield "function", f"no program of up to {corpus.max_size} {corpus.measure} computes it"
    else:
        yield from _class_facts(corpus, standing)
    if standing.is_function and standing.num_missing:
        yield "poles", f"no value at {standing.num_missing} of {len(standing.outputs)} grid points"
    if not corpus.grammar.exact:
        yield "identity", html.escape(corpus.identity_method)


def _class_facts(corpus: Corpus, standing: Standing) -> Iterator[tuple[str, str]]:
    row = standing.class_row
    minimal, num_texts = int(corpus.class_id[row]), int(corpus.multiplicity[row])
    yield "function", f"class {minimal:,}, computed by {num_texts:,} program{'s' if num_texts > 1 else ''}"
    yield "minimal text", code(corpus.program(minimal).infix_text())
    texts = np.flatnonzero(corpus.class_index == row)
    others = texts[(texts != standing.program_id) & (texts != minimal)]
    if len(others):
        shown = [code(corpus.program(int(i)).infix_text()) for i in others[:NUM_TEXTS]]
        left = len(others) - len(shown)
        yield "other texts", "<br>".join(shown + ([muted(f"and {left:,} more")] if left else []))


def _neighbors(corpus: Corpus, space: Space, standing: Standing, name: str, place: Place | None, num: int) -> str:
    """The nearest others in one space."""
    is_semantic = space.kind == SEMANTIC
    head = f"<h5>nearest {'functions' if is_semantic else 'programs'}, {html.escape(name)} space</h5>"
    if place is None:
        return f"<div>{head}{muted('it has no place there')}</div>"
    own = standing.class_row if is_semantic else standing.program_id
    others = np.flatnonzero(place.rows != (NO_CLASS if own is None else own))[:num]
    ids = corpus.class_id[place.rows[others]] if is_semantic else place.rows[others]
    return f"<div>{head}{neighbor_table(corpus, standing, ids, place.distances[others])}</div>"
