"""Reading a number as people write it: with a decimal comma, with gaps, with its unit."""

import re
from typing import Any

_SIGN = {"\u2212": "-", "\u2013": "-"}
_GAP = re.compile(r"(?<=\d)[ \u00a0\u2009\u202f'\u2019](?=\d{3}(?!\d))")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}([,.])\d{3}(?:\1\d{3})*")
_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def number(value: Any, unit: str = "") -> float:
    """The number that is meant by a number or a text such as "12,5", "3 600" or "40 %".

    A comma is read as a decimal point, unless it can only part thousands ("1,234.5"). Where it may
    be either ("1,234"), and where there is no number, ValueError is raised with a sentence. Two
    whole numbers, as `predict("2.p1", 12,5)` gives them, are read like the text.
    """
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(n) is int for n in value):
        value = f"{value[0]},{value[1]}"
    if not isinstance(value, str):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"A number is asked for, not {value!r}.") from None
    text = value.strip()
    for ending in (unit, "%"):
        text = text.removesuffix(ending).strip()
    for sign, minus in _SIGN.items():
        text = text.replace(sign, minus)
    text = _GAP.sub("", text)
    if "," in text:
        text = _without_comma(text)
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"A number is asked for, not {value!r}.")
    return float(text)


def _without_comma(text: str) -> str:
    whole, _, rest = text.rpartition(",")
    if text.count(",") == 1 and _GROUPED.fullmatch(text):
        either = f"{whole}.{rest} or {whole}{rest}"
        raise ValueError(f"{text} can be read in two ways: write {either}.")
    if text.count(",") > 1:
        return text.replace(",", "") if _GROUPED.fullmatch(text.partition(".")[0]) else text
    if "." in rest:  # 1,234.5
        return whole + rest if _GROUPED.fullmatch(text.partition(".")[0]) else text
    if "." in whole:  # 1.234,5
        return f"{whole.replace('.', '')}.{rest}" if _GROUPED.fullmatch(whole) else text
    return f"{whole}.{rest}"
