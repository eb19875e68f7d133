"""What the panel says of a split: counts, shift, examples, and what is under a brush."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from synthlab.spaces.space import SEMANTIC, SYNTACTIC
from synthlab.splits.brushing import BrushFit
from synthlab.splits.preview import SplitParts
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus
from synthlab.views.explorer.live import INK, MUTED
from synthlab.views.explorer.pair import Brushed

NUM_EXAMPLES = 5
_CELL = "padding: 1px 14px 1px 0; text-align: {}; font-variant-numeric: tabular-nums"


def table(name: str, caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """HTML of a small table under an id: texts on the left, numbers on the right; everything is escaped."""

    def line(tag: str, cells: Sequence[str], color: str) -> str:
        texts = (
            f'<{tag} style="{_CELL.format("right" if _is_number(cell) else "left")}">{html.escape(cell)}</{tag}>'
            for cell in cells
        )
        return f'<tr style="color: {color}">{"".join(texts)}</tr>'

    body = "".join(line("td", cells, INK) for cells in rows)
    return (
        f'<div id="{name}" style="color: {INK}; line-height: 1.5"><b>{html.escape(caption)}</b>'
        f'<table style="border-collapse: collapse">{line("th", head, MUTED)}{body}</table></div>'
    )


def _is_number(text: str) -> bool:
    return bool(text) and text.strip("+-~%").replace(",", "").replace(".", "", 1).isdigit()


def counts(corpus: Corpus, parts: SplitParts, split: Split | None, num_train: int | None, describes: str) -> str:
    """Table of what every part holds; what was drawn of it once the split was."""
    held, total = parts.num_held, corpus.num_programs
    rows = []
    if held:
        rows.append(("held out", f"{held:,}", "programs", f"{held / total:.1%}", f"{describes}"))
    rows.append(
        ("reserved", f"{parts.num_reserved:,}", "functions", f"{parts.num_reserved / corpus.num_classes:.1%}", "")
    )
    drawn = {} if split is None else {"train": len(split.train)} | {n: len(ids) for n, ids in split.tests.items()}
    asked = f"{num_train:,} to draw" if num_train else ""
    rows.append(
        (
            "train pool",
            f"{parts.num_pool:,}",
            "programs",
            f"{parts.num_pool / total:.1%}",
            _drawn(drawn, "train") or asked,
        )
    )
    for name, classes in parts.tests.items():
        label = f"forced@{corpus.max_size}" if name == "forced" else name
        share = f"{len(classes) / corpus.num_classes:.1%}"
        rows.append((label, f"{len(classes):,}", "functions", share, _drawn(drawn, name)))
    if "open" not in parts.tests and held:
        rows.append(
            ("open", "0", "functions", "", f"{'an isolated split' if parts.isolated else 'a semantic region'} has none")
        )
    if "matched_id" in drawn:
        rows.append(("matched", f"{drawn['matched_id']:,}", "pairs", "", "of id and forced, alike in size"))
    caption = "What each part holds" + (", before it is isolated" if parts.isolated and split is None else "")
    return table("summary", caption, ("part", "number", "of", "share", ""), rows)


def _drawn(drawn: dict[str, int], name: str) -> str:
    return f"{drawn[name]:,} drawn" if name in drawn else ""


def shift(frame: pd.DataFrame, caption: str) -> str:
    """Table of measures of shift, one row per space and part."""
    if frame.empty:
        return table("shift", caption, (), ())
    measures = list(dict.fromkeys(frame["measure"]))
    values = dict(zip(zip(frame["space"], frame["part"], frame["measure"], strict=True), frame["value"], strict=True))
    places = dict.fromkeys((space, part) for space, part, _ in values)
    rows = [(*place, *(_short(values.get((*place, measure), np.nan)) for measure in measures)) for place in places]
    return table("shift", caption, ("space", "part", *(name.replace("_", " ") for name in measures)), rows)


def _short(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"


def examples(corpus: Corpus, parts: SplitParts) -> str:
    """A few programs of every part."""
    names = ["train", *(["held out"] if parts.num_held else []), *parts.tests]
    rows = [(name, *texts(corpus, parts.examples(name, NUM_EXAMPLES))) for name in names]
    return table("examples", "Some programs of each part", (), rows)


def texts(corpus: Corpus, program_ids: np.ndarray) -> list[str]:
    """Programs in infix notation, shortened where they are very long."""
    found = [corpus.program(int(program_id)).infix_text() for program_id in program_ids]
    return [text if len(text) <= 60 else f"{text[:57]}..." for text in found] or ["none"]


def marked(corpus: Corpus, brushed: Brushed | None, fit: BrushFit | None) -> str:
    """What is under the brush, and how well the held-out region agrees with it."""
    if brushed is None:
        return ""
    ids = np.flatnonzero(brushed.programs)
    unit = {SYNTACTIC: "programs", SEMANTIC: "functions"}.get(brushed.kind, "rows")
    lines = [
        f"under the brush: {int(brushed.inside.sum()):,} {unit} on the map, {int(brushed.classes.sum()):,} functions"
    ]
    if fit is not None:
        lines.append(
            f"held out are the cells of the {brushed.kind} space that lie mostly under it: they hold {fit.recall:.0%} "
            f"of the brushed {unit}, and {fit.precision:.0%} of what they hold is brushed"
        )
    some = np.random.default_rng(0).choice(ids, min(NUM_EXAMPLES, len(ids)), replace=False)
    return "\n".join([*lines, " | ".join(texts(corpus, np.sort(some)))])
