"""Your own data: a frame prepared and audited, a trained model saved and put to work."""

from mtlkit.own.audited import FINDERS, Audit, audit
from mtlkit.own.finding import Finding
from mtlkit.own.prepared import Prepared, prepare
from mtlkit.own.saved import SavedModel, load, save

__all__ = [
    "FINDERS",
    "Audit",
    "Finding",
    "Prepared",
    "SavedModel",
    "audit",
    "load",
    "prepare",
    "save",
]
