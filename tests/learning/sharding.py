"""`fspo` with its weights sharded by accelerate (FSDP2), on the CPU.

    torchrun --nproc-per-node 2 sharding.py train RECIPE --out FOLDER

With the settings of `recipes/launch/fsdp2.yaml`, in the environment as `accelerate launch` puts
them there. accelerate shards only where its state says so, which it lets be on GPUs alone: that is
said here. The rest is its own and the trainer's.
"""

import os
from pathlib import Path
from typing import Any

import yaml
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from fspo.cli import main

CONFIG = Path(__file__).parents[2] / "recipes" / "launch" / "fsdp2.yaml"


def environment() -> dict[str, str]:
    """The names and values of `accelerate.utils.launch`."""
    settings = yaml.safe_load(CONFIG.read_text())["fsdp_config"]
    layers = settings.pop("fsdp_transformer_layer_cls_to_wrap")
    given = {
        key.upper(): str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in settings.items()
    }
    sharded = {"ACCELERATE_USE_FSDP": "true", "FSDP_TRANSFORMER_CLS_TO_WRAP": layers}
    return given | sharded | {"ACCELERATE_USE_CPU": "true"}


made = AcceleratorState.__init__


def as_on_gpus(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
    made(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
    self.distributed_type = DistributedType.FSDP  # each call of `made` says MULTI_CPU again


if __name__ == "__main__":
    os.environ |= environment()
    AcceleratorState.__init__ = as_on_gpus  # type: ignore[method-assign]
    main()
