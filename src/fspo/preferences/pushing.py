"""Uploads a preference dataset to the Hugging Face hub, with its card."""

from __future__ import annotations

from pathlib import Path

from fspo.errors import FspoError
from fspo.preferences.reading import load_preferences
from fspo.preferences.writing import OWN_FILES


def push(folder: Path, name: str, public: bool = False) -> str:
    """Uploads `folder` as the dataset `name`; what that dataset held under the same names is gone.

    The hub's own library is what uploads: it takes the token from `HF_TOKEN`, or from where
    `hf auth login` put it.

    Args:
        folder: a preference dataset; nothing but its own files is uploaded.
        name: "owner/name", or a name of your own.
        public: whether everybody may see it, if it is new.

    Returns:
        The dataset's address.

    Raises:
        FspoError: if `folder` is no dataset, there is no token, or the hub refuses or is not there.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    if not folder.is_dir():
        raise FspoError(f"{folder}: is no folder of preferences")
    count = len(load_preferences(folder))
    hub = HfApi(library_name="fspo")
    try:
        repo = hub.create_repo(name, repo_type="dataset", private=not public, exist_ok=True)
        hub.upload_folder(
            repo_id=repo.repo_id,
            folder_path=folder,
            repo_type="dataset",
            allow_patterns=[pattern for file in OWN_FILES for pattern in (file, f"{file}/*")],
            commit_message=f"{count} preferences",
        )
    except HFValidationError as error:
        raise FspoError(f"{name}: is no name of a dataset: {error}") from error
    except LocalTokenNotFoundError as error:
        raise FspoError(_NO_TOKEN) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        told = _NO_TOKEN if status in (401, 403) else f"the hub answers with status {status}"
        raise FspoError(f"{name}: {told} ({error.server_message or error.request_id})") from error
    except Exception as error:  # which library the hub's client speaks HTTP with is its affair
        raise FspoError(
            f"{name}: the upload failed ({type(error).__name__}: {error}). Nothing is "
            "lost: push again later."
        ) from error
    return str(repo)


_NO_TOKEN = (
    "the hub wants a token that may write: put one into the environment variable HF_TOKEN, or run "
    "`hf auth login`"
)
