"""A folder that keeps every run of a comparison, so that an interrupted one goes on."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from mtlkit.comparison.fingerprint import Fingerprints
from mtlkit.comparison.plan import Plan, Run
from mtlkit.comparison.reads import NoFingerprint, version_of
from mtlkit.data.shards import ShardedTable
from mtlkit.files import why, write_text
from mtlkit.train.device import choose_device

FORMAT = 3  # one more whenever the same options come to mean another training


class RunStore:
    """One file a run, named by candidate, seed and a key: a hash of all that determines the run.

    The key covers the candidate's name, the code of its factory, of trainer and evaluator, the
    merged options, the content of the tables that the run reads, seed, threads, the kind of device
    (CPU, CUDA, MPS), where it measures, whether the CPU is fast at bfloat16, and the versions of
    torch and mtlkit. ``store_key``, a
    text, stands in for the code: for code that cannot be read, or that changes without changing
    what it does. Raises ``ValueError`` for a ``folder`` that is a file or cannot be made, and for
    code or an option that cannot be read.
    """

    def __init__(self, folder: str | Path, plan: Plan, store_key: str | None = None) -> None:
        self.folder, self.plan, self.store_key = Path(folder), plan, store_key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"store must be a folder; {folder} cannot be one: {error}.") from error
        self.fingerprints = Fingerprints()
        self.code = {name: self._code(name) for name in plan.candidates}
        self.options = {name: self._options(name) for name in plan.candidates}
        self._tables: tuple[Any, str] | None = None  # a split and its fingerprint

    def _code(self, candidate: str) -> str:
        if self.store_key is not None:
            return f"given: {self.store_key}"
        plan = self.plan
        code = (plan.candidates[candidate], plan.trainer, plan.evaluator)
        try:
            return self.fingerprints.of(code)
        except NoFingerprint as error:
            raise ValueError(
                f"store cannot tell what the factory of {candidate!r}, the trainer or the "
                f"evaluator depends on: it holds {error}. Give store_key, a text that you change "
                "whenever that code changes."
            ) from error

    def _options(self, candidate: str) -> dict[str, str]:
        """{option: fingerprint}, whatever the order in which the options were written."""
        found = {}
        for name, value in sorted(self.plan.options[candidate].items()):
            try:
                found[name] = self.fingerprints.of(value)
            except NoFingerprint as error:
                raise ValueError(
                    f"store cannot read the option {name!r} of {candidate!r}: it holds {error}. "
                    "Build it inside a trainer of yours and give store_key, or leave store out."
                ) from error
        return found

    def _data(self, seed: int) -> str:
        split = self.plan.data(seed)
        if self._tables is None or self._tables[0] is not split:
            tables = (split.train, split.validation, getattr(split, self.plan.on))
            columns = [None if table is None else _content(table) for table in tables]
            self._tables = (split, Fingerprints().of(columns))  # past tables need not stay
        return self._tables[1]

    def place(self, candidate: str, seed: int) -> Path:
        """The file of a run, whether it is there or not."""
        plan = self.plan
        determined_by = {
            "format": FORMAT,
            "candidate": candidate,
            "code": self.code[candidate],
            "options": self.options[candidate],
            "data": self._data(seed),
            "seed": seed,
            "threads": plan.threads,
            "device": choose_device(str(plan.options[candidate].get("device", "auto"))).type,
            "fast bfloat16": plan.fast_bfloat16,  # what precision="auto" follows
            "measures": [plan.on, plan.by_scenario, plan.group],
            "versions": [torch.__version__, version_of("mtlkit")],
        }
        key = hashlib.blake2b(json.dumps(determined_by).encode(), digest_size=16).hexdigest()
        name = re.sub(r"[^\w.-]+", "-", candidate)[:60]
        return self.folder / f"{name}-seed{seed}-{key}.json"


def _content(table: Any) -> Any:
    """All that determines a table; shards go by their checksums, wherever they lie."""
    if isinstance(table, ShardedTable):
        return [table.content_hash(), table.schema.to_dict()]
    return vars(table)


def read_run(path: Path) -> Run | None:
    """The run in a file of ``write_run``; None where there is none. A damaged one is told."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        run, written = content["run"], content["checksum"]
        if content["name"] != path.name or written != _checksum(run):
            raise ValueError("its content is not what was written")
        tasks = {task: (metric, sign) for task, (metric, sign) in run["tasks"].items()}
        values = [(t, s, m, v) for t, s, m, v in run["values"]]
        return Run(run["candidate"], run["seed"], tasks, values, tuple(run["cost"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        warnings.warn(f"{path} is damaged ({error}): this run is done again.", stacklevel=2)
        return None


def write_run(path: Path, run: Run) -> None:
    """Write a run, whole or not at all. A file that cannot be written is told; the run stands."""
    plain = json.loads(json.dumps(run._asdict()))  # tuples become lists, as they come back
    content = {"name": path.name, "checksum": _checksum(plain), "run": plain}
    try:
        write_text(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        told = f"{path} cannot be written ({why(error)}): this run counts now and is not kept."
        warnings.warn(told, stacklevel=2)


def _checksum(run: Any) -> str:
    return hashlib.blake2b(json.dumps(run).encode(), digest_size=8).hexdigest()
