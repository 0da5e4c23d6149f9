"""Architectures, one file each, all with the same call: ``Model(schema, **sizes)``.

How parameters are shared: single_task, shared_bottom, mmoe. How outcomes are linked, around any of
them (link): esmm, esm2, escm2, dbmtl, joint_heads, aitm.
"""

from mtlkit.models.aitm import AITM
from mtlkit.models.article import ArticleNetwork
from mtlkit.models.base import MultiTaskModel
from mtlkit.models.constant import Constant
from mtlkit.models.dbmtl import DBMTL
from mtlkit.models.escm2 import ESCM2
from mtlkit.models.esm2 import ESM2
from mtlkit.models.esmm import ESMM
from mtlkit.models.joint_heads import JointHeads
from mtlkit.models.link import Link
from mtlkit.models.mmoe import MMoE
from mtlkit.models.shared_bottom import SharedBottom
from mtlkit.models.single_task import SingleTask

__all__ = [
    "AITM",
    "DBMTL",
    "ESCM2",
    "ESM2",
    "ESMM",
    "ArticleNetwork",
    "Constant",
    "JointHeads",
    "Link",
    "MMoE",
    "MultiTaskModel",
    "SharedBottom",
    "SingleTask",
]
