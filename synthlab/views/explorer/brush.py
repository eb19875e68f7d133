"""A brush, by mouse or by the intervals of the keyboard, as a held-out region."""

from __future__ import annotations

import numpy as np
from tqdm.auto import tqdm

from synthlab.splits.brushing import NUM_CELLS, BrushFit, box_under, cells_under, fit_of
from synthlab.splits.preview import Preview
from synthlab.splits.regions import Region
from synthlab.views.explorer.controls import Controls
from synthlab.views.explorer.pair import Brushed, MapPair

_SIDES = ("i", "j")
_LARGE = 500_000  # programs whose cells take seconds


class Brush:
    """What was brushed last, and the region that it means.

    Parameters
    ----------
    preview, maps, controls
        The universe, its maps, and the panel's controls.

    Attributes
    ----------
    brushed
        What is under the brush; None under none.
    region
        The region that was brushed last; None before the first.
    fit
        How well it agrees with the brush; None for a box, which holds all of it.
    """

    def __init__(self, preview: Preview, maps: MapPair, controls: Controls) -> None:
        self.preview, self.maps, self.controls = preview, maps, controls
        self.brushed: Brushed | None = None
        self.region: Region | None = None
        self.fit: BrushFit | None = None

    def warm_up(self) -> None:
        """Cut every space into the cells that a brush on a UMAP map means, so that the first one need not wait."""
        seed = self.controls.value("seed")
        small = self.preview.corpus.num_programs < _LARGE
        for name in tqdm(self.maps.spaces, desc="cells of the spaces", leave=False, disable=small):
            self.preview.cluster_labels(name, min(NUM_CELLS, self.preview.num_places(name, seed)), seed)

    def look_at(self, brushed: Brushed | None) -> None:
        """Highlight what is brushed on both maps."""
        self.brushed, self.fit = brushed, None
        self.maps.link(brushed)

    def hold_out(self, brushed: Brushed) -> None:
        """Make what is brushed a region: a box of axes, or the cells of the space under a shape on a UMAP map.

        Raises
        ------
        ConfigurationError
            If nothing is under the brush, or no cell lies mostly under it.
        """
        kind, self.region = brushed.kind, None  # a brush that is refused does not leave the last one in force
        if brushed.bounds and all(name.startswith("axis_") for name in brushed.bounds):
            self.region = box_under(kind, brushed.bounds)
            self._follow(brushed)
            return
        seed = self.controls.value("seed")  # never UMAP's coordinates
        self.region = cells_under(self.preview, kind, brushed.rows, brushed.inside, seed=seed)
        self.fit = fit_of(self.preview, self.region, kind, brushed.rows, brushed.inside)

    # ------------------------------------------------------------ from the keyboard

    def of_intervals(self) -> Brushed | None:
        """What the intervals of the present axes hold."""
        ends = {self._axis(side): self.controls.value(f"interval_{side}") for side in _SIDES}
        return self.maps.brushed(self.controls.value("brushed_space"), ends)

    def span_intervals(self) -> None:
        """Let the intervals slide over the present axes, all of them chosen."""
        space = self.maps.spaces[self.controls.value("brushed_space")]
        with self.controls.quietly():
            for side in _SIDES:
                values = space.axis(self.controls.value(f"axis_{side}"))
                self.controls.span(f"interval_{side}", float(np.nanmin(values)), float(np.nanmax(values)))

    def _follow(self, brushed: Brushed) -> None:
        """Move the intervals to where the brush is."""
        with self.controls.quietly():
            self.controls["brushed_space"].value = brushed.kind
        self.span_intervals()
        with self.controls.quietly():
            for side in _SIDES:
                self.controls.set_interval(f"interval_{side}", *brushed.bounds[self._axis(side)])

    def _axis(self, side: str) -> str:
        return f"axis_{self.controls.value(f'axis_{side}')}"
