"""Results as figure, table and sentence, from one call: a comparison, stored evidence, or numbers.

>>> from mtlkit import report
>>> scores = {"alone": [0.60, 0.62, 0.61], "shared": [0.66, 0.67, 0.68]}
>>> report.against(scores, "alone", title="Sharing helps", label="AUC of purchase").sentence
'Better than alone: shared.'
"""

from mtlkit.report.against import against
from mtlkit.report.grid import grid
from mtlkit.report.intervals import intervals
from mtlkit.report.lines import lines
from mtlkit.report.parts import Report, show

__all__ = ["Report", "against", "grid", "intervals", "lines", "show"]
