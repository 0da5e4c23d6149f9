"""Your own data: a frame prepared and audited, a trained model saved and put to work."""

from mtlkit.own.prepared import Prepared, prepare
from mtlkit.own.saved import SavedModel, load, save

__all__ = ["Prepared", "SavedModel", "load", "prepare", "save"]
