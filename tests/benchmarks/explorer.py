"""Seconds until the split explorer is up to date after a change: in Python, and in a page of JupyterLab.

A universe of fewer programs is the beginning of a larger one. The places on its maps are two axes of the space
instead of UMAP's, which cost minutes and change none of the work that follows a brush. In the page, a
box of semantic axes is brushed.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from benchmarks.measure import check, in_process, summary, timed
from browser.lab import CHROMIUM, ROOT, Notebook, jupyter_lab, open_notebook

from synthlab.language.grammar import POLYNOMIAL
from synthlab.spaces.projection import Projection
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.store import Store
from synthlab.universe.corpus import Corpus, build_corpus
from synthlab.views.explorer import SplitExplorer

_BRUSHES = 40
_NOTEBOOK, _BOX = "explorer.ipynb", f"synthlab-map-{SEMANTIC}"
_KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def bench_explorer(repeats: int, leaves: int, sizes: Sequence[int], page_sizes: Sequence[int]) -> dict[str, Any]:
    """Changes of universes of so many programs; those of `page_sizes` also in Chromium, where it is found."""
    with tempfile.TemporaryDirectory() as folder:
        store, corpus = Store(folder), build_corpus(POLYNOMIAL, leaves)
        keys = {"corpus": corpus.save(store)}
        keys |= {SYNTACTIC: fit_syntactic(corpus).save(store), SEMANTIC: fit_semantic(corpus).save(store)}
        sizes = [min(size, corpus.num_programs) for size in sizes]
        del corpus
        python = [in_process("explorer.updated", folder=folder, keys=keys, num=n, repeats=repeats) for n in sizes]
        pages = [_page(folder, keys, n, repeats) for n in page_sizes] if CHROMIUM else []
    return {"python": python, "page": pages, "left_out": ["Chromium"] if page_sizes and not pages else []}


def explorer_of(folder: str, keys: dict[str, str], num: int, *, is_mapped: bool) -> SplitExplorer:
    """The panel on the first `num` programs of a stored universe, with maps or with two axes of each space."""
    store = Store(Path(folder))
    whole = Corpus.load(store, keys["corpus"])
    num_classes = int(np.searchsorted(whole.class_id, num))
    corpus = replace(
        whole, prefix=whole.prefix[:num], leaves=whole.leaves[:num], class_index=whole.class_index[:num],
        class_id=whole.class_id[:num_classes], fingerprints=whole.fingerprints[:num_classes],
    )  # fmt: skip
    rows = {SYNTACTIC: num, SEMANTIC: num_classes}
    fitted = {kind: Space.load(store, keys[kind]) for kind in rows}
    spaces = {kind: replace(space, coordinates=space.coordinates[: rows[kind]]) for kind, space in fitted.items()}
    maps = {kind: _stand_in(space) for kind, space in spaces.items()} if is_mapped else None
    return SplitExplorer(corpus, spaces, maps, store=store)


def _stand_in(space: Space) -> Projection:
    rows = np.flatnonzero(~np.isnan(space.coordinates[:, 0]))
    return Projection(space.key, {}, rows, space.coordinates[rows, :2], kind=space.kind, num_rows=len(rows))


def updated(folder: str, keys: dict[str, str], num: int, repeats: int) -> dict[str, Any]:
    """Measure, without a browser, what follows a change of a rule and brushes of both kinds; no region comes twice."""
    start = time.perf_counter()
    explorer = explorer_of(folder, keys, num, is_mapped=True)
    opened = time.perf_counter() - start
    quantiles = itertools.cycle(np.linspace(0.3, 0.7, _BRUSHES).round(2))

    def rule() -> None:
        explorer.controls["quantile"].value = float(next(quantiles))

    changes = {"rule": rule, "cells": _brushing(explorer)}
    first = {name: timed(change, 1)["median_s"] for name, change in changes.items()}  # compiles, and fits the cells
    explorer.controls["rule"].value = "quantile"  # which the brush has changed
    measured = {"rule": timed(rule, repeats)}
    check(explorer.region.rule == "quantile", f"not a rule was timed, but {explorer.region}")
    measured["cells"] = timed(changes["cells"], repeats)
    explorer.controls["view"].value = "axes i, j"
    measured["box"] = timed(_brushing(explorer), repeats)
    live = explorer.maps.maps[SYNTACTIC]
    return {
        "programs": explorer.corpus.num_programs, "functions": explorer.corpus.num_classes, "drawn": len(live.rows),
        "opened_s": opened, "first_brush_s": first["cells"], **measured,
    }  # fmt: skip


def _brushing(explorer: SplitExplorer) -> Callable[[], None]:
    """Brush over the middle of the syntactic map, as the browser reports it; every time a little more."""
    live = explorer.maps.maps[SYNTACTIC]
    names = live.points.x_name, live.points.y_name
    middle = {name: np.quantile(live.frame[name], [0.2, 0.8]) for name in names}
    margins = itertools.cycle(np.linspace(0.01, 0.05, _BRUSHES))

    def brush() -> None:
        margin = next(margins) * np.array([-1.0, 1.0])
        ends = {name: (low_high + margin * np.ptp(low_high)).tolist() for name, low_high in middle.items()}
        live.live._vl_selections = {"brush": {"value": ends, "store": []}}
        check("></pre>" in explorer.texts["error"].value, f"a brush was refused: {explorer.texts['error'].value}")

    return brush


# ---------------------------------------------------------------- in a page


def _page(folder: str, keys: dict[str, str], num: int, repeats: int) -> dict[str, Any]:
    """Seconds from the release of a brush, and from the choice of a rule, until the page has new counts."""
    shown = f"explorer_of({folder!r}, {keys!r}, {num}, is_mapped=False)"
    lines = ("from benchmarks.explorer import explorer_of", "from synthlab.views import charts", "charts.show_static()")
    cell = nbformat.v4.new_code_cell("\n".join((*lines, shown)))
    with tempfile.TemporaryDirectory() as served:
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=_KERNEL), Path(served) / _NOTEBOOK)
        paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
        with jupyter_lab(Path(served), PYTHONPATH=paths) as url, open_notebook(url, _NOTEBOOK) as notebook:
            notebook.run_all(seconds=600)
            seconds = _latencies(notebook, repeats)
    return {"programs": num} | {name: summary(times) for name, times in seconds.items()}


def _latencies(notebook: Notebook, repeats: int) -> dict[str, list[float]]:
    """Seconds of brushes that shrink by turns, and of choices of a rule; the first of each warms up."""
    box, (x, y) = _BOX, notebook.point_near(_BOX)
    taken: dict[str, list[float]] = {"brush": [], "choice": []}
    for reach in np.linspace(0.2, 0.08, repeats + 1):
        ends = [(x + sign * reach, y + sign * reach) for sign in (-1, 1)]
        notebook.changed("summary", lambda e=ends: notebook.drag(box, *e))
        taken["brush"].append(notebook.latency)
        notebook.double_click(box, (x, y))  # a drag that starts in the last brush would move it
        notebook.wait_for_empty("marked")
    notebook.changed("summary", lambda: notebook.choice("rule").select_option("root"))
    names = notebook.choice("root operator").locator("option").all_inner_texts()
    for name in (names[1:] * repeats)[: repeats + 1]:  # the regions seen last are kept, which is what a user meets too
        notebook.changed("summary", lambda n=name: notebook.choice("root operator").select_option(n))
        taken["choice"].append(notebook.latency)
    return {name: seconds[1:] for name, seconds in taken.items()}
