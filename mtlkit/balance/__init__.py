"""Balancers: how much each task's loss or gradient counts, one small class a published method.

From the losses alone: fixed, random_weights, uncertainty, dynamic, scalarizations, famo. From the
Gramian of the task gradients: min_norm, bounded, surgery, conflict_averse, bargaining, alignment,
cone; gradnorm from its diagonal. From the gradients themselves: remembered, elementwise. Around
another rule (wrapper): curriculum; observer keeps how much the gradients disagree. The engine
computes the gradients, toy lets rules walk over a plane.

A new rule is its file (or a class in one of its family), its import, its line in ``BALANCERS`` or
``EVERY_BALANCER`` and its row in the concordance.
"""

from mtlkit.balance.alignment import IMTLG, AlignedMTL
from mtlkit.balance.bargaining import FairGrad, NashMTL
from mtlkit.balance.base import Balancer
from mtlkit.balance.bounded import PELTR
from mtlkit.balance.cone import UPGrad
from mtlkit.balance.conflict_averse import CAGrad
from mtlkit.balance.curriculum import Curriculum
from mtlkit.balance.dynamic import DecaySchedule, DynamicTaskPriority, DynamicWeightAverage
from mtlkit.balance.elementwise import ExcessMTL, GradDrop, MetaBalance
from mtlkit.balance.engine.gradient_step import GradientStep
from mtlkit.balance.engine.gramian import TaskGradients, gramian
from mtlkit.balance.famo import FAMO
from mtlkit.balance.fixed import EqualWeights, FixedWeights
from mtlkit.balance.gradnorm import GradNorm
from mtlkit.balance.min_norm import MGDA
from mtlkit.balance.observer import GradientObserver
from mtlkit.balance.random_weights import RandomLossWeighting
from mtlkit.balance.remembered import DualBalancing, MoCo, SDMGrad
from mtlkit.balance.scalarizations import GeometricLoss, LogSum, SmoothTchebycheff
from mtlkit.balance.surgery import GradVac, PCGrad
from mtlkit.balance.uncertainty import IMTLL, UncertaintyWeighting
from mtlkit.balance.wrapper import Wrapper

# short name -> class, in the order of the course; every class can be made without arguments but
# FixedWeights and DecaySchedule (weights by task) and MetaBalance (the main task's name)
BALANCERS: dict[str, type[Balancer]] = {
    "equal": EqualWeights,
    "fixed": FixedWeights,
    "rlw": RandomLossWeighting,
    "uw": UncertaintyWeighting,
    "dwa": DynamicWeightAverage,
    "gls": GeometricLoss,
    "imtl-l": IMTLL,
    "log-sum": LogSum,
    "stch": SmoothTchebycheff,
    "famo": FAMO,
    "schedule": DecaySchedule,
    "curriculum": Curriculum,
    "dtp": DynamicTaskPriority,
    "gradnorm": GradNorm,
    "mgda": MGDA,
    "pcgrad": PCGrad,
    "gradvac": GradVac,
    "cagrad": CAGrad,
    "imtl-g": IMTLG,
    "nash-mtl": NashMTL,
    "fairgrad": FairGrad,
    "aligned-mtl": AlignedMTL,
    "upgrad": UPGrad,
    "graddrop": GradDrop,
    "db-mtl": DualBalancing,
    "moco": MoCo,
    "sdmgrad": SDMGrad,
    "excess-mtl": ExcessMTL,
    "metabalance": MetaBalance,
}
# with the rules of later notebooks, which notebook 06 does not list: it shows all of BALANCERS
EVERY_BALANCER: dict[str, type[Balancer]] = {**BALANCERS, "pe-ltr": PELTR}

__all__ = [
    "BALANCERS",
    "EVERY_BALANCER",
    "FAMO",
    "IMTLG",
    "IMTLL",
    "MGDA",
    "PELTR",
    "AlignedMTL",
    "Balancer",
    "CAGrad",
    "Curriculum",
    "DecaySchedule",
    "DualBalancing",
    "DynamicTaskPriority",
    "DynamicWeightAverage",
    "EqualWeights",
    "ExcessMTL",
    "FairGrad",
    "FixedWeights",
    "GeometricLoss",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientObserver",
    "GradientStep",
    "LogSum",
    "MetaBalance",
    "MoCo",
    "NashMTL",
    "PCGrad",
    "RandomLossWeighting",
    "SDMGrad",
    "SmoothTchebycheff",
    "TaskGradients",
    "UPGrad",
    "UncertaintyWeighting",
    "Wrapper",
    "gramian",
]
