"""`fspo` on the CPU with its weights sharded by accelerate (FSDP2), or its optimizer by DeepSpeed.

    torchrun --nproc-per-node 2 sharding.py fsdp2|zero2 train RECIPE --out FOLDER

With the settings of `recipes/launch/`, in the environment as `accelerate launch` puts them there.
accelerate shards only where its state says so, which it lets be on GPUs alone: that is said here.
The rest is its own and the trainer's.
"""

import os
import sys
from pathlib import Path
from typing import Any

import yaml
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from fspo.cli import main

RECIPES = Path(__file__).parents[2] / "src" / "fspo" / "recipes" / "launch"
# What `accelerate.utils.launch` calls the settings whose names it changes.
RENAMED = {
    "FSDP_TRANSFORMER_LAYER_CLS_TO_WRAP": "FSDP_TRANSFORMER_CLS_TO_WRAP",
    "ZERO_STAGE": "ACCELERATE_DEEPSPEED_ZERO_STAGE",
    "GRADIENT_CLIPPING": "ACCELERATE_GRADIENT_CLIPPING",
    "OFFLOAD_OPTIMIZER_DEVICE": "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE",
    "OFFLOAD_PARAM_DEVICE": "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE",
}


def environment(name: str) -> dict[str, str]:
    config = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    kind = config["distributed_type"]
    settings = {key.upper(): value for key, value in config[f"{kind.lower()}_config"].items()}
    given = {
        RENAMED.get(key, key): str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in settings.items()
    }
    on_cpu = {"ACCELERATE_USE_CPU": "true", "DS_ACCELERATOR": "cpu"}
    return given | on_cpu | {f"ACCELERATE_USE_{kind}": "true"}


made = AcceleratorState.__init__


def as_on_gpus(
    self: Any, *args: Any, fsdp_plugin: Any = None, deepspeed_plugin: Any = None, **kwargs: Any
) -> None:
    made(self, *args, fsdp_plugin=fsdp_plugin, deepspeed_plugin=deepspeed_plugin, **kwargs)
    kind = None
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        kind = DistributedType.FSDP
    if deepspeed_plugin is not None:
        deepspeed_plugin.set_mixed_precision("no")
        deepspeed_plugin.select(_from_accelerator_state=True)
        self.deepspeed_plugins = deepspeed_plugin
        kind = DistributedType.DEEPSPEED
    if kind:
        self.distributed_type = PartialState._shared_state["distributed_type"] = kind


if __name__ == "__main__":
    os.environ |= environment(sys.argv.pop(1))
    AcceleratorState.__init__ = as_on_gpus  # type: ignore[method-assign]
    main()
