"""Where networks are trained."""

from __future__ import annotations

import torch


def device_of_choice() -> torch.device:
    """The first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
