"""What a forge reads beside the code: citation, issue forms, workflow, hooks, changelog."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.documents import ROOT

FILES = sorted(
    path
    for pattern in (".github/**/*.yml", ".pre-commit-config.yaml", "CITATION.cff")
    for path in ROOT.glob(pattern)
)  # fmt: skip


def parsed(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_it_is_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_the_citation_has_what_the_format_requires() -> None:
    """https://github.com/citation-file-format/citation-file-format/blob/main/schema-guide.md"""
    citation = parsed("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["authors"] and all("name" in author or "family-names" in author for author in citation["authors"])
    assert citation["license"] == "Apache-2.0" and citation["type"] == "software"


def test_the_changelog_has_the_version_of_the_citation() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.*?)\]", changelog, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert str(parsed("CITATION.cff")["version"]) == versions[1]
    for version in versions:
        assert re.search(rf"^\[{re.escape(version)}\]: https://", changelog, re.MULTILINE)
    kinds = set(re.findall(r"^### (.*)$", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_a_form_has_what_the_forge_requires(name: str) -> None:
    """https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests"""
    form = parsed(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= set(form)
    ids = [part["id"] for part in form["body"]]
    assert len(ids) == len(set(ids))
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert part["attributes"]["label"]


def test_the_workflow_runs_what_a_change_must_pass() -> None:
    jobs = parsed(".github/workflows/ci.yml")["jobs"]
    linux, others = jobs["linux"], jobs["others"]
    commands = [step["run"] for step in linux["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert linux["strategy"]["matrix"]["python"] == ["3.10", "3.13"], "the oldest and the newest that are supported"
    assert {os.partition("-")[0] for os in others["strategy"]["matrix"]["os"]} == {"macos", "windows"}
    quick = [step["run"] for step in others["steps"] if "pytest" in step.get("run", "")]
    [markers] = re.findall(r'-m "([^"]+)"', " ".join(quick))
    assert f'-m "{markers}"' in (ROOT / "Makefile").read_text(encoding="utf-8"), "as `make test-quick`"


def test_the_hooks_have_the_versions_that_are_pinned() -> None:
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "requirements-dev.txt").read_text("utf-8"), re.MULTILINE))
    repos = {repo["repo"].rpartition("/")[2]: repo for repo in parsed(".pre-commit-config.yaml")["repos"]}
    assert repos["ruff-pre-commit"]["rev"] == f"v{pins['ruff']}"
    assert {hook["id"] for repo in repos.values() for hook in repo["hooks"]} == {"ruff-check", "ruff-format", "mypy"}
