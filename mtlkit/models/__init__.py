"""Architectures, one file each, all with the same call: ``Model(schema, **sizes)``."""

from mtlkit.models.article import ArticleNetwork
from mtlkit.models.base import MultiTaskModel
from mtlkit.models.constant import Constant
from mtlkit.models.mmoe import MMoE
from mtlkit.models.shared_bottom import SharedBottom
from mtlkit.models.single_task import SingleTask

__all__ = ["ArticleNetwork", "Constant", "MMoE", "MultiTaskModel", "SharedBottom", "SingleTask"]
