"""Several levels of meet in the middle: take parts off the target, and complete what is left from a library.

Taking a part s off a target t leaves what has to stand beside it: t - s, s - t, t / s, ... The search holds such
rests in a queue. It asks the library for two halves of the best rest, and takes further parts off. Without a guide
the smallest part comes first, which makes two levels of it plain meet in the middle, up to the size
of parts (rests that are known at few points are left out); a guide puts those first that two halves probably complete.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.language.measure import operator_weight
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.search.guide import Guide
from synthlab.search.library import Library
from synthlab.search.meeting import MeetInTheMiddle, Move, Target, moves, prefix_of, rests
from synthlab.search.problem import Attempt
from synthlab.search.symbolic import LibraryLookup, meetings, require_same, smallest, submit

_PART_SIZE, _LEAST_KNOWN = 4, 8
"""Points at which a rest has to be known: with fewer, nearly anything would do, and nothing is decided."""


@dataclass(frozen=True, eq=False)
class _Rest:
    """Wanted outputs below operators that stand already.

    Attributes
    ----------
    target
        The wanted outputs.
    before, after
        Prefix tokens around what is missing.
    size
        Size of what stands.
    depth
        How many parts were taken off.
    """

    target: Target
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    size: int = 0
    depth: int = 0


@dataclass(eq=False)
class _Children:
    """All rests one part below a rest, best first."""

    parent: _Rest
    codes: np.ndarray
    known: np.ndarray
    part: np.ndarray
    move: np.ndarray
    score: np.ndarray
    next: int = 0

    @property
    def best(self) -> float:
        """Score of the best rest that was not looked at yet."""
        return float(self.score[self.next])


@dataclass(order=True)
class _Entry:
    priority: float
    number: int
    children: _Children = field(compare=False)


class ResidualSearch(LibraryLookup):
    """Take parts off, and meet in the middle for the rest.

    Parameters
    ----------
    library
        Functions that serve as parts and as halves; its building, and the guide's training, are the `setup`.
    guide
        Which rests come first; None for those of the smallest parts.
    part_size
        Largest part that is taken off; of four leaves by default, or as large as the library has them.
    depth
        How many parts are taken off at most.
    largest
        Size of the larger of the halves that are enumerated for a rest; all that can matter by default.
    patience
        Rests that are looked at before parts are taken off one of them again.

    Raises
    ------
    ConfigurationError
        If parts are larger than the library's functions, or none are taken off.
    """

    def __init__(
        self, library: Library, guide: Guide | None = None, *, part_size: int | None = None, depth: int = 1,
        largest: int | None = None, patience: int = 32, name: str | None = None,
    ) -> None:  # fmt: skip
        part_size = min(_PART_SIZE, library.max_size) if part_size is None else part_size
        if not 1 <= part_size <= library.max_size or depth < 1 or patience < 1:
            raise ConfigurationError(
                f"parts of {part_size}, {depth} levels, patience {patience}: parts come from a library of "
                f"{library.max_size}, the others are at least 1"
            )
        kind = "meet in the middle, two levels" if guide is None else "meet in the middle, guided"
        super().__init__(library, largest=largest, name=name or kind)
        if guide is not None:
            self.setup = self.setup + guide.training
        self.guide, self.depth, self.patience = guide, depth, patience
        self._moves = moves(library)
        self._parts = np.flatnonzero(library.usable[: library.num_up_to(part_size)])

    def search(self, attempt: Attempt) -> None:
        require_same(self.library, attempt.problem)
        if (attempt.problem.codes == UNDEFINED_RESIDUE).any():
            return
        root = _Rest(Target.of(attempt.problem.codes))
        self.look_up(attempt, root.target)
        self._complete(attempt, root)
        if self._moves and not attempt.over:
            self._explore(attempt, root)

    def _explore(self, attempt: Attempt, root: _Rest) -> None:
        queue: list[_Entry] = []
        waiting: list[_Rest] = [root]
        looked_at = 0
        while (queue or waiting) and not attempt.over:
            if waiting and (not queue or looked_at % self.patience == 0):
                children = self._children(attempt, waiting.pop(0))
                if len(children.part):
                    heapq.heappush(queue, _Entry(-children.best, looked_at, children))
                if not queue:
                    continue
            entry = heapq.heappop(queue)
            rest = self._child(entry.children)
            looked_at += 1
            if entry.children.next < len(entry.children.part):
                heapq.heappush(queue, _Entry(-entry.children.best, looked_at, entry.children))
            self._complete(attempt, rest)
            if rest.depth < self.depth:
                waiting.append(rest)

    def _children(self, attempt: Attempt, rest: _Rest) -> _Children:
        """Rests after every part under every operator, best first."""
        found = []
        wanted = rest.target.codes[None], rest.target.known[None]
        for place, move in enumerate(self._moves):
            open_codes, sure, kept = rests(self.library, move, *wanted, self._parts)
            found.append((open_codes, sure, self._parts[kept], np.full(len(kept), place)))
        codes, known, part, number = (np.concatenate(columns) for columns in zip(*found, strict=True))
        sizes = self.library.table.sizes[part].astype(np.int64)
        room = attempt.problem.max_size - rest.size - operator_weight(attempt.problem.measure)
        fits = np.flatnonzero((sizes < room) & (known.sum(axis=1) >= min(_LEAST_KNOWN, known.shape[1])))
        score = -sizes[fits] if self.guide is None else self.guide(codes[fits], known[fits])
        order = np.argsort(-score, kind="stable")
        rows = fits[order]
        return _Children(rest, codes[rows], known[rows], part[rows], number[rows], score[order])

    def _child(self, children: _Children) -> _Rest:
        """The next rest."""
        row, parent = children.next, children.parent
        children.next += 1
        move: Move = self._moves[children.move[row]]
        text = tuple(int(t) for t in prefix_of(self.library, int(children.part[row])))
        size = int(self.library.table.sizes[children.part[row]]) + operator_weight(self.library.table.measure)
        before, after = ((move.token, *text), ()) if move.side == 0 else ((move.token,), text)
        return _Rest(
            Target(children.codes[row], children.known[row]), (*parent.before, *before), (*after, *parent.after),
            parent.size + size, parent.depth + 1,
        )  # fmt: skip

    def _complete(self, attempt: Attempt, rest: _Rest) -> None:
        """Ask for two halves of a rest."""
        if attempt.over:
            return
        meeting = MeetInTheMiddle(self.library, rest.target, attempt.problem.max_size - rest.size)
        for found in meetings(attempt, meeting, self.largest):
            # where any value would do there may be none, so that only some of the answers are right
            right = [smallest(self.library, found)] if rest.target.known.all() else found
            halves = [half.text(self.library) for half in right]
            submit(attempt, [np.array([*rest.before, *half, *rest.after]) for half in halves])
