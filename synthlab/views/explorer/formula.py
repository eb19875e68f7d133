"""A typed formula, asked of the spaces, of the present split, of a model and of a search."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import ipywidgets as W
import numpy as np

from synthlab.errors import ProgramSyntaxError, SynthlabError
from synthlab.language.program import Program
from synthlab.spaces.space import Space
from synthlab.study.formula_answers import (
    answer_bound,
    answer_model,
    answer_search,
    library_size,
    loaded_model,
    program_solver,
)
from synthlab.universe.corpus import Corpus
from synthlab.views import theme
from synthlab.views.explorer.card import card_of, code, html_table, muted, neighbor_table, styled
from synthlab.views.explorer.live import ALERT
from synthlab.views.explorer.standing import (
    Drawn,
    Place,
    Standing,
    find_program,
    nearest_rows,
    places_of,
    standing_of,
    training_rows,
    training_texts,
)

if TYPE_CHECKING:
    from synthlab.learning.run import Run

PlaceHandler: TypeAlias = Callable[[str, np.ndarray, np.ndarray, np.ndarray], None]
_WINDOW = 60
"""Characters shown on either side of a mistake."""
_MARKS = dict(zip(theme.STATUSES, "●◆■▲▼✚", strict=True))


def caret_lines(text: str, error: ProgramSyntaxError) -> str:
    """The mistake in a formula: what was typed near it, a caret below its place, and what was expected."""
    start = max(0, error.position - _WINDOW)
    lead, tail = "... " if start else "", " ..." if len(text) > error.position + _WINDOW else ""
    shown = "".join(" " if c.isspace() else c for c in text[start : error.position + _WINDOW])
    return f"{lead}{shown}{tail}\n{' ' * (len(lead) + error.position - start)}^\n{error}"


def status_text(status: str) -> str:
    """A judgement with its mark in its colour, as HTML."""
    color = theme.STATUS_COLORS[theme.STATUSES.index(status)]
    name = "same function" if status == "solved" else status
    mark = f'<span style="color: {color}">{_MARKS[status]}</span>'
    return f'<span style="white-space: nowrap">{mark} {html.escape(name)}</span>'


class FormulaPanel:
    """A field for a formula and, below it, everything that is known or answered about it.

    Parameters
    ----------
    corpus, spaces
        The universe and its spaces by name.
    split
        Gives the present split, or its preview; None while there is none.
    run
        A trained model; None for no model. May be set later.
    on_place
        Called for every space with its name, the formula's coordinates in it (axes,), the nearest rows of the space
        (k,) and their distances; with NaN and no rows where it has no place, or the text is no formula.
    library
        Size up to which the search knows all functions; up to half a million texts by default.
    seconds, num_candidates, neighbors
        Budget of the search, candidates of the model's beam, and programs named as nearest.

    Attributes
    ----------
    widget
        What is shown.
    """

    def __init__(
        self,
        corpus: Corpus,
        spaces: Mapping[str, Space],
        *,
        split: Callable[[], Drawn | None] = lambda: None,
        run: Run | None = None,
        on_place: PlaceHandler = lambda *_: None,
        library: int | None = None,
        seconds: float = 2.0,
        num_candidates: int = 8,
        neighbors: int = 5,
    ) -> None:
        self.corpus, self.spaces, self.split, self.run, self.on_place = corpus, spaces, split, run, on_place
        self.library, self.seconds = library, seconds
        self.num_candidates, self.neighbors = num_candidates, neighbors
        self._parts: list[str] = []
        self._asked: tuple[Any, ...] = ()
        self._solver: Any = None
        self._model: tuple[Any, Any] = None, None
        self._trained: tuple[Any, dict[str, Any]] = None, {}
        # its value changes with Enter and when it is left, not with every letter
        self.field = W.Text(
            description="formula", placeholder=" or ".join(_examples(corpus)), continuous_update=False,
            layout=W.Layout(width="460px"),
        )  # fmt: skip
        self.button = W.Button(description="Ask", icon="search", tooltip="card, nearest training programs, answers")
        self.answer = W.HTML()
        self.widget = W.VBox([W.HBox([self.field, self.button]), self.answer])
        self._show()
        self.field.observe(self._on_ask, "value")
        self.button.on_click(self._on_ask)

    def ask(self, text: str) -> None:
        """Ask as if the text had been typed."""
        if text == self.field.value:
            self._on_ask()
        self.field.value = text

    # ------------------------------------------------------------ asking

    def _on_ask(self, _event: Any = None) -> None:
        text = self.field.value
        try:
            split = self.split()
            if not text.strip() or self._asked == (text, split, self.run):
                return  # a click on the button also leaves the field, which has asked by then
            self._asked, self._parts, self.button.disabled = (text, split, self.run), [], True
            self._answer(text, split)
        except Exception as error:  # a widget's callback would lose it in the browser's log
            self._asked = ()  # so that the same text can be asked again
            self._parts.append(_alert(f"{type(error).__name__}: {error}"))
            self._show()
        finally:
            self.button.disabled = False

    def _answer(self, text: str, split: Drawn | None) -> None:
        """Show one part after the other, the quick ones first."""
        try:
            program = find_program(self.corpus, text)
        except ProgramSyntaxError as error:
            self._parts.append(_alert(caret_lines(text, error)))
            self._try("place on the maps", lambda: self._tell_places({}))
            return
        standing = standing_of(self.corpus, program)
        places: dict[str, Place] = {}
        self._try("card", lambda: places.update(places_of(self.corpus, self.spaces, standing, self.neighbors + 1)))
        self._try("place on the maps", lambda: self._tell_places(places))
        self._try("card", lambda: self._card(standing, places, split))
        self._try("nearest training programs", lambda: self._training(standing, places, split))
        if (run := self.run) is not None:
            self._try("what the model answers", lambda: self._ask_model(program, run, split))
        self._try("what search answers", lambda: self._ask_search(program))

    def _try(self, title: str, work: Callable[[], str | None]) -> None:
        """Add what a piece of work gives, or how it failed; nothing for None."""
        self._show(pending=title)
        try:
            shown = work()
        except SynthlabError as error:
            shown = f"<h5>{title}</h5>{_alert(str(error))}"
        except Exception as error:  # a widget's callback would lose it in the browser's log
            shown = f"<h5>{title}</h5>{_alert(f'{type(error).__name__}: {error}')}"
            self._asked = ()  # so that the same text can be asked again
        if shown:
            self._parts.append(shown)
        self._show()

    def _show(self, pending: str = "") -> None:
        waiting = muted(f"{pending} ...") if pending else ""
        self.answer.value = f'<div id="formula">{styled(*self._parts, waiting)}</div>'

    def _tell_places(self, places: Mapping[str, Place]) -> None:
        for name, space in self.spaces.items():
            nowhere = Place(np.full(space.num_axes, np.nan), np.empty(0, dtype=np.int64), np.empty(0))
            self.on_place(name, *places.get(name, nowhere))

    # ------------------------------------------------------------ parts of an answer

    def _card(self, standing: Standing, places: Mapping[str, Place], split: Drawn | None) -> str:
        return card_of(self.corpus, self.spaces, standing, places, split=split, neighbors=self.neighbors)

    def _training(self, standing: Standing, places: Mapping[str, Place], split: Drawn | None) -> str:
        """The nearest training programs in every space in which the formula has a place."""
        if split is None:
            return f"<h5>nearest training programs</h5>{muted('there is no split yet')}"
        found = []
        for name, place in places.items():
            rows, texts = self._training_rows(split)[name]
            near, far = nearest_rows(self.spaces[name].coordinates, place.coordinates, self.neighbors, among=rows)
            ids = texts[rows.searchsorted(near)]
            head = f"<h5>nearest training programs, {html.escape(name)} space</h5>"
            found.append(f"<div>{head}{neighbor_table(self.corpus, standing, ids, far)}</div>")
        return f'<div class="row">{"".join(found)}</div>'

    def _training_rows(self, split: Drawn) -> dict[str, Any]:
        """Rows with a training text and one such text each, by space; kept for the last split."""
        if self._trained[0] is not split:
            texts = training_texts(self.corpus, split)
            rows = {name: training_rows(self.corpus, space, texts) for name, space in self.spaces.items()}
            self._trained = split, rows
        return self._trained[1]

    def _ask_model(self, program: Program, run: Run, split: Drawn | None) -> str:
        run.require_corpus(self.corpus)
        if self._model[0] is not run:
            self._model = run, loaded_model(run)
        table = answer_model(run, program, num=self.num_candidates, model=self._model[1])
        is_other = split is not None and getattr(split, "key", "") != run.split_key
        note = muted("It was not trained on the present split, or that is not drawn yet.") if is_other else ""
        head = f"<h5>what the model {html.escape(run.label)} answers, from the grid outputs alone</h5>"
        return f"{head}{note}{html_table(map(_model_row, table.itertuples()))}"

    def _ask_search(self, program: Program) -> str:
        grammar, measure = self.corpus.grammar, self.corpus.measure
        size = self.library or library_size(grammar, measure)
        if self._solver is None:
            self._solver = program_solver(grammar, size, measure)
        bound = answer_bound(size, measure)
        table = answer_search(
            program, self._solver, max_size=bound, measure=measure, seed=self.corpus.seed, seconds=self.seconds
        )
        head = f"<h5>what search answers, from the grid outputs alone, in up to {bound} {measure}</h5>"
        return f"{head}{html_table(map(_search_row, table.itertuples()))}"


def _examples(corpus: Corpus) -> list[str]:
    """One program in both notations."""
    sample = corpus.program(corpus.num_programs // 2)
    return [sample.infix_text(), sample.prefix_text()]


def _alert(text: str) -> str:
    return f'<pre role="alert" style="color: {ALERT}; white-space: pre-wrap; margin: 4px 0">{html.escape(text)}</pre>'


def _model_row(answer: Any) -> list[str]:
    method = answer.method if answer.method == "greedy" else f"{answer.method} {answer.rank + 1}"
    probability = muted(f"probability {math.exp(answer.log_probability):.2g}")
    return [method, status_text(answer.status), code(answer.program), probability]


def _search_row(answer: Any) -> list[str]:
    spent = muted(
        f"{answer.stopped} after {answer.seconds:.2f} s and {answer.tested:,} programs; "
        f"{answer.setup_seconds:.1f} s of preparation, once"
    )
    if not answer.program:
        return [html.escape(answer.method), "nothing found", "", spent]
    return [html.escape(answer.method), status_text(answer.status), code(answer.program), spent]
