"""What the tasks share: architectures, one file each, all called ``Model(schema, **sizes)``.

A new one is a file here, its import and its line in ``SHARING``; the tests of the registries then
meet it with every link, balancer, scenario adaptation and export.
"""

from mtlkit.models.base import MultiTaskModel
from mtlkit.models.share.article import ArticleNetwork
from mtlkit.models.share.constant import Constant
from mtlkit.models.share.mmoe import MMoE
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.models.share.single_task import SingleTask

# short name -> class, in the order of the course
SHARING: dict[str, type[MultiTaskModel]] = {
    "article": ArticleNetwork,
    "single-task": SingleTask,
    "shared-bottom": SharedBottom,
    "mmoe": MMoE,
}

__all__ = ["SHARING", "ArticleNetwork", "Constant", "MMoE", "SharedBottom", "SingleTask"]
