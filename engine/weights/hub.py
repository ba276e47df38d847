"""Models from the Hugging Face Hub: safetensors and tokenizer files only, no pickles, no code, no long waits.

Files live in the Hub's own cache, which other programs share and where each large file is named by its SHA-256.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from engine.errors import BadModel
from engine.weights.files import Progress, sha256, short
from engine.weights.integrity import weight_files

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
ALLOWED = ["*.safetensors", "*.json", "*.jinja", "merges.txt", *TOKENIZER_FILES]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REVISION = re.compile(r"[A-Za-z0-9][\w./-]*")
ANSWER_SECONDS = 4.0  # for the Hub's first answer, looking up its address included

T = TypeVar("T")


class HubUnavailable(BadModel):
    """The model is not in the Hub's cache here and cannot be fetched now; another source may serve."""


def snapshot(repo: str, revision: str | None, progress: Progress) -> tuple[Path, str]:
    """A model's folder in the Hub's cache, downloaded where it is not there yet. What is there is used without asking
    the Hub.

    Parameters
    ----------
    repo : "owner/name".
    revision : branch, tag or commit; None is the default branch.
    progress : hears what is being done.

    Returns
    -------
    folder : where the files are.
    commit : the revision's hash.

    Raises
    ------
    HubUnavailable : the model is not in the cache, and there is no network or `HF_HUB_OFFLINE` is set.
    BadModel : the model is unknown, gated or has no safetensors, or a download is damaged.
    """
    if folder := _cached(repo, revision):
        return folder, folder.name
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise HubUnavailable(f"'{repo}' is not in the Hub's cache here, and HF_HUB_OFFLINE is set.")
    return _fetch(repo, revision, progress)


def _cached(repo: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        config = try_to_load_from_cache(repo, "config.json", revision=revision, cache_dir=_cache_dir())
    except ValueError:  # a name the Hub cannot have
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    try:
        weight_files(folder)
    except BadModel:
        return None  # an earlier download was cut short
    return folder if any((folder / name).is_file() for name in TOKENIZER_FILES) else None


def _fetch(repo: str, revision: str | None, progress: Progress) -> tuple[Path, str]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    endpoint = os.environ.get("HF_ENDPOINT")
    named = f"'{repo}'" + (f" at '{revision}'" if revision else "")
    progress(f"Asking the Hub for {repo}", None)
    try:
        info = _within(
            ANSWER_SECONDS,
            lambda: HfApi(endpoint=endpoint).model_info(
                repo, revision=revision, timeout=ANSWER_SECONDS, files_metadata=True
            ),
        )
    except GatedRepoError as error:
        raise BadModel(f"{named} is gated on the Hub: accept its terms there and set HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise BadModel(f"The Hub has no {named}: check the revision.") from error
    except RepositoryNotFoundError as error:
        raise BadModel(f"The Hub has no model {named}, or it is private: check the name.") from error
    except Exception as error:  # whatever the network and its libraries raise
        raise HubUnavailable(f"The Hub did not answer for {named} ({short(error)}).") from error
    files = {entry.rfilename: entry for entry in info.siblings or ()}
    if "config.json" not in files or not any(name.endswith(".safetensors") for name in files):
        raise BadModel(f"{named} has no config.json and safetensors on the Hub: only safetensors and GGUF are loaded.")
    progress(f"Downloading {repo}", None)
    try:
        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=ALLOWED,
                ignore_patterns=["*/*"],  # other formats and training states lie in folders
                cache_dir=_cache_dir(),
                endpoint=endpoint,
                etag_timeout=ANSWER_SECONDS,
            )
        )
    except Exception as error:
        raise HubUnavailable(f"The download of {named} from the Hub stopped ({short(error)}).") from error
    for name, entry in files.items():
        path = folder / name
        if entry.lfs and path.is_file() and sha256(path) != entry.lfs.sha256:
            raise BadModel(f"{name} of {named} arrived damaged (not the SHA-256 of the Hub): remove it and try again.")
    return folder, folder.name


def _cache_dir() -> str | None:
    return os.environ.get("HF_HUB_CACHE")  # None: the Hub library's default


def _within(seconds: float, call: Callable[[], T]) -> T:
    """`call()`, or TimeoutError: looking up a host name obeys no time-out, and behind some firewalls takes a minute."""
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not answer:
        raise TimeoutError(f"no answer in {seconds:g} s")
    return answer[0]
