"""Checkpoints: any damage is seen, and a run goes on to the bytes of one undisturbed."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import byte_tokenizer, small_model
from peft import LoraConfig, get_peft_model

from fspo import FspoError, Preference, Preferences, User
from fspo.learning.checkpoints import LIST, fault, last_checkpoint, numbered, seal, to_go_on_from
from fspo.learning.policy import load_policy
from fspo.learning.resumable import ResumableTrainer
from fspo.methods.train import train
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe, Vpl

ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, and users of which half like what the others do not."""
    folder = tmp_path_factory.mktemp("checkpoints")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    by_user = {
        f"u{n}": [Preference(f"q{i}", *(("yes", "no") if n % 2 else ("no", "yes")))
                  for i in range(6)]
        for n in range(4)
    }  # fmt: skip
    save_preferences(Preferences(by_user, [User(u) for u in by_user]), folder / "data", "")
    return folder


def recipe(place: Path, out: str, **settings: object) -> TrainRecipe:
    defaults: dict[str, object] = {
        "data": str(place / "data"), "out": str(place / out), "model": str(place / "model"),
        "shots": 3, "episodes": 12, "objective": "dpo", "beta": 0.1, "learning_rate": 5e-3,
        "log_every": 1, "save_every": 2, "lora": Lora(rank=2, alpha=4),
    }  # fmt: skip
    return TrainRecipe.model_validate(defaults | settings)


class Stopped(BaseException):
    """As if the process had been killed."""


def stopped(settings: TrainRecipe, step: int = 4) -> Path:
    """The checkpoints of a run that was stopped after this step."""
    plain = ResumableTrainer._save_checkpoint

    def stop(self: ResumableTrainer, *given: object) -> None:
        plain(self, *given)
        if self.state.global_step >= step:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableTrainer, "_save_checkpoint", stop)
        with pytest.raises(Stopped):
            train(settings)
    return Path(settings.out) / "checkpoints"


KINDS: dict[str, dict[str, object]] = {
    "lora": {},
    "whole": {"lora": None, "learning_rate": 1e-3},
    "vpl": {"method": "vpl", "vpl": Vpl(latent=2, hidden=4, frozen=False)},
}
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "cut": lambda data: data[: len(data) // 2],
    "cut by one": lambda data: data[:-1],
    "empty": lambda data: b"",
    "missing": lambda data: None,
    "garbage": lambda data: os.urandom(len(data)),
    "zeros": lambda data: bytes(len(data)),
    "one bit": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "longer": lambda data: data + b"\0",
}


def damage(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_any_damage_to_any_file_of_a_checkpoint_is_seen(place: Path, kind: str) -> None:
    folder = stopped(recipe(place, f"damaged-{kind}", **KINDS[kind]))
    before, last = numbered(folder).values()
    for processes in (1, 2):
        for checkpoint in (before, last):
            if processes == 2:  # what each of two processes would have written
                shutil.copy(checkpoint / "rng_state.pth", checkpoint / "rng_state_1.pth")
                (checkpoint / "rng_state.pth").rename(checkpoint / "rng_state_0.pth")
                seal(checkpoint, processes)
            assert fault(checkpoint) == ""
        files = [path for path in last.rglob("*") if path.is_file()]
        assert {"optimizer.pt", "scheduler.pt", "trainer_state.json"} < {p.name for p in files}
        assert len([path for path in files if path.name.startswith("rng")]) == processes
        for path in files:
            whole = path.read_bytes()
            for name, change in DAMAGES.items():
                damage(path, change(whole))
                if path.name == LIST and name == "missing":
                    assert last_checkpoint(folder) == last  # as of an earlier version
                elif path.name == LIST and name == "cut by one":
                    assert last_checkpoint(folder) == last  # a line end
                else:
                    assert last_checkpoint(folder) == before, (path.name, name)
                path.write_bytes(whole)
    assert to_go_on_from(folder, 2) == last
    with pytest.raises(FspoError, match=r"written by 2 processes, and this run has 1.*Go on with"):
        to_go_on_from(folder, 1)


@pytest.mark.parametrize("kind", ["lora", "whole"])
def test_a_checkpoint_of_an_earlier_version_is_known_by_what_a_run_needs(
    place: Path, kind: str
) -> None:
    folder = stopped(recipe(place, f"earlier-{kind}", **KINDS[kind]))
    before, last = numbered(folder).values()
    (last / LIST).unlink()
    assert last_checkpoint(folder) == last
    needed = [path for path in last.iterdir() if path.suffix in (".pt", ".pth", ".safetensors")]
    for path in [*needed, last / "trainer_state.json"]:
        whole = path.read_bytes()
        for name in ("cut", "empty", "missing", "garbage", "zeros"):
            damage(path, DAMAGES[name](whole))
            assert last_checkpoint(folder) == before, (path.name, name)
            path.write_bytes(whole)


def weights_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_checkpoint_is_passed_over_and_the_weights_are_the_same(
    place: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = weights_of(train(recipe(place, f"undisturbed-{kind}", **KINDS[kind])))
    settings = recipe(place, f"disturbed-{kind}", **KINDS[kind])
    folder = stopped(settings)
    shutil.copytree(folder / "checkpoint-4", folder / "checkpoint-4.bak")
    shutil.copytree(folder / "checkpoint-4", folder / "checkpoint-best")
    (folder / "checkpoint-99").write_text("not a folder")
    (folder / "checkpoint-4" / "scheduler.pt").unlink()
    out = train(settings, resume=True)
    said = capsys.readouterr().err
    assert "checkpoint-4: passed over, because scheduler.pt is missing\n" in said
    assert f"going on from {folder / 'checkpoint-2'}\n" in said
    assert weights_of(out) == whole
    # Copies that somebody made stay; what the run made is cleared away.
    assert {p.name for p in folder.iterdir()} == {
        "checkpoint-4.bak", "checkpoint-best", "checkpoint-99"
    }  # fmt: skip


def test_where_no_checkpoint_is_whole_training_begins_anew(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = weights_of(train(recipe(place, "undamaged")))
    settings = recipe(place, "all-damaged")
    folder = stopped(settings)
    for checkpoint in numbered(folder).values():
        (checkpoint / "optimizer.pt").write_bytes(b"")
    assert weights_of(train(settings, resume=True)) == whole
    assert "holds no whole checkpoint, so training begins anew" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.parametrize("torn", ['{"beta": 0.', "", "[1]", '"x"', None])
def test_a_damaged_recipe_of_a_run_is_named(place: Path, torn: str | None) -> None:
    settings = recipe(place, "torn")
    if not Path(settings.out).exists():
        stopped(settings)
    path = Path(settings.out) / "recipe.json"
    path.unlink(missing_ok=True)
    if torn is not None:
        path.write_text(torn)
    with pytest.raises(FspoError, match=r"recipe\.json: the recipe of the run in this folder is"):
        train(settings, resume=True)


def lora(**settings: object) -> LoraConfig:
    return LoraConfig(r=2, **{"target_modules": ["q_proj", "v_proj"], **settings})


ADAPTERS: dict[str, LoraConfig] = {
    "plain": lora(),
    "dropout": lora(lora_dropout=0.5, use_rslora=True),
    "dora": lora(use_dora=True),
    "biases of its own": lora(lora_bias=True),
    "head": lora(modules_to_save=["lm_head"]),
    "embedding and norms": lora(modules_to_save=["embed_tokens", "input_layernorm"]),
    "tokens": lora(trainable_token_indices=[5, 6]),
    "embedding": lora(target_modules=["embed_tokens", "q_proj"]),
}


def saved(place: Path, name: str, config: LoraConfig) -> Path:
    folder = place / f"adapter {name}"
    get_peft_model(small_model(), config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_run_from_any_kind_of_adapter_resumes_to_the_same_bytes(place: Path, name: str) -> None:
    adapter = saved(place, name, ADAPTERS[name])
    whole = train(recipe(place, f"whole {name}", adapter=str(adapter)))
    settings = recipe(place, f"cut {name}", adapter=str(adapter))
    stopped(settings, step=2)
    out = train(settings, resume=True)
    assert (out / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()
    assert (out / ADAPTER).read_bytes() != (adapter / ADAPTER).read_bytes()
    load_policy(out)


@pytest.mark.parametrize("bias", ["lora_only", "all"])
@pytest.mark.parametrize("reference", ["start", "model"])
def test_an_adapter_of_the_models_own_biases_is_refused_before_training(
    place: Path, bias: str, reference: str
) -> None:
    adapter = saved(place, bias, lora(bias=bias))
    settings = recipe(place, f"bias {bias}", adapter=str(adapter), reference=reference)
    with pytest.raises(FspoError, match=f"this adapter has bias: {bias}"):
        train(settings)
    assert not (Path(settings.out) / "checkpoints").exists()


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_all_files_of_a_policy_have_the_permissions_that_the_umask_leaves(
    place: Path, mask: int
) -> None:
    before = os.umask(mask)
    try:
        first = train(recipe(place, f"mask-{mask}", episodes=2))
        (first / ADAPTER).chmod(0o600)  # as an earlier version left it
        folders = [train(recipe(place, f"then-{mask}", episodes=2, adapter=str(first)))]
        folders += [
            train(recipe(place, f"{kind}-{mask}", **(KINDS[kind] | {"episodes": 2})))
            for kind in ("whole", "vpl")
        ]
    finally:
        os.umask(before)
    for folder in folders:
        for path in folder.rglob("*"):
            expected = (0o777 if path.is_dir() else 0o666) & ~mask
            assert stat.S_IMODE(path.stat().st_mode) == expected, path
    assert (folders[0] / "reference" / ADAPTER).is_file()


def test_a_policy_that_breaks_in_its_very_last_step_is_refused(place: Path) -> None:
    for name, steps, kind in [("last", 2, "lora"), ("only", 1, "lora"), ("vpl", 1, "vpl")]:
        settings = recipe(
            place, f"broken-{name}", episodes=2 * steps, warmup_steps=0, scheduler="constant",
            **(KINDS[kind] | {"learning_rate": 1e30, "max_grad_norm": 1e30}),
        )  # fmt: skip
        with pytest.raises(FspoError, match=r"not finite any more|the loss is (nan|inf)"):
            train(settings)
        assert not (Path(settings.out) / "fspo.json").exists()
        with pytest.raises(FspoError, match=r"not finite any more|the loss is (nan|inf)"):
            train(settings, resume=True)


def test_no_checkpoint_is_kept_of_weights_that_are_not_finite(place: Path) -> None:
    settings = recipe(
        place, "wild", optimizer="sgd", learning_rate=1e38, beta=100.0, max_grad_norm=1e30,
        scheduler="constant", warmup_steps=0, save_every=1, lora=None,
    )  # fmt: skip
    with pytest.raises(FspoError, match="step 1: the weights are not finite any more"):
        train(settings)
    assert not numbered(Path(settings.out) / "checkpoints")


def test_a_learning_rate_that_no_weight_can_hold_is_named(place: Path) -> None:
    settings = recipe(place, "huge", learning_rate=1e38, scheduler="constant", warmup_steps=0)
    with pytest.raises(FspoError, match="learning_rate: 1e\\+38 is too large"):
        train(settings)


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Inside, no file can become larger than so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("kind", "most"), [("lora", 3_000), ("whole", 60_000), ("whole", 200_000), ("vpl", 1_500)]
)
def test_a_policy_that_cannot_be_written_is_named_and_nothing_passes_as_one(
    place: Path, kind: str, most: int
) -> None:
    settings = recipe(place, f"bounded-{kind}-{most}", **KINDS[kind])
    with (
        pytest.raises(FspoError, match=rf"{settings.out}.*: cannot be written: .*--resume"),
        small_files(most),
    ):
        train(settings)
    assert weights_of(Path(settings.out)) == {}
    assert weights_of(train(settings, resume=True)) == weights_of(
        train(recipe(place, f"free-{kind}-{most}", **KINDS[kind]))
    )


def test_a_full_disk_is_named(place: Path, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        for kind in KINDS:
            settings = recipe(place, str(tmp_path / kind), **KINDS[kind])
            (tmp_path / "fill").write_bytes(bytes(60_000))
            with pytest.raises(FspoError, match=rf"{tmp_path}/{kind}.*: the disk is full"):
                train(settings)
            assert weights_of(tmp_path / kind) == {}
            shutil.rmtree(tmp_path / kind)
            (tmp_path / "fill").unlink()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
