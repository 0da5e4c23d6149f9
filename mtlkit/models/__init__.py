"""Architectures by what they answer: what tasks share, how they are linked, how scenarios adapt.

``SHARING``, ``LINKS`` and ``ADAPTING`` hold them by short name; any of one goes with any of the
others, and with any balancer, unless its docstring says why not.
"""

from mtlkit.models import adapt, link, share
from mtlkit.models.adapt import *  # noqa: F403
from mtlkit.models.base import MultiTaskModel
from mtlkit.models.cost import flops_per_row, width_for
from mtlkit.models.expert_use import expert_activity, gate_map
from mtlkit.models.export import input_names, served_inputs
from mtlkit.models.link import *  # noqa: F403
from mtlkit.models.logit_shift import LogitShift
from mtlkit.models.onnx_file import export_onnx
from mtlkit.models.ranked_pages import RankedPages, with_levels
from mtlkit.models.replicas import Replicas
from mtlkit.models.share import *  # noqa: F403
from mtlkit.models.trees import Trees
from mtlkit.models.wrap import wrap

__all__ = [  # noqa: PLE0604
    "LogitShift", "MultiTaskModel", "RankedPages", "Replicas", "Trees", "expert_activity",
    "export_onnx", "flops_per_row", "gate_map", "input_names", "served_inputs", "width_for",
    "with_levels", "wrap",
    *adapt.__all__, *link.__all__, *share.__all__,
]  # fmt: skip
