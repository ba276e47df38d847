"""Links, pictures and anchors of the documents lead somewhere, and the README stays a front door."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines import TASKS
from tests.docs.documents import DOCUMENTS, README, ROOT, anchors, languages, links, text_of

NAMED = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


@NAMED
def test_links_and_pictures_lead_somewhere(document: Path) -> None:
    for target, anchor in links(document):
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{target} is not there"
        assert path.is_relative_to(ROOT), f"{target} lies outside the repository"
        if anchor:
            assert anchor in anchors(path), f"{target} has no heading #{anchor}"


def test_every_document_is_reached_from_the_readme() -> None:
    seen, todo = set(), [README]
    while todo:
        document = todo.pop()
        if document not in seen and document.suffix == ".md":
            seen.add(document)
            todo += [(document.parent / target).resolve() for target, _ in links(document) if target]
    assert seen >= set(DOCUMENTS)


def test_every_tab_has_its_picture_and_no_picture_is_left_over() -> None:
    shown = [target for document in DOCUMENTS for target, _ in links(document) if target.endswith(".png")]
    tabs = {task.name for task in TASKS.values()}
    assert {Path(target).stem for target in shown} >= tabs
    assert {path.stem for path in (ROOT / "docs").glob("*.png")} == {Path(target).stem for target in shown}


def test_the_readme_is_one_screen_after_another() -> None:
    readme = text_of(README)
    assert len(readme.splitlines()) <= 150
    assert len(re.findall(r"!\[[^\]]+\]\(", readme)) == 1, "one picture, with words for those who cannot see it"


@NAMED
def test_pictures_are_described(document: Path) -> None:
    assert not re.findall(r"!\[\s*\]\(", text_of(document))


def test_blocks_say_what_they_are() -> None:
    """Python and shell are run or checked (see the other tests), Python with its answers by `test_training`; "text", or
    nothing, is for what is neither."""
    assert languages() <= {"python", "pycon", "sh", "text", ""}


@NAMED
def test_no_private_place_is_named(document: Path) -> None:
    for row in text_of(document).splitlines():
        assert not re.search(r"/(home|root|work|tmp)/", row), row
