"""Which tokens keep an unfinished text completable within its limits, for whole batches on any device.

A row's state holds the least that any completion costs, so a token is allowed if what it adds to that cost
still fits. Everything is a look-up in tables by token: no loop over rows or tokens, no value read by the host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from synthlab.errors import ConfigurationError
from synthlab.language.measure import operator_weight, smallest_size
from synthlab.language.notation import CLOSE, COMMA, OPEN, Notation, binding
from synthlab.presets import MEASURES

State: TypeAlias = tuple[Tensor, ...]
"""Whatever is known about the rows; every tensor has the batch as its first dimension."""

_NEVER = 1 << 30
_OPERAND, _BRACKET, _AFTER, _MISSING, _COMPLETE = range(5)
"""What an infix text goes on with: an operand; the bracket of a call; what follows an operand outside all
brackets, in a call that misses operands, or in a bracket that may be closed."""


class Continuations:
    """The tokens that may come next in texts of limited length and size.

    Parameters
    ----------
    notation
        How programs are written.
    max_tokens
        Longest text, the end token included.
    max_size
        Largest program, None for any that the tokens have room for.
    measure
        Of `max_size`: "leaves" or "nodes". By "depth" only the number of tokens is limited.
    device
        Where states and masks live.

    Raises
    ------
    ConfigurationError
        For an unknown measure, or limits that no program meets.
    """

    def __init__(
        self,
        notation: Notation,
        max_tokens: int,
        *,
        max_size: int | None = None,
        measure: str = "leaves",
        device: torch.device | str | None = None,
    ) -> None:
        if measure not in MEASURES:
            raise ConfigurationError(f"unknown measure {measure!r}: choose from {', '.join(MEASURES)}")
        shortest = 1 if notation.end is None else 2
        if max_tokens < shortest:
            raise ConfigurationError(f"no {notation.name} text has {max_tokens} tokens: allow at least {shortest}")
        if max_size is not None and max_size < smallest_size(measure):
            raise ConfigurationError(f"no program has {max_size} {measure}: allow at least {smallest_size(measure)}")
        # without a limit of its own, a program has no more leaves or nodes than its text has tokens
        size = max_tokens if max_size is None or measure == "depth" else max_size
        rules: dict[str, type[_Prefix | _Postfix | _Infix]] = {"prefix": _Prefix, "postfix": _Postfix, "infix": _Infix}
        self.notation, self.max_tokens = notation, max_tokens
        self._rules = rules[notation.name](notation, _Limits(max_tokens, size, operator_weight(measure)), device)

    def start(self, batch: int) -> State:
        """State of `batch` texts without a token."""
        return self._rules.start(batch)

    def allowed(self, state: State, position: int) -> Tensor:
        """Tokens that may stand at `position`, bool (B, V): with them, and only them, a text can be completed.

        All tokens where none can complete the row: it is finished, or went astray by a token that was not allowed.
        """
        allowed = self._rules.allowed(state, self.max_tokens - 1 - position)
        return allowed | ~allowed.any(dim=1, keepdim=True)

    def advance(self, state: State, tokens: Tensor) -> State:
        """State behind the next tokens (B,), int64; finished rows stay finished, whatever comes.

        Tokens that were not allowed leave a state of no meaning, but never an error.
        """
        return self._rules.advance(state, tokens.clamp(0, len(self.notation.tokens) - 1))

    def finished(self, state: State) -> Tensor:
        """Rows whose text has ended, bool (B,): prefix misses no operand, other notations have an end token."""
        return self._rules.finished(state)


@dataclass(frozen=True)
class _Limits:
    """Most tokens of a text, largest size, and what an operator adds to a size."""

    tokens: int
    size: int
    weight: int


class _Rules(ABC):
    """One notation, and tables of what its tokens are and cost, int64 (V,); marks of the notation cost nothing."""

    def __init__(self, notation: Notation, limits: _Limits, device: torch.device | str | None) -> None:
        self.device, self.limits = device, limits
        self.end = len(notation.tokens) - 1  # of notations that have an end token
        num_tokens = len(notation.grammar.tokens)
        self.leaves = np.arange(len(notation.tokens)) < notation.grammar.num_terminals
        self.arities, self.binds = np.zeros((2, len(notation.tokens)), dtype=np.int64)
        self.arities[:num_tokens], self.binds[:num_tokens] = notation.grammar.arities, binding(notation.grammar)
        self.arity = self.table(self.arities)
        self.weight = self.table(np.where(self.arities > 0, limits.weight, self.leaves))
        # a program has at least one leaf for every operand that is missing
        self.growth = self.table(np.where(self.arities > 0, self.arities - 1 + limits.weight, 0))

    def table(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, device=self.device)

    def filled(self, batch: int, value: int | bool) -> Tensor:
        return torch.full((batch,), value, device=self.device)

    @abstractmethod
    def start(self, batch: int) -> State: ...

    @abstractmethod
    def allowed(self, state: State, left: int) -> Tensor:
        """As `Continuations.allowed`, with `left` tokens behind the one to be chosen."""

    @abstractmethod
    def advance(self, state: State, tokens: Tensor) -> State: ...

    @abstractmethod
    def finished(self, state: State) -> Tensor: ...


class _Prefix(_Rules):
    """State: operands that are missing, and the least size of a program that starts like this."""

    def start(self, batch: int) -> State:
        return self.filled(batch, 1), self.filled(batch, 1)

    def allowed(self, state: State, left: int) -> Tensor:
        missing, size = state
        fits = missing[:, None] - 1 + self.arity <= left
        return fits & (size[:, None] + self.growth <= self.limits.size) & (missing > 0)[:, None]

    def advance(self, state: State, tokens: Tensor) -> State:
        missing, size = state
        return torch.where(missing > 0, missing - 1 + self.arity[tokens], 0), size + self.growth[tokens]

    def finished(self, state: State) -> Tensor:
        return state[0] == 0


class _Postfix(_Rules):
    """State: programs on the stack, their size in all, and whether the text has ended."""

    def __init__(self, notation: Notation, limits: _Limits, device: torch.device | str | None) -> None:
        super().__init__(notation, limits, device)
        arities = sorted({o.arity for o in notation.grammar.operators})
        self.completion = self.table(_least_completions(arities, limits))
        self.is_end = self.table(np.arange(self.end + 1) == self.end)

    def start(self, batch: int) -> State:
        return self.filled(batch, 0), self.filled(batch, 0), self.filled(batch, False)

    def allowed(self, state: State, left: int) -> Tensor:
        height, size, _ = state
        after = (height[:, None] + 1 - self.arity).clamp(0, self.limits.tokens)  # 0, where operands lack, never ends
        size = size[:, None] + self.weight + self.completion[max(left, 0)][after]
        return torch.where(self.is_end, (height == 1)[:, None], size <= self.limits.size)

    def advance(self, state: State, tokens: Tensor) -> State:
        height, size, ended = state
        height = (height + 1 - self.arity[tokens]).clamp(0, self.limits.tokens)
        return height, size + self.weight[tokens], ended | (tokens == self.end)

    def finished(self, state: State) -> Tensor:
        return state[2]


def _least_completions(arities: list[int], limits: _Limits) -> np.ndarray:
    """Least size that is still to be written by (tokens left, programs on the stack).

    The shortest path to one program on the stack, by dynamic programming over the number of tokens: fewest
    tokens and least size may need different paths, so neither alone decides. The last token is the end's.
    """
    highest = limits.tokens
    least = np.full((limits.tokens + 1, highest + 1), _NEVER)
    least[1:, 1] = 0
    for left in range(2, limits.tokens + 1):
        before, now = least[left - 1], least[left]
        now[1:-1] = np.minimum(now[1:-1], 1 + before[2:])
        for arity in arities:
            if arity <= highest:
                now[arity:] = np.minimum(now[arity:], limits.weight + before[1 : highest + 2 - arity])
    return np.minimum(least, _NEVER)


class _Infix(_Rules):
    """State: what comes next, open brackets, commas that each misses, tokens and size of the least completion, end.

    A call puts its bracket on the stack at once; the parenthesis behind its name then adds nothing.
    """

    def __init__(self, notation: Notation, limits: _Limits, device: torch.device | str | None) -> None:
        super().__init__(notation, limits, device)
        self.max_open = max(1, limits.tokens // 2)  # every bracket needs two tokens
        self.opening, self.closing, self.comma = (notation.tokens.index(mark) for mark in (OPEN, CLOSE, COMMA))
        infix = self.binds > 0
        call = (self.arities > 0) & ~infix
        goes_on = np.where(call, _BRACKET, np.where(self.leaves, _AFTER, _OPERAND))
        goes_on[[self.closing, self.end]] = _AFTER
        follows = np.array([self.leaves | call, np.zeros_like(call), infix, infix, infix])
        follows[[_OPERAND, _BRACKET], self.opening] = True
        follows[[_AFTER, _MISSING, _COMPLETE], [self.end, self.comma, self.closing]] = True
        # change of the least completion in tokens: a call of arity a takes 2a + 2 in the place of one leaf
        steps = np.tile(np.where(infix, 1, np.where(call, 2 * self.arities, -1)), (len(follows), 1))
        steps[_OPERAND, self.opening] = 1
        self.is_call, self.goes_on = self.table(call), self.table(goes_on)
        self.follows, self.steps = self.table(follows), self.table(steps)

    def start(self, batch: int) -> State:
        stack = torch.zeros((batch, self.max_open), dtype=torch.int8, device=self.device)
        mode, depth, tokens, size = (self.filled(batch, value) for value in (_OPERAND, 0, 2, 1))
        return mode, depth, stack, tokens, size, self.filled(batch, False)

    def allowed(self, state: State, left: int) -> Tensor:
        mode, depth, stack, tokens, size, _ = state
        top = stack.gather(1, (depth - 1).clamp(min=0)[:, None])[:, 0]
        behind = torch.where(depth == 0, _AFTER, torch.where(top > 0, _MISSING, _COMPLETE))
        follows = self.follows[torch.where(mode == _AFTER, behind, mode)]
        fits = (tokens[:, None] + self.steps[mode] <= left) & (size[:, None] + self.growth <= self.limits.size)
        return follows & fits

    def advance(self, state: State, tokens: Tensor) -> State:
        mode, depth, stack, least, size, ended = state
        is_call = self.is_call[tokens]
        pushes = is_call | ((tokens == self.opening) & (mode != _BRACKET))
        place = torch.where(pushes, depth, depth - 1).clamp(0, self.max_open - 1)[:, None]
        top = stack.gather(1, place)[:, 0] - (tokens == self.comma).to(torch.int8)
        commas = torch.where(is_call, self.arity[tokens] - 1, 0).to(torch.int8)
        stack = stack.scatter(1, place, torch.where(pushes, commas, top.clamp(min=-1))[:, None])
        change = pushes.long() - (tokens == self.closing).long()
        least = least + self.steps[mode].gather(1, tokens[:, None])[:, 0]
        depth = (depth + change).clamp(0, self.max_open)
        return self.goes_on[tokens], depth, stack, least, size + self.growth[tokens], ended | (tokens == self.end)

    def finished(self, state: State) -> Tensor:
        return state[5]
