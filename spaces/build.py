"""`python -m spaces.build`: assembles the folder of a Hugging Face Space, and uploads it when asked.

The folder holds what the app needs and nothing else: app.py, brisk/, engine/ and pipelines/ at its top level, the
Space's card and its requirements. There is no `spaces` package in it, because on a Space that name belongs to Hugging
Face's own.
Exit codes: 0 done, 2 a request that cannot be run.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import UserError
from pipelines.cli import run_app, say

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "spaces" / "README.md"
DEFAULT_OUTPUT = Path("build") / "space"
PACKAGES = ("brisk", "engine", "pipelines")
FILES = ("app.py", "LICENSE")
# A Space installs these itself, Gradio in the version its card names.
MANAGED = frozenset({"gradio", "gradio-client", "huggingface-hub", "spaces"})
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

log = logging.getLogger(__name__)
app = typer.Typer(add_completion=False, rich_markup_mode=None)


def space_requirements(requirements: str, python_version: str) -> str:
    """The Space's requirements.txt: the lines of the project's own that its Python needs, without what a Space manages.

    Torch comes from PyTorch's CPU index: the one on PyPI carries gigabytes for NVIDIA cards.
    """
    from packaging.requirements import Requirement

    rows = []
    for line in requirements.splitlines():
        if not (text := line.partition("#")[0].strip()):
            continue
        row = Requirement(text)
        if row.name.lower().replace("_", "-") in MANAGED:
            continue
        full = python_version if python_version.count(".") == 2 else f"{python_version}.0"
        if row.marker is None or row.marker.evaluate({"python_version": python_version, "python_full_version": full}):
            rows.append(f"{row.name}{row.specifier}")
    return "\n".join([f"--extra-index-url {TORCH_INDEX}", *rows]) + "\n"


def assemble(output: Path) -> Path:
    """Makes `output` the folder of the Space and returns its absolute path; one assembled earlier is replaced.

    Raises `UserError` where `output` is in use for something else or cannot be written.
    """
    from huggingface_hub import SpaceCard

    output = output.absolute()
    _check_place(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".space-") as temporary:
            folder = Path(temporary) / "space"
            folder.mkdir()
            for name in PACKAGES:
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
            for name in FILES:
                shutil.copy2(ROOT / name, folder / name)
            shutil.copy2(CARD, folder / "README.md")
            python_version = str(SpaceCard.load(CARD).data.python_version)
            text = space_requirements((ROOT / "requirements.txt").read_text("utf-8"), python_version)
            (folder / "requirements.txt").write_text(text, "utf-8")
            if output.exists():
                shutil.rmtree(output)
            folder.replace(output)
    except OSError as error:
        raise UserError(f"The Space cannot be assembled in {output} ({error.strerror or error}).") from error
    return output


def _check_place(output: Path) -> None:
    sources = [ROOT / name for name in (*PACKAGES, "spaces", "tests", "docs", ".git")]
    if output in (ROOT, *ROOT.parents) or any(output == place or place in output.parents for place in sources):
        raise UserError(f"{output} is a folder of the project itself: give --output another one.")
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(f"{output} is a file: give --output a folder.")
    ours = (output / "README.md").is_file() and (output / "README.md").read_bytes().startswith(b"---\ntitle: Brisk\n")
    if any(output.iterdir()) and not ours:
        raise UserError(f"{output} holds other files, and would be replaced: give --output a new or empty folder.")


def upload(folder: Path, repo_id: str, token: str, *, private: bool = False, api: HfApi | None = None) -> str:
    """Makes the Space where it does not exist, and puts a folder into it in one commit.

    Parameters
    ----------
    folder : what the Space is to hold; files there that are not in it are deleted.
    repo_id : "user/name".
    token : of the Hub, one that may write.
    private : makes a new Space private; one that exists keeps its visibility.
    api : another client than the Hub's own.

    Returns
    -------
    The Space's address.

    Raises
    ------
    UserError : the Hub refuses or cannot be reached; the sentence holds what it said.
    """
    from huggingface_hub import HfApi

    api = api or HfApi(token=token)
    try:
        url = api.create_repo(
            repo_id, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True, token=token
        )
        api.upload_folder(
            repo_id=repo_id,
            repo_type="space",
            folder_path=folder,
            delete_patterns=["*"],
            commit_message="Assembled by spaces.build",
            token=token,
        )
    except Exception as error:  # whatever the Hub answers and the network raises
        log.debug("upload", exc_info=True)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines)[:300] or type(error).__name__
        raise UserError(f"The Hub did not take the Space {repo_id} ({reason}).") from error
    return str(url)


@app.command(
    help="Assemble the folder of a Hugging Face Space, and upload it when asked.\n\nIt holds app.py, brisk/, engine/ "
    "and pipelines/, the Space's card and its requirements. Its path is the last line."
)
def build(
    output: Annotated[Path, typer.Option(help="Folder to assemble; one assembled earlier is replaced.")] = (
        DEFAULT_OUTPUT
    ),
    repo_id: Annotated[
        str | None, typer.Option("--upload", metavar="USER/NAME", help="Upload to this Space.", show_default=False)
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="HF_TOKEN", help="Write token of the Hub, for --upload.", show_default=False),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new Space private.")] = False,
) -> None:
    """Runs the command.

    Parameters
    ----------
    output, repo_id, token, private : as in `assemble` and `upload`; without `repo_id` nothing is uploaded.

    Raises
    ------
    UserError : the folder cannot be assembled, or the upload has no name, no token, or is refused.
    """
    if repo_id is not None:
        if not REPO_ID.fullmatch(repo_id):
            raise UserError(f"'{repo_id}' is no name of a Space: give USER/NAME.")
        if not token:
            raise UserError("An upload needs a token: set HF_TOKEN or give --token, with one that may write.")
    folder = assemble(output)
    if repo_id is not None and token:
        say(f"uploading to {repo_id}")
        say(upload(folder, repo_id, token, private=private))
    print(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_app(app, arguments)


if __name__ == "__main__":
    sys.exit(main())
