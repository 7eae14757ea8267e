"""Ranks of right answers. Equal scores count as above when they come first, so that a constant model gains nothing."""

from __future__ import annotations

import torch


def ranks(scores: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """How many candidates precede the right one: scores (n, candidates), right (n,) int64, result (n,)."""
    own = scores.gather(1, right[:, None])
    earlier = torch.arange(scores.shape[1], device=scores.device) < right[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(dim=1)


def best_of(scores: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """The first best of the allowed candidates, each row having one: (n, candidates) twice, result (n,)."""
    return scores.masked_fill(~allowed, float("-inf")).argmax(dim=1)
