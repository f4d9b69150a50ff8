"""What numbers were measured on."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path
from typing import Any

from fspo.learning.planning import matrix_product_rate


def machine() -> dict[str, Any]:
    """The machine, with its rate of matrix products."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": gpu,
        "matmul_gflops": round(1e3 * matrix_product_rate(), 1),
    }


def peak_memory() -> float:
    """The most memory this process has held, in GB (on CUDA: the most that tensors took there)."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 1e9)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
