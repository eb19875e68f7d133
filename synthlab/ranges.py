"""What the fields of a configuration may hold: the kind that its annotation says, and a range.

A setting of another kind that looks like one (``"3"``, 3.0, True) would make another key, and so another artifact.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from synthlab.errors import ConfigurationError

_WORDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text", dict: "a dictionary"}


def require_kinds(config: Any) -> None:
    """Refuse a field of a frozen dataclass that is not what its annotation says.

    Raises
    ------
    ConfigurationError
        Naming the field.
    """
    hints = typing.get_type_hints(type(config))
    for field in fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if not _is(value, hint):
            raise ConfigurationError(f"{field.name} {value!r}: use {_described(hint)}")


def require_range(config: Any, **ranges: tuple[float, float]) -> None:
    """Refuse numbers outside their ranges, both ends included; those in tuples too, and None is in every range.

    Raises
    ------
    ConfigurationError
        Naming the field.
    """
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not low <= number <= high:
                wanted = f"{low:g} or more" if high == math.inf else f"a number from {low:g} to {high:g}"
                raise ConfigurationError(f"{name} {value!r}: use {wanted}")


def require_share(config: Any, *names: str) -> None:
    """Refuse what is not between 0 and 1.

    Raises
    ------
    ConfigurationError
        Naming the field.
    """
    for name in names:
        if not 0 < getattr(config, name) < 1:
            raise ConfigurationError(f"{name} {getattr(config, name)!r}: use a number between 0 and 1")


def require_choices(config: Any, **choices: tuple[str, ...]) -> None:
    """Refuse words that are not among those known.

    Raises
    ------
    ConfigurationError
        Naming the field and the known words.
    """
    for name, known in choices.items():
        value = getattr(config, name)
        for word in value if isinstance(value, tuple) else (value,):
            if word not in known:
                raise ConfigurationError(f"unknown {name} {word!r}: choose from {', '.join(known)}")


def _is(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is None or hint is types.NoneType:
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, kind) for kind in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
        return len(kinds) == len(value) and all(map(_is, value, kinds))
    if hint is float:
        return (type(value) is int or isinstance(value, float)) and math.isfinite(value)
    return isinstance(value, Mapping) if origin is dict else type(value) is hint


def _described(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("None" if kind is types.NoneType else _described(kind) for kind in inner)
    if origin is tuple:
        kinds = inner[:1] if inner[-1] is Ellipsis else inner
        return f"a tuple of {', '.join(map(_described, kinds))}"
    return _WORDS.get(origin or hint, getattr(hint, "__name__", str(hint)))
