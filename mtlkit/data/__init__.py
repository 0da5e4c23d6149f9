"""Tables, encoders, splits, joins, shards, samplers; real data sets in ``real``."""

from mtlkit.data.batch import Batch
from mtlkit.data.concatenate import concatenate
from mtlkit.data.encode import Encoder
from mtlkit.data.gaps import GAP_IDS, gap_ids, gaps_before
from mtlkit.data.join import Join, join_splits
from mtlkit.data.joined_schema import JoinedSchema
from mtlkit.data.negatives import DownsampledNegatives
from mtlkit.data.sampler import Sampler
from mtlkit.data.scenario_samplers import BalancedScenarios, HomogeneousBatches
from mtlkit.data.shard_writer import ShardWriter, write_shards
from mtlkit.data.shards import ShardedTable
from mtlkit.data.splits import Split, check_disjoint, fit_units, split_random, split_time
from mtlkit.data.table import Table
from mtlkit.data.whole_pages import WholePages

__all__ = [
    "GAP_IDS",
    "BalancedScenarios",
    "Batch",
    "DownsampledNegatives",
    "Encoder",
    "HomogeneousBatches",
    "Join",
    "JoinedSchema",
    "Sampler",
    "ShardWriter",
    "ShardedTable",
    "Split",
    "Table",
    "WholePages",
    "check_disjoint",
    "concatenate",
    "fit_units",
    "gap_ids",
    "gaps_before",
    "join_splits",
    "split_random",
    "split_time",
    "write_shards",
]
