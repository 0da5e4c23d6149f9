"""How a scenario adapts the network: architectures for several scenarios, one file each.

Most stand around a sharing model, ``STAR(schema, network=MMoE)``. A new one is a file here, its
import and its line in ``ADAPTING``. ``mtlkit.layers.adapted`` has what they put inside a network.
"""

from mtlkit.models.adapt.adaptdhm import AdaptDHM
from mtlkit.models.adapt.adasparse import AdaSparse
from mtlkit.models.adapt.apg import APG
from mtlkit.models.adapt.base import Adapting
from mtlkit.models.adapt.embedding_shift import EmbeddingShift
from mtlkit.models.adapt.epnet import EPNet
from mtlkit.models.adapt.hamur import HAMUR
from mtlkit.models.adapt.hinet import HiNet
from mtlkit.models.adapt.hmoe import HMoE
from mtlkit.models.adapt.m2m import M2M
from mtlkit.models.adapt.m3oe import M3oE
from mtlkit.models.adapt.mlora import MLoRA
from mtlkit.models.adapt.one_each import OneEach
from mtlkit.models.adapt.one_for_all import OneForAll
from mtlkit.models.adapt.pepnet import PEPNet
from mtlkit.models.adapt.ppnet import PPNet
from mtlkit.models.adapt.sarnet import SARNet
from mtlkit.models.adapt.scenario_feature import ScenarioFeature
from mtlkit.models.adapt.scenario_towers import ScenarioTowers
from mtlkit.models.adapt.star import STAR
from mtlkit.models.base import MultiTaskModel

# short name -> class, in the order of the course
ADAPTING: dict[str, type[MultiTaskModel]] = {
    "one-for-all": OneForAll,
    "one-each": OneEach,
    "scenario-feature": ScenarioFeature,
    "scenario-towers": ScenarioTowers,
    "star": STAR,
    "epnet": EPNet,
    "ppnet": PPNet,
    "pepnet": PEPNet,
    "mlora": MLoRA,
    "hmoe": HMoE,
    "sar-net": SARNet,
    "hinet": HiNet,
    "m3oe": M3oE,
    "apg": APG,
    "hamur": HAMUR,
    "adasparse": AdaSparse,
    "m2m": M2M,
    "adaptdhm": AdaptDHM,
    "embedding-shift": EmbeddingShift,
}

__all__ = [
    "ADAPTING", "APG", "HAMUR", "M2M", "STAR", "AdaSparse", "AdaptDHM", "Adapting", "EPNet",
    "EmbeddingShift", "HMoE", "HiNet", "M3oE", "MLoRA", "OneEach", "OneForAll", "PEPNet", "PPNet",
    "SARNet", "ScenarioFeature", "ScenarioTowers",
]  # fmt: skip
