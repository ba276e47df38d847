"""Texts turned to their opposite: words of judgement exchanged, so that a head learns to look at these.

A review's subject tells something of its label too (few people dislike documentaries), and a head fitted on reviews
alone leans on that. Fitted also on the same reviews with their judgements exchanged, under the other label and with a
smaller weight, it leans on what was said (counterfactual augmentation: Kaushik et al. 2020, by automatic edits as Wang
and Culotta 2021). The exchanged text is clumsy, and "not good" becomes "not bad": hence the smaller weight.
"""

from __future__ import annotations

import re

MIN_EXCHANGED = 3  # words exchanged, for a text to count as turned

_PAIRS = """
good bad, great terrible, best worst, better worse, excellent awful, wonderful horrible, amazing dreadful,
brilliant stupid, superb poor, fantastic pathetic, love hate, loved hated, loves hates, loving hating, lovely ugly,
beautiful hideous, beautifully badly, enjoy dislike, enjoyed disliked, enjoys dislikes, enjoyable unbearable,
interesting boring, interested bored, entertaining tedious, funny unfunny, hilarious lame, perfect flawed,
perfectly poorly, fun dull, exciting tiresome, clever dumb, smart idiotic, original unoriginal, fresh stale,
believable unbelievable, convincing unconvincing, realistic unrealistic, memorable forgettable, masterpiece disaster,
gem mess, classic garbage, recommend avoid, recommended avoided, delightful annoying, charming irritating,
touching ridiculous, moving laughable, powerful weak, strong feeble, talented talentless, gripping plodding,
impressive unimpressive, impressed disappointed, outstanding abysmal, succeeds fails, succeeded failed,
success failure, worth wasting, rich shallow, subtle clumsy, satisfying disappointing, satisfied frustrated,
pleased annoyed, superbly terribly, wonderfully horribly, intelligent mindless, compelling uninteresting,
engaging dreary, solid sloppy, effective ineffective, thrilling sluggish, positive negative, joy pain, glad sorry,
pleasure torture, magnificent atrocious, refreshing cliched, inspired uninspired, nice nasty, awesome crappy,
decent lousy, brilliantly stupidly, genius moron, praise blame, strengths flaws, appealing unappealing,
watchable unwatchable, funniest lamest, greatest lousiest, finest poorest, unique generic, pleasant unpleasant,
successfully unsuccessfully, well badly, happy miserable, 10/10 1/10, 9/10 2/10, 8/10 3/10, 7/10 4/10
"""


def _exchanges() -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in _PAIRS.split(","):
        good, bad = pair.split()
        found.setdefault(good, bad)
        found.setdefault(bad, good)
    return found


_OPPOSITE = _exchanges()
_WORD = re.compile(
    rf"(?<![\w/-])(?:{'|'.join(sorted(map(re.escape, _OPPOSITE), key=len, reverse=True))})(?![\w/-])", re.I
)


def opposite(text: str) -> str | None:
    """`text` with its words of judgement exchanged for their opposites, capitals kept; None where it has fewer than
    `MIN_EXCHANGED` of them."""
    turned, count = _WORD.subn(lambda match: _like(match.group(), _OPPOSITE[match.group().lower()]), text)
    return turned if count >= MIN_EXCHANGED else None


def _like(word: str, other: str) -> str:
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
