"""What a search may spend, and what it has spent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from synthlab.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of one search; the first one reached ends it.

    Parameters
    ----------
    seconds
        Wall-clock time.
    programs
        Programs executed; None for no limit.
    """

    seconds: float = 1.0
    programs: int | None = None

    def __post_init__(self) -> None:
        if not self.seconds > 0 or (self.programs is not None and self.programs < 1):
            raise ConfigurationError(f"a budget of {self.seconds} s and {self.programs} programs allows no search")


@dataclass
class Meter:
    """Clock and counter of one search."""

    budget: Budget
    executed: int = 0
    start: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Wall-clock time since the start."""
        return time.perf_counter() - self.start

    @property
    def exhausted(self) -> bool:
        """Whether a limit has been reached."""
        over = self.budget.programs is not None and self.executed >= self.budget.programs
        return over or self.seconds >= self.budget.seconds
