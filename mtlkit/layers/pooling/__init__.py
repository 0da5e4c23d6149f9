"""Poolings that learn: attention to a target, recurrent networks, a transformer, SiLU attention.

Each is made with (dim, fields, max_length): the width of an event, the names of the row's own
fields ("" the scenario's) and the longest sequence: of a longer one older events are not read. It
maps rows (n, dim), offsets (batch + 1,), fields (batch, field, dim) -> (batch, dim), zero for a row
without events.
"""

from mtlkit.layers.pooling.attention import SiLUAttention, SoftmaxAttention
from mtlkit.layers.pooling.gru import GRUPooling
from mtlkit.layers.pooling.target import Target, TargetAttention
from mtlkit.layers.pooling.transformer import CausalTransformer

__all__ = [
    "CausalTransformer",
    "GRUPooling",
    "SiLUAttention",
    "SoftmaxAttention",
    "Target",
    "TargetAttention",
]
