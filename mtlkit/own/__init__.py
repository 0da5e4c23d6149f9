"""Your own data: a frame prepared and audited, a trained model saved and put to work."""

from mtlkit.own.prepared import Prepared, prepare

__all__ = ["Prepared", "prepare"]
