"""What a step costs, and on what: exact floating-point operations, and the name of the device."""

from __future__ import annotations

import copy
import platform

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from synthlab.interrupts import uninterrupted
from synthlab.learning.networks import Synthesizer

_ROWS = 2


def step_flops(model: Synthesizer, batch_size: int) -> int:
    """Floating-point operations of one training step, forward and backward, as PyTorch counts them.

    Attention is included, and so is padding, since it is computed. Counted on the CPU with a copy of the model
    on a batch of two; operations grow in proportion to the batch.
    """
    shape, model = model.shape, copy.deepcopy(model).cpu().float().train()
    seen = torch.zeros(_ROWS, shape.num_patches, shape.patch_features)
    tokens = torch.zeros(_ROWS, shape.max_tokens, dtype=torch.long)
    with uninterrupted(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        F.cross_entropy(model(seen, tokens).flatten(0, 1), tokens.flatten()).backward()
    return counter.get_total_flops() * batch_size // _ROWS


def device_name(device: torch.device) -> str:
    """Name of the GPU, or of the processor with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)
