"""Tables, encoders, splits, the synthetic shop and real data sets."""

from mtlkit.data.batch import Batch
from mtlkit.data.concatenate import concatenate
from mtlkit.data.encode import Encoder
from mtlkit.data.shards import ShardedTable, write_shards
from mtlkit.data.splits import Split, check_disjoint, fit_units, split_random, split_time
from mtlkit.data.table import Table

__all__ = [
    "Batch",
    "Encoder",
    "ShardedTable",
    "Split",
    "Table",
    "check_disjoint",
    "concatenate",
    "fit_units",
    "split_random",
    "split_time",
    "write_shards",
]
