"""How the outputs of tasks are linked: around any architecture, ``Link(schema, network)``.

A new one is a file here, its import and its line in ``LINKS``.
"""

from mtlkit.models.link.aitm import AITM
from mtlkit.models.link.base import Link
from mtlkit.models.link.dbmtl import DBMTL
from mtlkit.models.link.escm2 import ESCM2
from mtlkit.models.link.esm2 import ESM2
from mtlkit.models.link.esmm import ESMM
from mtlkit.models.link.joint_heads import JointHeads

# short name -> class, in the order of the course; ESM2 also needs via={task: action}
LINKS: dict[str, type[Link]] = {
    "esmm": ESMM,
    "escm2": ESCM2,
    "esm2": ESM2,
    "joint-heads": JointHeads,
    "aitm": AITM,
    "dbmtl": DBMTL,
}

__all__ = ["AITM", "DBMTL", "ESCM2", "ESM2", "ESMM", "LINKS", "JointHeads", "Link"]
