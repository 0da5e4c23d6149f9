"""A preset's file: lines of ``dial: value``, read without making anything but numbers and words."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from mtlkit.files import why_not_read

NUMBER = re.compile(r"[-+]?(0|[1-9][0-9_]*)?(\.[0-9_]*)?([eE][-+]?[0-9]+)?")
TAG = "tag:yaml.org,2002:"
PLAIN = {TAG + kind for kind in ("int", "float", "str", "bool", "null", "timestamp")}


def read_preset(path: Path) -> dict[str, int | float | str]:
    """The values of a YAML file of lines ``dial: value``; an empty file has none.

    Only the marks of YAML are read: a tag such as ``!!python/object`` is refused, not obeyed, and a
    number is what it looks like (YAML itself takes 010 for 8 and 1:30 for 90). Raises
    ``ValueError`` naming file, line and what to write.
    """
    try:
        top = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ValueError(
            f"{path}: it cannot be read ({why_not_read(path, error)}); give a file of lines "
            "`dial: value`"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: it is no text in UTF-8 ({error.reason}); write lines of `dial: value`"
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: it is no YAML that can be read ({told})") from error
    if top is None or (top.tag == TAG + "null" and not top.value):
        return {}
    if not isinstance(top, yaml.MappingNode) or top.tag != TAG + "map":
        raise ValueError(f"{path}: expected lines of `dial: value`")
    values: dict[str, int | float | str] = {}
    for key, value in top.value:
        place = f"{path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode) or key.tag not in PLAIN:
            raise ValueError(f"{place}: a dial's name is a word, not {_told(key)}")
        if key.value in values:
            raise ValueError(f"{place}: dial {key.value} stands there twice; keep one of the lines")
        values[key.value] = _value(value, f"{place}: dial {key.value}")
    return values


def _value(node: yaml.Node, what: str) -> int | float | str:
    if not isinstance(node, yaml.ScalarNode) or node.tag not in PLAIN:
        raise ValueError(f"{what}: expected a number or a word, got {_told(node)}")
    text = str(node.value)
    if node.style in ("'", '"', "|", ">"):
        return text
    if len(text) < 40 and NUMBER.fullmatch(text) and re.search("[0-9]", text):
        plain = text.replace("_", "")
        return float(plain) if re.search("[.eE]", plain) else int(plain)
    if node.tag not in (TAG + "str", TAG + "float"):  # .inf and .nan are refused as words
        raise ValueError(f"{what}: {text[:40] or 'nothing'} is neither a plain number nor a word")
    return text


def _told(node: yaml.Node) -> str:
    kinds = {yaml.SequenceNode: "a list", yaml.MappingNode: "lines of its own"}
    tag = node.tag.replace(TAG, "!!")
    return kinds.get(type(node), "a value") + (f" marked {tag}" if tag not in (
        "!!seq", "!!map", "!!str", "!!null") else "")  # fmt: skip
