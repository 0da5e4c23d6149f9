"""The layers that every architecture is built from."""

import torch

from mtlkit.layers.attributes import AttributesEncoder
from mtlkit.layers.augmented import Augmented
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.experts import ExpertBank, Gate, mix
from mtlkit.layers.joined import JoinedEmbedding, field_inputs
from mtlkit.layers.levels import ExpertLevel, ExpertReader
from mtlkit.layers.lookup import Lookup
from mtlkit.layers.mlp import MLP
from mtlkit.layers.picture import PictureEncoder
from mtlkit.layers.pooling import (
    CausalTransformer,
    GRUPooling,
    SiLUAttention,
    SoftmaxAttention,
    Target,
    TargetAttention,
)
from mtlkit.layers.product import MODALITIES, ProductInputs
from mtlkit.layers.repeats import Repeats, sum_repeated
from mtlkit.layers.routing import Route, use_route
from mtlkit.layers.sequence import POOLINGS, MeanPooling, SumPooling
from mtlkit.layers.shifted import ShiftedEmbedding
from mtlkit.layers.table import EmbeddingTable
from mtlkit.layers.towers import Towers, head_logits
from mtlkit.layers.words import WordsEncoder

__all__ = [
    "MLP",
    "MODALITIES",
    "POOLINGS",
    "AttributesEncoder",
    "Augmented",
    "CausalTransformer",
    "EmbeddingTable",
    "ExpertBank",
    "ExpertLevel",
    "ExpertReader",
    "FieldEmbedding",
    "GRUPooling",
    "Gate",
    "JoinedEmbedding",
    "Lookup",
    "MeanPooling",
    "PictureEncoder",
    "ProductInputs",
    "Repeats",
    "Route",
    "ShiftedEmbedding",
    "SiLUAttention",
    "SoftmaxAttention",
    "SumPooling",
    "Target",
    "TargetAttention",
    "Towers",
    "WordsEncoder",
    "field_inputs",
    "head_logits",
    "mix",
    "sum_repeated",
    "use_route",
]

# The vector mathematics that PyTorch uses on Intel processors (square roots, exponentials) sets
# itself up at its first call. When two threads make that call together, one of them may work with a
# relative error of 1e-4 that once, and a run is not repeatable. One number first, in one thread.
torch.ones(1).sqrt()
