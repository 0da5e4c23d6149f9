"""How often the audit finds what is planted, weak to strong, and how often it alarms of nothing."""

from itertools import cycle

import numpy as np
import pytest

from mtlkit.own import FINDERS
from tests.own.planted import PLANTED, SHAPES, alarms, clean, found, is_found, ready

FRAMES = 5  # `python tests/own/planted.py 20` prints the shares of more
EACH = [(kind, strength) for kind, cases in PLANTED.items() for strength in cases]
LEAST = {  # share of five frames in which a weak fault is found; others in each of three
    "click, noise 1.5": 0.6, "kind, noise 0.9": 0.4, "dwell, noise 1.1": 0.2,
    "spent, noise 0.9": 0.6, "0.02 of rows": 0.8, "c0, 0.08 of later rows": 0.8,
    "rates 0.65 0.5 0.35": 0.6,
}  # fmt: skip
HARDLY = {"click, noise 1.8", "spent, noise 1.1"}  # so weak that nothing is asked of the audit


def test_every_kind_has_faults_of_several_strengths():
    assert set(PLANTED) == set(FINDERS)
    assert min(map(len, PLANTED.values())) >= 3
    assert LEAST.keys() | HARDLY <= {strength for _, strength in EACH}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "strength"), [case for case in EACH if case[1] not in HARDLY])
def test_a_planted_fault_is_found_in_nearly_all_frames(kind, strength):
    frames = range(FRAMES if strength in LEAST else 3)
    share = np.mean([is_found(kind, strength, seed) for seed in frames])
    assert share >= LEAST.get(strength, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "cuts"), [*zip(SHAPES, cycle([("rows", "time", "rows"), ("time", "rows", "time")]))]
)
def test_a_clean_frame_of_any_shape_alarms_in_hardly_any(shape, cuts):
    audits = [alarms(shape, 100 + seed, cut) for seed, cut in enumerate(cuts)]
    wrong = [[finding for finding in audit or () if finding.level != "note"] for audit in audits]
    assert sum(audit is not None for audit in audits) >= 2
    assert sum(map(bool, wrong)) <= 1, [finding.text for each in wrong for finding in each]


@pytest.mark.slow
def test_one_strong_and_honest_column_is_asked_about_and_never_called_a_fault():
    levels = []
    for seed in range(FRAMES):
        data = ready(clean(seed, amounts=4, strong=1.6))
        levels += [f.level for f in found(data, "tells a label") if f.column == "x0"]
    assert levels and set(levels) == {"look"}
