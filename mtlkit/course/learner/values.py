"""Values of any kind (tensor, array, number, list of them): copied, compared, shown in one line."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SHORT = 80  # characters of a value in a sentence
FEW = 6  # numbers of an input that are shown
CLOSE, APART = 1e-4, 1e-3  # of the largest number: rounding stays below, a mistake is above


def as_array(value: Any) -> np.ndarray:
    """The value as an array; one of dtype object if it does not consist of numbers.

    Tensors may have a gradient, and lists may hold tensors; a ragged list is no array.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.double() if value.dtype.is_floating_point else value
    elif isinstance(value, list | tuple):
        rows = [as_array(part) for part in value]
        alike = rows and len({row.shape for row in rows}) == 1
        value = np.stack(rows) if alike else np.asarray(None if rows else [], dtype=None)
    try:
        found = np.asarray(value)
    except (TypeError, ValueError):
        return np.asarray(None, dtype=object)
    return found if found.dtype.kind in "biuf" else np.asarray(None, dtype=object)


def kind(value: Any) -> str:
    """What a value is, in words: "a list", "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def copied(value: Any) -> Any:
    """The value with new memory: what is done to it in place does not reach the original.

    Gradients still flow back through a copied tensor; functions and texts are themselves.
    """
    if hasattr(value, "detach"):
        return value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {name: copied(part) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(copied(part) for part in value)
    return value


def leaf(value: Any) -> Any:
    """A copy whose tensors start a graph of their own, if the original's had a gradient."""
    if hasattr(value, "detach"):
        return value.detach().clone().requires_grad_(value.requires_grad)
    return copied(value)


def equal(one: Any, other: Any) -> bool:
    """Whether two inputs hold the same; NaN is the same as NaN."""
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(equal(one[name], other[name]) for name in one)
    if hasattr(one, "detach") or isinstance(one, np.ndarray):
        left, right = as_array(one), as_array(other)
        nan = left.dtype.kind == "f" and right.dtype.kind == "f"
        return bool(np.array_equal(left, right, equal_nan=nan))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one is other or bool(one == other)


def close(one: Any, other: Any, scale: float, tolerance: float = CLOSE) -> bool:
    """Whether two parts of answers are the same but for rounding, `tolerance` of `scale`.

    NaN and infinity are the same where both have them.
    """
    if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray):
        return type(one) is type(other) and bool(one == other)
    if one.shape != other.shape:
        return False
    left, right = one.astype(float), other.astype(float)
    ends = ~np.isfinite(left) | ~np.isfinite(right)
    if not np.array_equal(left[ends], right[ends], equal_nan=True):
        return False
    return bool((np.abs(left[~ends] - right[~ends]) <= tolerance * scale).all())


def largest(*parts: Any) -> float:
    """The largest size of a finite number in the parts; a tiny one if there is none."""
    numbers = [part.astype(float).ravel() for part in parts if isinstance(part, np.ndarray)]
    whole = np.concatenate([*numbers, [1e-12]])
    return float(np.abs(whole[np.isfinite(whole)]).max())


def short(value: Any, most: int = SHORT) -> str:
    """A value in a sentence: numbers rounded to four digits, long texts cut in the middle."""
    array = as_array(value)
    if array.size <= 12 and array.dtype.kind == "f":
        return str(np.round(array.astype(float), 4).tolist())
    if array.dtype.kind in "biuf":
        return str(array.tolist()) if array.size <= 12 else _first(array)
    return cut(value if isinstance(value, str) else _repr(value, most), most)


def cut(text: str, most: int) -> str:
    """A text in one line of at most so many characters: its beginning and its end are kept."""
    if len(text) > 20 * most:  # do not work through megabytes
        text = text[: 10 * most] + text[-10 * most :]
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    head = (most - 5) * 2 // 3
    return f"{text[:head]} ... {text[head + 5 - most :]}"


def described(names: Sequence[str], given: Sequence[Any]) -> str:
    """Inputs in one line: "x (2, 3) = [0.1, -0.2, ...], rate = 0.5"."""
    named = [*names, *(f"input {n + 1}" for n in range(len(names), len(given)))]
    return ", ".join(_one(name, value) for name, value in zip(named, given, strict=False))


def _one(name: str, value: Any) -> str:
    if callable(value):
        return f"{name} = {getattr(value, '__name__', kind(value))}"
    if isinstance(value, Mapping):
        inside = ", ".join(_one(repr(key), part) for key, part in list(value.items())[:4])
        return f"{name} = {{{inside}{', ...' if len(value) > 4 else ''}}}"
    array = as_array(value)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        return f"{name} = {short(value)}"
    return f"{name} {array.shape} = {_first(array, shape=False)}"


def _first(array: np.ndarray, *, shape: bool = True) -> str:
    flat = array.ravel()
    numbers = flat[:FEW]
    told = [f"{n:.4g}" if array.dtype.kind == "f" else str(n) for n in numbers.tolist()]
    rest = ", ..." if flat.size > FEW else ""
    size = f" of shape {array.shape}" if shape else ""
    return f"[{', '.join(told)}{rest}]{size}"


def _repr(value: Any, most: int) -> str:
    if isinstance(value, list | tuple | set | Mapping) and len(value) > most:
        return f"{kind(value)} of {len(value):,} things"
    try:
        return str(value)
    except Exception:
        return kind(value)
