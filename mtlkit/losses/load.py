"""How unequally gates spread their weight over the experts, as a loss."""

from __future__ import annotations

import torch
from torch import Tensor


def load_balance_loss(gate: Tensor) -> Tensor:
    """Squared coefficient of variation of the experts' loads: gate (batch, expert) -> ().

    With I_n = sum over the rows of gate weight of expert n, their mean m and E experts, it is
    (1 / E) sum over n of (I_n - m)^2 / m^2: 0 where all experts carry the same load, E - 1 where
    one carries all of it. The "importance" loss of Shazeer et al. 2017 (ICLR, section 4, equations
    6 and 7) before its weight. Computed in float32 at least; a batch without weight gives 0 and no
    gradient. Raises ``ValueError`` for another shape than (batch, expert).
    """
    if gate.dim() != 2 or not gate.shape[1]:
        raise ValueError(f"gate must be (batch, expert), not {tuple(gate.shape)}.")
    load = gate.to(torch.promote_types(gate.dtype, torch.float32)).sum(0)  # (expert,)
    mean = load.mean()
    size = torch.where(mean > 0, mean, 1.0)
    return ((load - mean) / size).square().mean()
