"""Compares a policy whose weights are sharded (FSDP2) with a whole one; a process of two.

    torchrun --nproc-per-node 2 sharded.py FOLDER lora|whole

FOLDER is for the weights. Launchers shard on GPUs alone, so this does what they do, on the CPU.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import byte_tokenizer, small_model

from fspo import EpisodeTree, Preference
from fspo.learning.checkpoints import load_weights, save_weights
from fspo.learning.policy import shared_with_reference
from fspo.learning.train import new_adapter
from fspo.learning.trainer import TreeModel
from fspo.preferences.records import Episode
from fspo.recipe import Lora, TrainRecipe


def built(lora: bool) -> TreeModel:
    model = small_model()
    if lora:
        model = new_adapter(model, TrainRecipe(lora=Lora(rank=4, alpha=8, last_layers=1)))
        with torch.random.fork_rng():
            torch.manual_seed(1)
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    nn.init.normal_(weight, std=0.1)
    return TreeModel(model)


def layers_of(module: TreeModel) -> list[nn.Module]:
    causal = getattr(module.model, "get_base_model", lambda: module.model)()
    return list(causal.base_model.layers)


def sharded(module: TreeModel) -> TreeModel:
    mesh = init_device_mesh("cpu", (2,))
    for layer in layers_of(module):
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def loss_of(module: TreeModel, trees: list[EpisodeTree], lora: bool) -> torch.Tensor:
    """DPO's loss with an adapter, whose reference is in the same weights; else a log-loss."""
    if not lora:
        return -torch.cat(module(trees)).mean()
    with shared_with_reference(module.model, None):
        with torch.no_grad():
            before = torch.cat(module(trees, reference=True))
        margins = torch.cat(module(trees)) - before
    return -nn.functional.logsigmoid(0.1 * (margins[0::2] - margins[1::2])).mean()


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True))


def main(folder: Path, lora: bool) -> None:
    dist.init_process_group("gloo")
    trees = [
        EpisodeTree.from_episode(
            Episode("u", [Preference(f"q{k}", "yes " * (k + n + 1), "no") for k in range(3)]),
            byte_tokenizer(),
        )
        for n in range(2)
    ]
    whole, parts = built(lora), sharded(built(lora))
    steps = {}
    for name, module in (("whole", whole), ("parts", parts)):
        learning = [w for w in module.parameters() if w.requires_grad]
        optimizer = torch.optim.SGD(learning, lr=0.5 if lora else 1e-3)
        steps[name] = [loss := loss_of(module, trees, lora)]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        steps[name].append(loss_of(module, trees, lora))
    assert any(isinstance(w, DTensor) and w.to_local().numel() < w.numel()
               for w in parts.parameters())  # fmt: skip
    assert_close(steps["parts"], steps["whole"], atol=1e-5, rtol=1e-5)
    assert float(steps["whole"][1]) < float(steps["whole"][0])
    gathered = weights_of(parts)
    if dist.get_rank() == 0:
        named = {name.removeprefix("model."): w for name, w in gathered.items()}
        save_weights(parts.model, folder, named)
    dist.barrier()
    for again in (sharded(built(lora)), built(lora)):
        load_weights(again.model, folder)
        assert_close(weights_of(again), weights_of(whole), atol=1e-5, rtol=1e-5)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "lora")
