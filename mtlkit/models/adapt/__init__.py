"""How a scenario adapts the network: architectures for several scenarios, one file each.

A new one is a file here, its import and its line in ``ADAPTING``. None stands here yet: until then
the scenario is an id among the inputs (see ``mtlkit.layers.FieldEmbedding``).
"""

from mtlkit.models.base import MultiTaskModel

ADAPTING: dict[str, type[MultiTaskModel]] = {}  # short name -> class, in the order of the course

__all__ = ["ADAPTING"]
