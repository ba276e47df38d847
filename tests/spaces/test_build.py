"""`python -m spaces.build`: what lies in the folder, and what is asked of the Hub."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from packaging.requirements import Requirement

from engine.errors import UserError
from spaces.build import MANAGED, ROOT, assemble, main, space_requirements, upload

TOKEN = "hf_not_a_real_token"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(tmp_path_factory.mktemp("space") / "out")


class FakeApi(HfApi):
    """Notes what it is asked; `error` is what the Hub answers instead."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(token=TOKEN)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error = error

    def create_repo(self, repo_id: str, **options: Any) -> str:  # type: ignore[override]
        self.calls.append(("create_repo", {"repo_id": repo_id, **options}))
        if self.error:
            raise self.error
        return f"https://huggingface.co/spaces/{repo_id}"

    def upload_folder(self, **options: Any) -> None:  # type: ignore[override]
        self.calls.append(("upload_folder", options))


# ---- the folder


def test_the_folder_holds_the_app_and_nothing_else(space: Path) -> None:
    assert {path.name for path in space.iterdir()} == {
        "app.py", "brisk", "engine", "pipelines", "LICENSE", "README.md", "requirements.txt"
    }  # fmt: skip
    files = [path.relative_to(space) for path in space.rglob("*") if path.is_file()]
    assert not [path for path in files if {"tests", "spaces", "__pycache__"} & set(path.parts)]
    assert not [path for path in files if path.suffix in (".pyc", ".gguf") or path.name[0] == "."]
    weights = [path for path in files if path.suffix == ".safetensors"]  # of trained heads alone
    assert all(path.parts[:3] == ("pipelines", "classification", "trained") for path in weights)
    assert sum((space / path).stat().st_size for path in weights) < 5_000_000
    ours = {path.relative_to(ROOT) for name in ("brisk", "engine", "pipelines") for path in (ROOT / name).rglob("*.py")}
    assert ours <= set(files)


def test_nothing_in_the_folder_imports_what_is_not_in_it(space: Path) -> None:
    """`spaces` above all: on a Space that name is Hugging Face's own package."""
    for path in space.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            assert not {name.partition(".")[0] for name in names} & {"spaces", "tests"}, path


def test_the_card_becomes_the_readme(space: Path) -> None:
    assert (space / "README.md").read_bytes() == (ROOT / "spaces" / "README.md").read_bytes()


def test_assembling_again_replaces_the_folder(tmp_path: Path) -> None:
    folder = assemble(tmp_path / "out")
    (folder / "engine" / "left_over.py").write_text("")
    assert assemble(tmp_path / "out") == folder
    assert not (folder / "engine" / "left_over.py").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing temporary is left"


def test_a_folder_in_use_for_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        assemble(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        assemble(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("place", [ROOT, ROOT / "engine", ROOT / "engine" / "space", ROOT.parent, ROOT / "spaces"])
def test_the_project_itself_is_never_replaced(place: Path) -> None:
    with pytest.raises(UserError, match="folder of the project"):
        assemble(place)
    assert (ROOT / "engine" / "engine.py").is_file()


# ---- its requirements


def test_the_space_installs_what_is_tested_here(space: Path) -> None:
    index, *rows = (space / "requirements.txt").read_text("utf-8").splitlines()
    assert index == "--extra-index-url https://download.pytorch.org/whl/cpu"
    given = {row.name: str(row.specifier) for row in map(Requirement, rows)}
    own = [Requirement(line) for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines() if line[0] != "#"]
    wanted = {row.name: str(row.specifier) for row in own if row.marker is None or _on_3_12(row)}
    managed = {name for name in wanted if name.replace("_", "-") in MANAGED}
    assert {"gradio", "huggingface_hub"} <= managed
    assert given == {name: version for name, version in wanted.items() if name not in managed}
    assert given["torch"].startswith("==")


def _on_3_12(row: Requirement) -> bool:
    return row.marker is not None and row.marker.evaluate({"python_version": "3.12"})


def test_lines_for_other_pythons_stay_out() -> None:
    text = '# why\nnumpy==1.0; python_version < "3.11"\nnumpy==2.0; python_version >= "3.11"\ngradio==6.0\nrich==1.0\n'
    assert space_requirements(text, "3.10").splitlines()[1:] == ["numpy==1.0", "rich==1.0"]
    assert space_requirements(text, "3.12").splitlines()[1:] == ["numpy==2.0", "rich==1.0"]
    assert space_requirements(text, "3.12.12").splitlines()[1:] == ["numpy==2.0", "rich==1.0"]


# ---- the upload


def test_an_upload_makes_the_space_and_mirrors_the_folder(tmp_path: Path) -> None:
    api = FakeApi()
    url = upload(tmp_path, "someone/brisk", TOKEN, private=True, api=api)
    assert url == "https://huggingface.co/spaces/someone/brisk"
    [(first, made), (second, sent)] = api.calls
    assert (first, second) == ("create_repo", "upload_folder")
    assert made["repo_id"] == sent["repo_id"] == "someone/brisk"
    assert made["repo_type"] == sent["repo_type"] == "space", "without it the Hub makes a model repository"
    assert made["space_sdk"] == "gradio" and made["exist_ok"] and made["private"] is True
    assert made["token"] == sent["token"] == TOKEN
    assert sent["folder_path"] == tmp_path
    assert sent["delete_patterns"] == ["*"], "files removed here vanish there"


def test_an_existing_space_keeps_its_visibility(tmp_path: Path) -> None:
    api = FakeApi()
    upload(tmp_path, "someone/brisk", TOKEN, api=api)
    assert api.calls[0][1]["private"] is None


def test_what_the_hub_answers_becomes_one_sentence(tmp_path: Path) -> None:
    api = FakeApi(RuntimeError("402 Payment Required\n\nsubscribe first"))
    with pytest.raises(UserError, match=r"did not take the Space someone/brisk .402 Payment Required subscribe first"):
        upload(tmp_path, "someone/brisk", TOKEN, api=api)
    assert [name for name, _ in api.calls] == ["create_repo"]


# ---- the command line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--upload", "someone/brisk"], "An upload needs a token: set HF_TOKEN"),
        (["--upload", "brisk", "--token", TOKEN], "'brisk' is no name of a Space"),
        (["--upload", "a/b/c", "--token", TOKEN], "'a/b/c' is no name of a Space"),
    ],
)
def test_a_request_that_cannot_be_run_is_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert main(["--output", str(tmp_path / "out"), *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"Error: {sentence}") and said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_command_uploads_with_the_token_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = FakeApi()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda token: api)
    assert main(["--output", str(tmp_path / "out"), "--upload", "someone/brisk"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(tmp_path / "out")]
    assert "https://huggingface.co/spaces/someone/brisk" in said.err
    assert [call["token"] for _, call in api.calls] == [TOKEN, TOKEN]
    assert TOKEN not in said.out + said.err


def test_help_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "--upload" in said and "USER/NAME" in said and "HF_TOKEN" in said
