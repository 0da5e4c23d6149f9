"""Architectures, one file each, all with the same call: ``Model(schema, **sizes)``.

How parameters are shared: single_task, shared_bottom, mmoe. How outcomes are linked, around any of
them (link): esmm, esm2, escm2, dbmtl, joint_heads, aitm.
"""

from mtlkit.models.base import MultiTaskModel
from mtlkit.models.link.aitm import AITM
from mtlkit.models.link.base import Link
from mtlkit.models.link.dbmtl import DBMTL
from mtlkit.models.link.escm2 import ESCM2
from mtlkit.models.link.esm2 import ESM2
from mtlkit.models.link.esmm import ESMM
from mtlkit.models.link.joint_heads import JointHeads
from mtlkit.models.share.article import ArticleNetwork
from mtlkit.models.share.constant import Constant
from mtlkit.models.share.mmoe import MMoE
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.models.share.single_task import SingleTask

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
