"""The prefix tree against a twin that keeps a list of texts, and its bounds one by one."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cache.prefix import KVRun, Node, PrefixTree

TOKEN = 8  # bytes: a run's only part is the token ids themselves
TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=25)


class Reader:
    """A slot that holds a text; counts what is read of it."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self.read: list[tuple[int, int]] = []

    def __call__(self, start: int, end: int) -> KVRun:
        self.read.append((start, end))
        return KVRun((torch.tensor(self.ids[start:end], dtype=torch.int64)[None, None],))


def insert(tree: PrefixTree, ids: Sequence[int]) -> Node:
    return tree.insert(ids, Reader(ids))


def held(tree: PrefixTree, ids: Sequence[int]) -> list[int]:
    """The tokens in the runs of a match."""
    match = tree.match(ids)
    found = [token for run in match.runs for token in run.parts[0].flatten().tolist()]
    assert len(found) == match.tokens
    return found


def check(tree: PrefixTree) -> None:
    """What must hold of every tree."""
    nodes = list(tree.nodes())
    assert tree.nbytes == sum(node.run.nbytes for node in nodes) == TOKEN * tree.tokens <= tree.limit
    assert tree._leaves == {node for node in nodes if not node.children}
    for node in nodes:
        assert node.run.parts[0].flatten().tolist() == node.tokens
        assert node.run.parts[0].untyped_storage().nbytes() == node.run.nbytes  # nothing else hangs on it
        assert node.parent is not None
        assert node.parent.children[node.tokens[0]] is node
        assert node.parent is tree.root or node.parent.used >= node.used
        assert node.holders >= sum(child.holders for child in node.children.values())


def common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_a_match_is_the_longest_common_beginning_with_any_text_inserted(
    texts: list[list[int]], asked: list[list[int]]
) -> None:
    tree = PrefixTree(10**6)
    for at, ids in enumerate(texts):
        known = max((common(ids, other) for other in texts[:at]), default=0)
        reader = Reader(ids)
        tree.insert(ids, reader)
        assert reader.read == ([] if known == len(ids) else [(known, len(ids))])  # only what is new is copied
        check(tree)
    for ids in asked + texts:
        assert held(tree, ids) == ids[: max(common(ids, other) for other in texts)]
    assert tree.tokens == len({tuple(ids[:end]) for ids in texts for end in range(1, len(ids) + 1)})


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 30), st.randoms(use_true_random=False))
def test_no_more_than_its_bytes_and_never_what_is_held(texts: list[list[int]], tokens: int, random: Random) -> None:
    tree = PrefixTree(tokens * TOKEN)
    holding: list[tuple[Node, list[int]]] = []
    for ids in texts:
        node = insert(tree, ids)
        kept = held(tree, ids)
        assert kept == ids[: len(kept)]
        if random.random() < 0.5:
            tree.hold(node)
            holding.append((node, kept))
        if holding and random.random() < 0.5:
            tree.release(holding.pop(random.randrange(len(holding)))[0])
        check(tree)
        for _, text in holding:
            assert held(tree, text) == text
    for node, _ in holding:
        tree.release(node)
    assert all(node.holders == 0 for node in [tree.root, *tree.nodes()])


def test_what_was_used_longest_ago_leaves_first() -> None:
    tree = PrefixTree(9 * TOKEN)
    for ids in ([1, 2, 3], [4, 5, 6], [7, 8, 9]):
        insert(tree, ids)
    tree.match([1, 2])  # used now: of 4 and 7, the 4 is the oldest
    insert(tree, [10, 11])
    assert [held(tree, ids) for ids in ([1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11])] == [
        [1, 2, 3], [], [7, 8, 9], [10, 11],
    ]  # fmt: skip


def test_leaves_go_before_what_they_hang_on() -> None:
    tree = PrefixTree(6 * TOKEN)
    insert(tree, [1, 2, 3, 4])
    insert(tree, [1, 2, 5, 6])  # 1 2 is shared: six tokens in all
    insert(tree, [7])
    assert held(tree, [1, 2, 3, 4]) == [1, 2]
    assert held(tree, [1, 2, 5, 6]) == [1, 2, 5, 6]
    assert tree.tokens == 5


def test_a_text_that_is_too_long_is_kept_as_far_as_there_is_room() -> None:
    tree = PrefixTree(5 * TOKEN)
    first = insert(tree, [1, 2, 3])
    tree.hold(first)
    insert(tree, [4, 5, 6, 7])
    assert held(tree, [4, 5, 6, 7]) == [4, 5]
    tree.release(first)
    insert(tree, [8] * 40)
    assert tree.tokens == 5
    assert held(tree, [8] * 40) == [8] * 5
    assert insert(PrefixTree(TOKEN - 1), [1]).tokens == []  # not even one: the root


def test_a_held_edge_that_splits_is_held_in_both_parts() -> None:
    tree = PrefixTree(8 * TOKEN)
    node = insert(tree, [1, 2, 3, 4])
    tree.hold(node)
    insert(tree, [1, 2, 9])
    for filler in range(20, 40):
        insert(tree, [filler] * 3)
    assert held(tree, [1, 2, 3, 4]) == [1, 2, 3, 4]
    tree.release(node)
    insert(tree, list(range(50, 58)))
    assert tree.match([1, 2, 3, 4]).tokens == 0


def test_a_failing_read_leaves_the_tree_as_it_was() -> None:
    tree = PrefixTree(100 * TOKEN)
    insert(tree, [1, 2, 3])

    def fail(start: int, end: int) -> KVRun:
        raise MemoryError

    with pytest.raises(MemoryError):
        tree.insert([1, 2, 4], fail)
    check(tree)
    assert all(node.holders == 0 for node in tree.nodes())
    assert held(tree, [1, 2, 3]) == [1, 2, 3]


def test_clearing_leaves_only_what_is_held() -> None:
    tree = PrefixTree(100 * TOKEN)
    held = insert(tree, [1, 2, 3])
    tree.hold(held)
    insert(tree, [1, 2, 3, 4])
    insert(tree, [5, 6])
    tree.clear()
    assert tree.tokens == 3 and tree.match([1, 2, 3, 4]).tokens == 3 and tree.match([5]).tokens == 0
    tree.release(held)
    tree.clear()
    assert tree.nbytes == tree.tokens == 0


def test_a_run_is_cut_by_position_and_compacted() -> None:
    keys = torch.arange(2 * 3 * 5 * 4, dtype=torch.float32).view(2, 3, 5, 4)
    scales = torch.arange(2 * 3 * 5, dtype=torch.float16).view(2, 3, 5)
    run = KVRun((keys, scales))
    assert (run.tokens, run.nbytes) == (5, 2 * 3 * 5 * (16 + 2))
    part = run[1:3]
    assert (part.tokens, part.nbytes) == (2, 2 * 3 * 2 * (16 + 2))
    assert torch.equal(part.parts[0], keys[:, :, 1:3])
    assert torch.equal(part.parts[1], scales[:, :, 1:3])
    assert part.parts[0].untyped_storage().nbytes() == keys.nbytes  # a view
    owned = part.compact()
    assert [t.untyped_storage().nbytes() for t in owned.parts] == [2 * 3 * 2 * 16, 2 * 3 * 2 * 2]
    keys.zero_()
    assert owned.parts[0].any()
    assert run[:0].tokens == 0
    with pytest.raises(ValueError, match="one after another"):
        run[::2]
