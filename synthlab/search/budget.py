"""What a search may spend, and what it has spent."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from synthlab.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What was spent, on every axis.

    Attributes
    ----------
    seconds
        Wall-clock time.
    programs
        Programs executed on the grid.
    lookups
        Questions to a library of known functions; each decides one program that is never executed.
    tokens
        Tokens that a model wrote.
    flops
        Floating-point operations of a model.
    """

    seconds: float = 0.0
    programs: int = 0
    lookups: int = 0
    tokens: int = 0
    flops: float = 0.0

    @property
    def tested(self) -> int:
        """Programs that were executed or decided by a look-up."""
        return self.programs + self.lookups

    def __add__(self, other: Cost) -> Cost:
        return _cost({f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)})

    def over(self, num: int) -> Cost:
        """An equal share for each of `num` tasks, rounded up."""
        return _cost({name: value / num for name, value in asdict(self).items()})


def _cost(parts: Mapping[str, float]) -> Cost:
    """Costs from numbers by axis; counts are rounded up."""
    counts = {name: math.ceil(parts[name]) for name in ("programs", "lookups", "tokens")}
    return Cost(seconds=parts["seconds"], flops=parts["flops"], **counts)


AXES = ("seconds", "tested", "programs", "lookups", "tokens", "flops")
"""What a budget can limit."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of one search; the first one reached ends it.

    Parameters
    ----------
    seconds
        Wall-clock time; infinite for no limit.
    programs, lookups, tokens, flops
        As in `Cost`; None for no limit.
    tested
        Programs executed or decided by a look-up.

    Raises
    ------
    ConfigurationError
        For limits that allow no search at all.
    """

    seconds: float = 1.0
    programs: int | None = None
    lookups: int | None = None
    tested: int | None = None
    tokens: int | None = None
    flops: float | None = None

    def __post_init__(self) -> None:
        limits = {axis: getattr(self, axis) for axis in AXES}
        if not all(limit is None or limit > 0 for limit in limits.values()):
            given = ", ".join(f"{limit} {axis}" for axis, limit in limits.items() if limit is not None)
            raise ConfigurationError(f"a budget of {given} allows no search: every limit must be over 0")


@dataclass
class Meter:
    """Clock and counters of one search."""

    budget: Budget
    programs: int = 0
    lookups: int = 0
    tokens: int = 0
    flops: float = 0.0
    charged: float = 0.0
    start: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Wall-clock time since the start, and what else was charged."""
        return time.perf_counter() - self.start + self.charged

    @property
    def tested(self) -> int:
        """Programs executed or decided by a look-up."""
        return self.programs + self.lookups

    @property
    def exhausted(self) -> bool:
        """Whether a limit has been reached."""
        limits = ((axis, getattr(self.budget, axis)) for axis in AXES)
        return any(limit is not None and getattr(self, axis) >= limit for axis, limit in limits)

    @property
    def cost(self) -> Cost:
        """What has been spent so far."""
        return Cost(
            seconds=self.seconds, programs=self.programs, lookups=self.lookups, tokens=self.tokens, flops=self.flops
        )

    def charge(self, cost: Cost) -> None:
        """Add what was spent elsewhere on behalf of this search."""
        self.programs += cost.programs
        self.lookups += cost.lookups
        self.tokens += cost.tokens
        self.flops += cost.flops
        self.charged += cost.seconds

    def left(self, axis: str, most: int) -> int:
        """How much of an axis may still be spent, at most `most`."""
        limit = getattr(self.budget, axis)
        return most if limit is None else max(0, min(most, int(limit - getattr(self, axis))))
