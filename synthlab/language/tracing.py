"""The declared meaning of an operator as straight-line code, found by calling it with recording values.

One declaration then serves every arithmetic: NumPy arrays run the function itself, compiled kernels run
the code, exact identity runs it modulo a prime. A meaning that branches, or that calls something
unknown here, has no code and runs as NumPy only.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, ABSOLUTE, MINIMUM, MAXIMUM, FLOOR_DIVIDE, MODULO = range(10)
FIELD_STEPS = frozenset({ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE})
"""Instructions that have a meaning in every field."""
PARTIAL_STEPS = frozenset({DIVIDE, FLOOR_DIVIDE, MODULO})
"""Instructions without a value for some operands."""

_TEXT = {ADD: "{} + {}", SUBTRACT: "{} - {}", MULTIPLY: "{} * {}", DIVIDE: "{} / {}", NEGATE: "-{}"}
_TEXT |= {ABSOLUTE: "|{}|", MINIMUM: "min({}, {})", MAXIMUM: "max({}, {})"}
_TEXT |= {FLOOR_DIVIDE: "floor({} / {})", MODULO: "{0} - {1} * floor({0} / {1})"}
_UFUNCS = {
    np.add: ADD, np.subtract: SUBTRACT, np.multiply: MULTIPLY, np.true_divide: DIVIDE, np.negative: NEGATE,
    np.absolute: ABSOLUTE, np.minimum: MINIMUM, np.maximum: MAXIMUM, np.floor_divide: FLOOR_DIVIDE,
    np.remainder: MODULO,
}  # fmt: skip
MAX_STEPS = 64

NUMBER_ACTIONS: dict[int, Callable[..., Any]] = {
    ADD: operator.add, SUBTRACT: operator.sub, MULTIPLY: operator.mul, DIVIDE: operator.truediv,
    FLOOR_DIVIDE: operator.floordiv, MODULO: operator.mod, MINIMUM: min, MAXIMUM: max,
    NEGATE: lambda a, _: -a, ABSOLUTE: lambda a, _: abs(a),
}  # fmt: skip
"""The instructions on exact numbers; what has no value raises ZeroDivisionError."""
ARRAY_ACTIONS: dict[int, Callable[..., Any]] = {
    **NUMBER_ACTIONS, MINIMUM: np.minimum, MAXIMUM: np.maximum,
}  # fmt: skip
"""The instructions on float arrays."""

T = TypeVar("T")


class NotTraceable(Exception):
    """A meaning that is no straight-line code of known instructions."""


@dataclass(frozen=True)
class Code:
    """Straight-line code of one operator.

    Attributes
    ----------
    arity
        Number of operands; they are registers 0, 1, ...
    steps
        Instructions (kind, first, second). Step k writes register arity + k, the last one holds the result.
        Every operand is read, so that a missing one leaves no result.
        A negative register -1 - c is constant c; one-operand instructions repeat their operand.
    constants
        Exact constants.
    """

    arity: int
    steps: tuple[tuple[int, int, int], ...]
    constants: tuple[Fraction, ...] = ()

    def run(
        self, operands: Sequence[T], actions: Mapping[int, Callable[..., T]], constant: Callable[[Fraction], T]
    ) -> T:
        """Carry the code out in any arithmetic: `actions` by instruction, each a function of two values."""
        registers = list(operands)
        for kind, first, second in self.steps:
            values = [registers[r] if r >= 0 else constant(self.constants[-1 - r]) for r in (first, second)]
            registers.append(actions[kind](*values))
        return registers[-1]

    @property
    def is_field(self) -> bool:
        """Whether the code has a meaning in every field."""
        return all(kind in FIELD_STEPS for kind, _, _ in self.steps)

    @property
    def is_partial(self) -> bool:
        """Whether some operands may have no result."""
        return self.jumps or any(
            kind == DIVIDE and (second >= 0 or self.constants[-1 - second] == 0) for kind, _, second in self.steps
        )

    @property
    def divides(self) -> bool:
        """Whether whole numbers cannot carry it out: it divides, if only by a constant."""
        return any(kind in PARTIAL_STEPS for kind, _, _ in self.steps)

    @property
    def jumps(self) -> bool:
        """Whether nearby operands may have results far apart."""
        return any(kind in (FLOOR_DIVIDE, MODULO) for kind, _, _ in self.steps)

    def text(self, names: Sequence[str] = "abcdefgh") -> str:
        """The code as one formula."""

        def action(kind: int) -> Callable[[str, str], str]:
            def write(first: str, second: str) -> str:
                bare = kind in (ABSOLUTE, MINIMUM, MAXIMUM)
                parts = [p if bare or p.isidentifier() or p.isdigit() else f"({p})" for p in (first, second)]
                return _TEXT[kind].format(*parts)

            return write

        return self.run(list(names[: self.arity]), {kind: action(kind) for kind in _TEXT}, str)


def trace(meaning: Callable[..., Any], arity: int) -> Code:
    """Record what a meaning does.

    Raises
    ------
    NotTraceable
        If it is no straight-line code of known instructions.
    """
    recorder = _Recorder(arity)
    try:
        result = meaning(*(_Recorded(recorder, register) for register in range(arity)))
    except Exception as error:
        raise NotTraceable(str(error)) from error
    register = recorder.register(result)
    read = {r for _, *pair in recorder.steps for r in pair} | {register}
    for unused in set(range(arity)) - read:  # without it a missing operand would go unnoticed
        nothing = recorder.add(MULTIPLY, unused, recorder.register(0)).register
        register = recorder.add(ADD, register, nothing).register
    if register < arity or register != arity + len(recorder.steps) - 1:
        recorder.add(MULTIPLY, register, recorder.register(1))  # the last step holds the result
    return Code(arity, tuple(recorder.steps), tuple(recorder.constants))


class _Recorder:
    def __init__(self, arity: int) -> None:
        self.arity = arity
        self.steps: list[tuple[int, int, int]] = []
        self.constants: list[Fraction] = []

    def register(self, value: Any) -> int:
        """Register of a recorded value or of a number."""
        if isinstance(value, _Recorded):
            return value.register
        if isinstance(value, bool) or not isinstance(value, (int, float, Fraction, np.integer, np.floating)):
            raise NotTraceable(f"{type(value).__name__} is not a number")
        if isinstance(value, (float, np.floating)) and not math.isfinite(value):
            raise NotTraceable(f"{value} is not a number")
        exact = Fraction(value) if isinstance(value, (int, float, Fraction)) else Fraction(value.item())
        if exact not in self.constants:
            self.constants.append(exact)
        return -1 - self.constants.index(exact)

    def add(self, kind: int, first: int, second: int) -> _Recorded:
        """Append one instruction; its value."""
        if len(self.steps) >= MAX_STEPS:
            raise NotTraceable(f"more than {MAX_STEPS} instructions")
        self.steps.append((kind, first, second))
        return _Recorded(self, self.arity + len(self.steps) - 1)


def _binary(kind: int) -> Callable[[_Recorded, Any], _Recorded]:
    return lambda self, other: self._step(kind, self, other)


def _reflected(kind: int) -> Callable[[_Recorded, Any], _Recorded]:
    return lambda self, other: self._step(kind, other, self)


class _Recorded:
    """Stands for a number and records what is done with it."""

    def __init__(self, recorder: _Recorder, register: int) -> None:
        self.recorder, self.register = recorder, register

    def _step(self, kind: int, first: Any, second: Any) -> _Recorded:
        return self.recorder.add(kind, self.recorder.register(first), self.recorder.register(second))

    __add__, __radd__ = _binary(ADD), _reflected(ADD)
    __sub__, __rsub__ = _binary(SUBTRACT), _reflected(SUBTRACT)
    __mul__, __rmul__ = _binary(MULTIPLY), _reflected(MULTIPLY)
    __truediv__, __rtruediv__ = _binary(DIVIDE), _reflected(DIVIDE)
    __floordiv__, __rfloordiv__ = _binary(FLOOR_DIVIDE), _reflected(FLOOR_DIVIDE)
    __mod__, __rmod__ = _binary(MODULO), _reflected(MODULO)

    def _branch(self, *_: Any) -> Any:
        raise NotTraceable("it compares or branches")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _branch
    __hash__ = None  # type: ignore[assignment]

    def __neg__(self) -> _Recorded:
        return self._step(NEGATE, self, self)

    def __abs__(self) -> _Recorded:
        return self._step(ABSOLUTE, self, self)

    def __pow__(self, exponent: Any) -> _Recorded:
        if not isinstance(exponent, int) or abs(exponent) > MAX_STEPS or exponent == 0:
            raise NotTraceable(f"power {exponent}: use a whole exponent other than 0")
        power = self
        for _ in range(abs(exponent) - 1):
            power = power * self
        return power if exponent > 0 else 1 / power

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> _Recorded:
        if method != "__call__" or options or (ufunc not in _UFUNCS and ufunc is not np.square):
            raise NotTraceable(f"no instruction for {ufunc.__name__}")
        if ufunc is np.square:
            return self * self
        return self._step(_UFUNCS[ufunc], inputs[0], inputs[-1])
