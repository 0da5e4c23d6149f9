"""The scenario as one more input."""

from __future__ import annotations

from mtlkit.models.adapt.base import Adapting


class ScenarioFeature(Adapting):
    """A sharing model that reads the scenario as one more id, which all of ``SHARING`` do.

    What every scenario model has to beat: with many rows and little shift nothing does. It has a
    name here so that it stands in every comparison. Parameters as in ``Adapting``.
    """
