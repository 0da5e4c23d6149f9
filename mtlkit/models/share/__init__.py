"""What the tasks share: architectures, one file each, all called ``Model(schema, **sizes)``.

A new one is a file here, its import and its line in ``SHARING``; the tests of the registries then
meet it with every link, balancer, scenario adaptation and export.
"""

from mtlkit.models.base import MultiTaskModel
from mtlkit.models.share.adatt import AdaTT
from mtlkit.models.share.article import ArticleNetwork
from mtlkit.models.share.cgc import CGC
from mtlkit.models.share.constant import Constant
from mtlkit.models.share.cross_stitch import CrossStitch
from mtlkit.models.share.home import HoMEExperts
from mtlkit.models.share.mmoe import MMoE
from mtlkit.models.share.omoe import OMoE
from mtlkit.models.share.ple import PLE
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.models.share.single_task import SingleTask
from mtlkit.models.share.stem import STEM

# short name -> class, in the order of the course
SHARING: dict[str, type[MultiTaskModel]] = {
    "article": ArticleNetwork,
    "single-task": SingleTask,
    "shared-bottom": SharedBottom,
    "cross-stitch": CrossStitch,
    "omoe": OMoE,
    "mmoe": MMoE,
    "cgc": CGC,
    "ple": PLE,
    "adatt": AdaTT,
    "stem": STEM,
    "home-experts": HoMEExperts,
}

__all__ = [
    "CGC",
    "PLE",
    "SHARING",
    "STEM",
    "AdaTT",
    "ArticleNetwork",
    "Constant",
    "CrossStitch",
    "HoMEExperts",
    "MMoE",
    "OMoE",
    "SharedBottom",
    "SingleTask",
]
