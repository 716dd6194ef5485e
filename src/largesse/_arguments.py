"""Refuses arguments of the wrong kind: `checked` compares what a public function gets with its own annotations.

What an annotation cannot say (ranges, shapes, finite numbers, what an array holds) is checked where the argument is used; see
`_check`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from numbers import Integral, Real
from typing import Any, ForwardRef, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from largesse import _check
from largesse.errors import SchemaError

__all__ = ["checked", "verify"]

T = TypeVar("T", bound=Callable[..., Any])


class Kind(NamedTuple):
    """What an annotation allows, in words and as a function.

    Attributes:
        words: In words.
        accepts: Whether it allows a value.
        by_type: Whether that depends on nothing but the value's type.
    """

    words: str
    accepts: Callable[[Any], bool]
    by_type: bool = False


def checked(target: T) -> T:
    """Decorates a function, a method or a dataclass: arguments of another kind than annotated raise SchemaError.

    Raises:
        SchemaError: By the decorated function; it names the argument, its value and the kind that it must be of.
    """
    if inspect.isclass(target):
        typing.cast(Any, target).__init__ = _wrapped(target.__init__, target)
        return target
    return typing.cast(T, _wrapped(target, target))


def _wrapped(function: Callable[..., Any], owner: Any) -> Callable[..., Any]:
    signature = inspect.signature(function)
    several = {p.name for p in signature.parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # a missing or unknown argument: Python's own error names it
            return function(*args, **kwargs)
        verify(owner, {name: got for name, got in given.items() if name not in several})
        return function(*args, **kwargs)

    return inner


def verify(owner: Any, given: Mapping[str, Any]) -> None:
    """Compares values by name with the annotations of a function or a class.

    Raises:
        SchemaError: A value is of another kind than annotated.
    """
    for name, kind in _kinds(owner).items():
        if name in given and not kind.accepts(given[name]):
            got = given[name]
            rule = f"must be {kind.words}" + ("" if got is None else f", it is {_a(_name(type(got)))}")
            raise _check.refuse(name, got, rule, f"See help({owner.__qualname__}).", SchemaError)


@functools.cache
def _kinds(owner: Any) -> dict[str, Kind]:
    """Returns the kinds of the parameters by name; a parameter that may be anything is left out."""
    homes = owner.__mro__[::-1] if inspect.isclass(owner) else [owner]
    hints: dict[str, Any] = {}
    for home in homes:
        names = vars(sys.modules.get(home.__module__, types))
        own = inspect.get_annotations(home)
        if inspect.isclass(home) and not dataclasses.is_dataclass(home) and inspect.isfunction(home.__init__):
            own = own | inspect.get_annotations(home.__init__)
        hints |= {name: _evaluated(text, names) for name, text in own.items()}
    kinds = {name: _kind(hint) for name, hint in hints.items() if name != "return"}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _evaluated(hint: Any, names: dict[str, Any]) -> Any:
    """Returns an annotation; Any if it has names that are imported for the type checker only."""
    while isinstance(hint, str | TypeVar | ForwardRef):  # a named type may itself be text
        if isinstance(hint, TypeVar):
            hint = Any if hint.__bound__ is None else hint.__bound__
            continue
        text = hint.__forward_arg__ if isinstance(hint, ForwardRef) else hint
        try:
            hint = eval(text, names)  # an annotation of this package, as `typing.get_type_hints` evaluates it
        except (NameError, AttributeError, TypeError):
            return Any
    return hint


def _kind(hint: Any) -> Kind | None:
    """Returns what an annotation allows; None: anything, or what only NumPy can tell."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is ArrayLike or origin is np.ndarray:
        return Kind("an array", _is_array)
    if hint is Any:
        return None
    if hint is None or hint is type(None):
        return Kind("None", lambda got: got is None, by_type=True)
    if origin is typing.Annotated:
        return _kind(parts[0])
    if origin in (typing.Union, types.UnionType):
        return _any_of([_kind(part) for part in parts])
    if origin is typing.Literal:
        kinds = tuple({type(part) for part in parts})
        return Kind(f"one of {', '.join(map(repr, parts))}", lambda got: isinstance(got, kinds))
    if origin in _COLLECTIONS:
        return _fixed(parts) if origin is tuple and parts and parts[-1] is not ... else _collection(parts, origin)
    if origin in (dict, abc.Mapping):
        return _mapping(parts)
    if origin is abc.Callable or hint is abc.Callable:
        return Kind("a function", callable)
    if origin is os.PathLike:
        return _simple(os.PathLike)
    return _simple(hint) if origin is None and inspect.isclass(hint) else None


_COLLECTIONS = (tuple, list, abc.Sequence, abc.Iterable, abc.Collection)


def _simple(kind: type) -> Kind | None:
    if kind is float:
        return Kind("a number", _is_number)
    if kind is int:
        return Kind("a whole number", lambda got: isinstance(got, Integral | np.bool_), by_type=True)
    if kind is str or (issubclass(kind, str) and issubclass(kind, Enum)):
        return Kind("text", lambda got: isinstance(got, str), by_type=True)
    if kind is bool:
        return Kind("True or False", lambda got: isinstance(got, bool | np.bool_))
    if issubclass(kind, os.PathLike):
        return Kind("a path", lambda got: isinstance(got, os.PathLike))
    structural = getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False)
    if typing.is_typeddict(kind) or structural:  # `isinstance` cannot judge these
        return None
    return Kind(_a(kind.__name__), lambda got: isinstance(got, kind), by_type=True)


def _is_number(got: Any) -> bool:
    return isinstance(got, Real | np.number | np.bool_) or (
        isinstance(got, np.ndarray) and got.ndim == 0 and got.dtype.kind in "biuf"
    )


def _is_array(got: Any) -> bool:
    return hasattr(got, "__array__") or (isinstance(got, abc.Sequence) and not isinstance(got, str | bytes))


def _any_of(kinds: list[Kind | None]) -> Kind | None:
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(kinds):
        return None
    words = list(dict.fromkeys(kind.words for kind in known))
    text = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    return Kind(text, lambda got: any(kind.accepts(got) for kind in known), by_type=all(kind.by_type for kind in known))


def _fixed(parts: tuple[Any, ...]) -> Kind:
    """Returns the kind of a tuple of a fixed length, e.g. ``tuple[float, float]``."""
    entries = [_kind(part) for part in parts]

    def accepts(got: Any) -> bool:
        if isinstance(got, np.ndarray):
            return got.shape == (len(parts),)
        if not isinstance(got, tuple | list) or len(got) != len(parts):
            return False
        return all(kind is None or kind.accepts(entry) for kind, entry in zip(entries, got, strict=True))

    return Kind(f"a tuple of {len(parts)}", accepts)


def _collection(parts: tuple[Any, ...], origin: Any) -> Kind:
    """Returns the kind of a tuple, a list or another collection, whose entries are checked if it is a tuple or a list."""
    entry = _kind(parts[0]) if parts else None
    shape = Iterable if origin is abc.Iterable else abc.Collection

    def accepts(got: Any) -> bool:
        if isinstance(got, str | bytes | Mapping) or not isinstance(got, shape):
            return False
        if isinstance(got, np.ndarray):  # all entries are of one kind
            return got.ndim > 0 and (
                entry is None or all(map(entry.accepts, got[:1] if got.ndim > 1 else got[:1].tolist()))
            )
        if entry is None or not isinstance(got, tuple | list):
            return True
        several = {type(one): one for one in got}.values() if entry.by_type else got  # one of each type stands for all
        return all(map(entry.accepts, several))

    return Kind("a sequence" + (f", each entry {entry.words}" if entry else ""), accepts)


def _mapping(parts: tuple[Any, ...]) -> Kind:
    """Returns the kind of a dictionary, whose values are checked; names may be numbers, e.g. of treatments."""
    value = _kind(parts[1]) if parts else None

    def accepts(got: Any) -> bool:
        return isinstance(got, Mapping) and (value is None or all(map(value.accepts, got.values())))

    return Kind("a dictionary" + (f", each value {value.words}" if value else ""), accepts, by_type=value is None)


def _name(kind: type) -> str:
    return "array" if kind is np.ndarray else kind.__name__


def _a(noun: str) -> str:
    vowels = "AEFHILMNORSX" if noun.isupper() else "AEIOUaeio"  # an MLP, a unit
    return f"{'an' if noun[:1] in vowels else 'a'} {noun}"
