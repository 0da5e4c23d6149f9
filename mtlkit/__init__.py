"""mtlkit: learn multi-scenario, multi-task learning for e-commerce, by building and measuring it.

The names below are those a learner meets. Each is loaded when it is first used, so that
``import mtlkit`` is quick and a command that needs no tensors never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOME = {
    "Task": "schema",
    "Categorical": "schema",
    "Dense": "schema",
    "Sequence": "schema",
    "Scenario": "schema",
    "Schema": "schema",
    "SchemaError": "schema",
    "Batch": "data",
    "Encoder": "data",
    "ShardWriter": "data",
    "ShardedTable": "data",
    "Split": "data",
    "Table": "data",
    "check_disjoint": "data",
    "concatenate": "data",
    "split_random": "data",
    "split_time": "data",
    "write_shards": "data",
    "Market": "shop.market",
    "load_census_income": "data.real.census_income",
    "load_complete_journey": "data.real.complete_journey",
    "load_fashion": "data.real.fashion",
    "row_losses": "losses",
    "task_losses": "losses",
    "AITM": "models",
    "ArticleNetwork": "models",
    "DBMTL": "models",
    "ESCM2": "models",
    "ESM2": "models",
    "ESMM": "models",
    "MMoE": "models",
    "MultiTaskModel": "models",
    "SharedBottom": "models",
    "SingleTask": "models",
    "Trees": "models",
    "expert_activity": "models",
    "export_onnx": "models",
    "gate_map": "models",
    "wrap": "models",
    "Curriculum": "balance",
    "EqualWeights": "balance",
    "FixedWeights": "balance",
    "History": "train",
    "evaluate": "train",
    "fit": "train",
    "predict": "train",
    "scenario_table": "train",
    "Comparison": "comparison",
    "compare": "comparison",
    "paired_interval": "comparison",
    "Audit": "own",
    "Prepared": "own",
    "audit": "own",
    "load": "own",
    "prepare": "own",
    "save": "own",
}

# rooms that ``mtlkit.balance.NashMTL()`` finds without an import of its own
_ROOMS = (
    "balance", "comparison", "course", "data", "layers", "losses", "metrics", "models", "online",
    "own", "plot", "schema", "shop", "train",
)  # fmt: skip

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from mtlkit.balance import Curriculum, EqualWeights, FixedWeights
    from mtlkit.comparison import Comparison, compare, paired_interval
    from mtlkit.data import (
        Batch,
        Encoder,
        ShardedTable,
        ShardWriter,
        Split,
        Table,
        check_disjoint,
        concatenate,
        split_random,
        split_time,
        write_shards,
    )
    from mtlkit.data.real.census_income import load_census_income
    from mtlkit.data.real.complete_journey import load_complete_journey
    from mtlkit.data.real.fashion import load_fashion
    from mtlkit.losses import row_losses, task_losses
    from mtlkit.models import (
        AITM,
        DBMTL,
        ESCM2,
        ESM2,
        ESMM,
        ArticleNetwork,
        MMoE,
        MultiTaskModel,
        SharedBottom,
        SingleTask,
        Trees,
        expert_activity,
        export_onnx,
        gate_map,
        wrap,
    )
    from mtlkit.own import Audit, Prepared, audit, load, prepare, save
    from mtlkit.schema import (
        Categorical,
        Dense,
        Scenario,
        Schema,
        SchemaError,
        Sequence,
        Task,
    )
    from mtlkit.shop.market import Market
    from mtlkit.train import History, evaluate, fit, predict, scenario_table


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"mtlkit.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'mtlkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mtlkit.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
