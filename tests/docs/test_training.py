"""The learner's chapter: every number in it is what its lines give, and what it says of others' signatures holds."""

from __future__ import annotations

import doctest

import torch

from tests.docs.documents import ROOT

CHAPTER = ROOT / "docs" / "training.md"


def test_every_worked_number_is_right() -> None:
    torch.set_printoptions(profile="default")
    failed, ran = doctest.testfile(str(CHAPTER), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert ran >= 30 and not failed


def test_each_optimizers_line_stands_in_its_file() -> None:
    """The table shows our lines: none that is not there."""
    code = (ROOT / "engine" / "training" / "optimizers.py").read_text()
    table = [line for line in CHAPTER.read_text().splitlines() if line.startswith("| ") and "group[" in line]
    shown = [part for line in table for part in line.split("`")[1::2]]
    assert len(table) == 6 and all(line in code for line in shown), [line for line in shown if line not in code]
