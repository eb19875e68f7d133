"""What the split explorer says: counts, shift, examples, what is brushed or picked, code, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as W
import pandas as pd

from synthlab.spaces.space import Space
from synthlab.splits.preview import SplitParts
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus
from synthlab.views.explorer import summary
from synthlab.views.explorer.brush import Brush
from synthlab.views.explorer.card import program_card
from synthlab.views.explorer.live import preformatted

_LINES = ("error", "code", "marked", "card")
_TABLES = ("summary", "shift", "examples")
_LARGE = 200_000  # programs, among which looking for neighbours would be felt at every change


class Texts:
    """The texts of the panel by name, and how they follow a split.

    Parameters
    ----------
    corpus, spaces
        The universe and its spaces by name.
    """

    def __init__(self, corpus: Corpus, spaces: Mapping[str, Space]) -> None:
        self.corpus, self.spaces = corpus, spaces
        self.picked: int | None = None
        self.by_name = {name: W.HTML(preformatted(name)) for name in _LINES}
        self.by_name |= {name: W.HTML(summary.table(name, "", (), ())) for name in _TABLES}

    def __getitem__(self, name: str) -> Any:
        return self.by_name[name]

    def say(self, name: str, text: str = "") -> None:
        """Show lines of text, or none."""
        self.by_name[name].value = preformatted(name, text)

    def say_saved(self, name: str, replaced: str | None, code: str) -> None:
        """Say that a split was saved, what its name meant before, if anything else, and how to draw the split."""
        lines = [f"# saved as {name!r}; no leaks found"]
        if replaced is not None:
            lines.append(f"# that name meant split {replaced!r} before, which is stored under its key still")
        self.say("code", "\n".join([*lines, code]))

    def show_problem(self, problem: str) -> None:
        """Say why there is no split, and nothing of the last one."""
        self._forget()
        self.say("summary", f"no split: {problem}")
        self.by_name["examples"].value = self.by_name["shift"].value = ""

    def show_parts(self, parts: SplitParts, num_train: int | None, describes: str) -> None:
        """Show what a split would be, before it is drawn."""
        self._forget()
        self.show_counts(parts, None, num_train, describes)
        self.by_name["examples"].value = summary.examples(self.corpus, parts)
        before = ", before it is isolated" if parts.isolated else ""
        self.show_shift(parts.shift(), f"a small sample{before}")
        self.show_card(parts)

    def show_counts(self, parts: SplitParts, split: Split | None, num_train: int | None, describes: str) -> None:
        """Show what every part holds, and what was drawn of it."""
        self.by_name["summary"].value = summary.counts(self.corpus, parts, split, num_train, describes)

    def show_shift(self, frame: pd.DataFrame, of: str) -> None:
        """Show measures of shift, and what they were measured on."""
        self.by_name["shift"].value = summary.shift(frame, f"How far from training? ({of})")

    def show_brush(self, brush: Brush) -> None:
        """Say what is under the brush."""
        self.say("marked", summary.marked(self.corpus, brush.brushed, brush.fit))

    def pick(self, program_id: int, split: Split | SplitParts | None) -> None:
        """Show the card of a program, and its part of the split."""
        self.picked = program_id
        self.show_card(split)

    def show_card(self, split: Split | SplitParts | None) -> None:
        """Show the card of the program picked last, if any."""
        if self.picked is not None:
            card = program_card(self.corpus, self.spaces, self.picked, split=split)
            self.by_name["card"].value = f'<div id="card">{card}</div>'

    def _forget(self) -> None:
        """Leave nothing that tells of another split."""
        self.say("code")
        if self.corpus.num_programs > _LARGE:
            self.picked = None
        if self.picked is None:
            self.say("card")
