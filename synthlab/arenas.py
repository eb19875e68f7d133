"""Settings of the contests between model, search and both."""

from __future__ import annotations

import math
from dataclasses import dataclass

from synthlab.errors import ConfigurationError
from synthlab.ranges import require_kinds, require_range


@dataclass(frozen=True, kw_only=True)
class LargerArena:
    """Tasks beyond what enumeration, and meeting in the middle once, can reach.

    Parameters
    ----------
    grammar, size
        Functions of random programs of so many leaves.
    library
        Size up to which all functions are known; a task is neither one of them nor one operator away from two of them.
    trained_size, num_trained, num_steps
        The model is trained for so many steps on so many random programs of up to so many leaves.
    guide_targets, part_size
        Targets that the guide is trained on, and the largest part that is taken off one.
    num_tasks
        Tasks a seed.
    """

    grammar: str = "polynomial"
    size: int = 20
    library: int = 6
    trained_size: int = 16
    num_trained: int = 100_000
    num_steps: int = 600
    guide_targets: int = 40_000
    part_size: int = 4
    num_tasks: int = 30

    def __post_init__(self) -> None:
        require_kinds(self)
        counts = ("library", "num_trained", "num_steps", "guide_targets", "part_size", "num_tasks")
        require_range(self, **dict.fromkeys(counts, (1, math.inf)))
        if not self.library < self.trained_size < self.size:
            raise ConfigurationError(
                f"a library of {self.library}, training up to {self.trained_size}, tasks of {self.size}: each has to "
                "be larger than the one before"
            )


@dataclass(frozen=True, kw_only=True)
class Contests:
    """What solvers are compared on, and what each may spend.

    Parameters
    ----------
    seconds
        Wall-clock budget a task.
    num_tasks
        Tasks of every test set of the universe.
    num_candidates
        Candidates that a model proposes for a task.
    library, completion
        Sizes of the library that is met in the middle, and of the small one that completes a model's candidates.
    larger
        Arenas beyond the universe.
    scaling_candidates, scaling_tasks
        Candidates of every model of the scaling grid, and tasks of every part.
    rounds, rounds_seconds
        Rounds of expert iteration, and the budget of a practice task.
    """

    seconds: float = 1.0
    num_tasks: int = 40
    num_candidates: int = 64
    library: int = 6
    completion: int = 2
    larger: tuple[LargerArena, ...] = (LargerArena(),)
    scaling_candidates: int = 16
    scaling_tasks: int = 100
    rounds: int = 2
    rounds_seconds: float = 1.0

    def __post_init__(self) -> None:
        require_kinds(self)
        counts = ("num_tasks", "num_candidates", "library", "completion", "scaling_candidates", "scaling_tasks")
        require_range(self, **dict.fromkeys(counts, (1, math.inf)), rounds=(0, math.inf))
        if min(self.seconds, self.rounds_seconds) <= 0:
            raise ConfigurationError(
                f"seconds {self.seconds}, rounds_seconds {self.rounds_seconds}: use positive numbers"
            )


TINY_CONTESTS = Contests(
    seconds=0.2, num_tasks=8, num_candidates=8, library=3, scaling_candidates=2, scaling_tasks=20, rounds=1,
    larger=(LargerArena(size=9, library=3, trained_size=6, num_trained=2000, num_steps=20, guide_targets=400,
                        part_size=2, num_tasks=4),),
)  # fmt: skip
PAPER_CONTESTS = Contests(
    num_tasks=500, num_candidates=256, rounds=3, larger=(
        LargerArena(num_trained=4_000_000, num_steps=6000, guide_targets=200_000, num_tasks=200),
        LargerArena(grammar="rational", size=16, library=5, trained_size=12, num_trained=4_000_000, num_steps=6000,
                    guide_targets=200_000, part_size=3, num_tasks=200),
    ),
)  # fmt: skip
