"""What stands under `trainer:`: every field of TrainingArguments, with good values and bad ones."""

from __future__ import annotations

import dataclasses
import enum
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
from conftest import byte_tokenizer, small_model
from transformers import TrainerCallback, TrainingArguments

from fspo import FspoError, Preference, Preferences, User
from fspo.learning.losses import TreeLoss
from fspo.learning.planning import plan
from fspo.learning.settings import FirstStep, settings_taken, training_arguments
from fspo.learning.train import train
from fspo.learning.trainer import FspoTrainer, TreeModel
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

HINTS = typing.get_type_hints(TrainingArguments)
FIELDS = {field.name: field for field in dataclasses.fields(TrainingArguments)}
NOT_TAKEN = "the recipe's training settings (are not taken|need a package)"
# Harmless, where the kind alone does not say what is.
GOOD: dict[str, object] = {
    "accelerator_config": {},
    "ddp_backend": None,
    "dataloader_multiprocessing_context": None,
    "dataloader_persistent_workers": False,
    "dataloader_prefetch_factor": None,
    "debug": "",
    "deepspeed": None,
    "eval_strategy": "no",
    "fsdp": None,
    "hub_strategy": "end",
    "include_for_metrics": [],
    "include_num_input_tokens_seen": "no",
    "label_smoothing_factor": 0.0,
    "log_level": "passive",
    "log_level_replica": "warning",
    "logging_strategy": "epoch",
    "lr_scheduler_kwargs": {"num_cycles": 0.5},
    "neftune_noise_alpha": None,
    "optim_args": None,
    "report_to": "none",
    "save_strategy": "epoch",
    "tf32": False,
    "torch_compile": False,
    "torch_compile_backend": None,
    "torch_compile_mode": None,
}
# What the recipe says itself, or cannot be turned on.
OWN = {
    "output_dir", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs",
    "learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "max_grad_norm",
    "logging_steps", "save_steps", "seed", "remove_unused_columns",
}  # fmt: skip
OFF = {
    "auto_find_batch_size", "eval_on_start", "ignore_data_skip", "label_smoothing_factor",
    "load_best_model_at_end", "neftune_noise_alpha", "push_to_hub", "resume_from_checkpoint",
    "save_only_model", "use_liger_kernel",
}  # fmt: skip


def recipe(tmp_path: Path, **settings: object) -> TrainRecipe:
    defaults: dict[str, object] = {
        "data": str(tmp_path / "data"), "out": str(tmp_path / "out"),
        "model": str(tmp_path / "model"), "shots": 2, "episodes": 2, "batch_size": 1,
        "log_every": 1, "save_every": 1, "lora": Lora(rank=2),
    }  # fmt: skip
    return TrainRecipe.model_validate(defaults | settings)


def kinds(name: str) -> set[Any]:
    return set(typing.get_args(HINTS[name])) or {HINTS[name]}


def good(name: str) -> object:
    if name in GOOD:
        return GOOD[name]
    if bool in kinds(name):
        return name not in OFF
    if int in kinds(name):
        return 1
    return 0.5 if float in kinds(name) else FIELDS[name].default


def taken(settings: TrainRecipe, tmp_path: Path) -> TrainingArguments:
    """As a run does, up to its first step: the optimizer and the schedule are made, too."""
    with settings_taken(settings):
        trainer = FspoTrainer(
            TreeModel(MODEL),
            loss=TreeLoss("dpo", 0.1),
            args=training_arguments(settings, tmp_path),
            train_dataset=[0],
        )
    with settings_taken(settings, FirstStep()):
        trainer.create_optimizer()
        trainer.create_scheduler(num_training_steps=10)
    return trainer.args


MODEL = small_model()


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_is_taken_or_refused_by_its_name(name: str, tmp_path: Path) -> None:
    if name in OWN:
        with pytest.raises(FspoError, match=rf"not taken: trainer\.{name}: the recipe says it by"):
            taken(recipe(tmp_path, trainer={name: FIELDS[name].default}), tmp_path)
        return
    taken(recipe(tmp_path, trainer={name: good(name)}), tmp_path)
    for bad in ([1, [2]], object()):
        with pytest.raises(FspoError, match=rf"{NOT_TAKEN}: trainer\.{name}: input should be"):
            taken(recipe(tmp_path, trainer={name: bad}), tmp_path)
    if name in OFF:
        on = 0.5 if float in kinds(name) else "x" if str in kinds(name) else True
        with pytest.raises(FspoError, match=rf"{NOT_TAKEN}: .*{name}"):
            taken(recipe(tmp_path, trainer={name: on}), tmp_path)
    if kinds(name) & {int, float} and bool not in kinds(name):
        with pytest.raises(FspoError, match=rf"not taken: trainer\.{name}: .*\(it is 'many'\)"):
            taken(recipe(tmp_path, trainer={name: "many"}), tmp_path)
    for kind in kinds(name):
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            with pytest.raises(FspoError, match=rf"{NOT_TAKEN}: .*\(under trainer: {name}\)"):
                taken(recipe(tmp_path, trainer={name: "nonsense"}), tmp_path)


@pytest.mark.parametrize(
    ("key", "text", "number"),
    [("adam_epsilon", "1e-8", 1e-8), ("adam_beta1", "0.8", 0.8), ("max_steps", "7", 7),
     ("ddp_timeout", "60", 60), ("bf16", "false", False), ("run_name", 2024, "2024")],
)  # fmt: skip
def test_a_text_that_is_a_number_is_read_as_one(
    key: str, text: object, number: object, tmp_path: Path
) -> None:
    value = getattr(taken(recipe(tmp_path, trainer={key: text}), tmp_path), key)
    assert value == number
    assert type(value) is type(number)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"adam_beta1": 5}, r"Invalid beta parameter at index 0: 5\.0 \(under trainer: adam_beta1"),
        ({"adam_epsilon": -1}, r"Invalid epsilon value: -1\.0 \(under trainer: adam_epsilon\)"),
        ({"lr_scheduler_kwargs": {"a": 1}}, r"argument 'a' \(under trainer: lr_scheduler_kwargs\)"),
        ({"optim_args": "x"}, r"\(under trainer: optim_args\)"),
        ({"accelerator_config": "nowhere"}, r"\(under trainer: accelerator_config\)"),
        ({"log_level": "loud"}, r"\(under trainer: log_level\)"),
        ({"fsdp": "nonsense"}, r"nonsense.*\(under trainer: fsdp\)"),
        ({"torch_empty_cache_steps": 0}, r"torch_empty_cache_steps"),
        ({"lerning_rate": 1}, r"lerning_rate"),
        ({3: 1}, r"\(under trainer: 3\)|trainer\.3"),
    ],
)
def test_a_value_that_transformers_finds_wrong_later_is_named(
    settings: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(FspoError, match=told):
        taken(recipe(tmp_path).model_copy(update={"trainer": settings}), tmp_path)


WRITER = """
from pathlib import Path
class SummaryWriter:
    def __init__(self, log_dir):
        self.folder = Path(log_dir)
        self.folder.mkdir(parents=True)
    def add_text(self, name, text, step=None): pass
    def add_scalar(self, name, value, step):
        with (self.folder / "events").open("a") as file:
            print(step, name, value, file=file)
    def flush(self): pass
    def close(self): pass
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    MODEL.save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    by_user = {f"u{n}": [Preference(f"q{i}", "yes", "no") for i in range(4)] for n in range(2)}
    save_preferences(Preferences(by_user, [User(u) for u in by_user]), tmp_path / "data", "")
    return tmp_path


def test_a_log_that_was_asked_for_is_kept_beside_the_policy(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard's writer, or another of the same form where it is not installed."""
    (place / "packages" / "tensorboardX").mkdir(parents=True)
    (place / "packages" / "tensorboardX" / "__init__.py").write_text(WRITER)
    monkeypatch.syspath_prepend(place / "packages")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    out = train(recipe(place, trainer={"report_to": "tensorboard"}))
    [log] = [path for path in out.rglob("events*") if path.is_file()]
    assert log.parent.parent == out / "runs"
    assert "1 train/loss " in log.read_text()
    assert not (out / "checkpoints").exists()
    then = train(recipe(place, out=str(place / "then"), adapter=str(out)))
    assert {path.name for path in (then / "reference").iterdir()} >= {"adapter_config.json"}
    assert not (then / "reference" / "runs").exists()


class Faulty(TrainerCallback):  # type: ignore[misc]
    """Fails in the step before or after which a fault is no setting's any more."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= self.step:
            raise AttributeError("something else")


@pytest.mark.parametrize("given", [{}, {"adam_beta1": 0.8}])
def test_a_fault_of_ours_is_not_told_as_one_of_a_setting(
    place: Path, given: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = FspoTrainer.__init__

    def with_fault(self: FspoTrainer, *args: Any, **kwargs: Any) -> None:
        begun(self, *args, **kwargs)
        self.add_callback(Faulty(2))

    monkeypatch.setattr(FspoTrainer, "__init__", with_fault)
    with pytest.raises(AttributeError, match="something else"):
        train(recipe(place, trainer=given))


def test_a_dry_run_refuses_what_training_would(place: Path) -> None:
    for settings in ({"output_dir": "x"}, {"push_to_hub": True}, {"adam_epsilon": "small"}):
        with pytest.raises(FspoError, match=r"are not taken: trainer\.\w+: "):
            plan(recipe(place, trainer=settings))
