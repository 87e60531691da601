"""From passages to the context of a prompt: one number per source, no sentence twice, within a budget."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from provence_rag.errors import InvalidInputError
from provence_rag.hub import BUNDLED
from provence_rag.inference.assembly import assemble
from provence_rag.inference.encoding import PairTokenizer
from provence_rag.prompting.context import ContextSource, PromptContext
from provence_rag.prompting.copies import sentence_keys
from provence_rag.prompting.passages import CutPassage, Passage, cut_passages
from provence_rag.prompting.template import SEPARATOR, SourceTemplate
from provence_rag.validation import check_count, check_flag, shown

__all__ = ["Order", "build_context"]

Order = Literal["best-first", "edges", "given"]

TokenCounter = Callable[[str], int]


def build_context(
    passages: Iterable[Passage],
    *,
    max_tokens: int | None = None,
    citations: bool = True,
    order: Order = "best-first",
    template: str | None = None,
    count_tokens: TokenCounter | None = None,
) -> PromptContext:
    """Join pruned passages for a prompt: numbered, without repetitions, within a budget.

    Each passage is a source with one number, which stands for all that is sent of it.

    A sentence that occurs in several passages is sent once, with the best of them, whose number then stands
    for all its places. Copies may differ in case, white space, punctuation, forms of a character (NFKC),
    articles and linking words, and in nothing else. A sentence with a pronoun is a copy only if the sentence
    before it is one too, and is sent with it where both were kept. If the sentence before it is unknown,
    because an adapter has only the pruned text, it is no copy. What belongs together (`Sentence.needs`), such
    as a table or an answer with its question, is compared, kept and left out as a whole.

    A text cannot forge a source: `[2]` in it is written as `[ 2 ]`, and tags of the template begin with
    `&lt;`.

    Args:
        passages: What `Provence.process` returns, strings, or `ContextPassage`; `(id, passage)` for a
            passage or a string with an id. Without an id, citations have the position of the document: of a
            `PrunedPassage` its `index`, among the documents given to `process`; of others the position in
            this list. Empty passages are left out.
        max_tokens: Maximum number of tokens of the text, with numbers, template and separators. The best
            sentences come first, by their keep probability, or in the order of the passages unless it is
            known for all of them. One that no longer fits is left out, whole; shorter ones after it may fit.
        citations: Whether sources have numbers.
        order: `best-first` by score, or in the order given unless all passages have one; `edges`: the best
            at both ends, the worst in the middle, where models overlook most (Liu et al., "Lost in the
            Middle", TACL 2024, arXiv 2307.03172); `given`: in the order of `passages`.
        template: How a source looks, with the fields `{number}`, `{id}`, `{title}` and `{text}`; None is
            `[{number}] {text}`, or `{text}` without citations. With citations it has to show `[{number}]` or
            a tag with the number, such as `<source id="{number}">`. A line with a title is left out for a
            source without one.
        count_tokens: Counts the tokens of a text, for `max_tokens`; None is the tokenizer of the bundled
            checkpoint. `Provence.count_tokens` is that of any checkpoint.

    Raises:
        InvalidInputError: An argument has a value that cannot be used, citations could not tell two documents
            apart, or `count_tokens` counts more than `max_tokens` for an empty text.
    """
    if max_tokens is not None:
        check_count("max_tokens", max_tokens, 1)
    check_flag("citations", citations)
    if order not in get_args(Order):
        raise InvalidInputError(f"order must be one of {', '.join(get_args(Order))}, got {shown(order)}")
    if count_tokens is not None and not callable(count_tokens):
        raise InvalidInputError(f"count_tokens must be a function of a text, got {shown(count_tokens)}")
    layout = SourceTemplate(template, citations=citations)
    cut = cut_passages(passages)
    ranked = _by_score(cut)
    blocks, copies = _without_copies(ranked)
    draft = _Draft(cut if order == "given" else ranked, order, layout, copies)
    chosen, num_tokens = blocks, None
    if max_tokens is not None:
        counter = _Counter(_bundled_counter() if count_tokens is None else count_tokens)
        chosen, num_tokens = _within_budget(draft, blocks, max_tokens, counter)
    taken = set(map(id, chosen))
    rest = [block for block in blocks if id(block) not in taken]
    return PromptContext(
        text=draft.text(chosen),
        sources=tuple(draft.sources(chosen)),
        left_out=tuple(span for block in rest for span in block.passage.cited(block.sentences)),
        num_tokens=num_tokens,
        citations=citations,
        documents={(one.id, one.index): one.document for one in cut if one.document is not None},
    )


@dataclass(frozen=True)
class _Block:
    """Sentences of one passage that are sent together or not at all."""

    passage: CutPassage

    sentences: tuple[int, ...]
    """Their numbers, in order."""

    @property
    def score(self) -> float | None:
        """The keep probability of the best one."""
        scores = self.passage.scores
        return None if scores is None else max(scores[number] or 0.0 for number in self.sentences)


_Copies = dict[int, list[_Block]]
"""The copies that are not sent of a block, by its identity."""


def _by_score(passages: Sequence[CutPassage]) -> list[CutPassage]:
    scores = [passage.score for passage in passages]
    if None in scores:
        return list(passages)
    return sorted(passages, key=lambda passage: -(passage.score or 0.0))


def _blocks(passage: CutPassage) -> list[_Block]:
    """Join kept sentences that need each other, directly or through others."""
    parent = {number: number for number in passage.kept}

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    for number in passage.kept:
        for needed in passage.needs.get(number, ()):
            if needed in parent:
                first, second = sorted((root(number), root(needed)))
                parent[second] = first
    members: defaultdict[int, list[int]] = defaultdict(list)
    for number in passage.kept:
        members[root(number)].append(number)
    return [_Block(passage, tuple(numbers)) for numbers in members.values()]


@dataclass(frozen=True, eq=False)
class _Comparable:
    """A block and what it is compared by."""

    block: _Block

    digests: tuple[bytes, ...]
    """Those of its sentences with words; equal for copies."""

    depths: tuple[int, ...]
    """For each of them, how many kept sentences lead up to it, each of which is the context of the next."""

    contexts: tuple[int, ...]
    """Numbers of the kept sentences that are the context of its own."""

    def is_in(self, other: _Comparable) -> bool:
        """Whether a copy is sent with at least the context that this one has."""
        return all(own <= others for own, others in zip(self.depths, other.depths, strict=True))


def _comparable(passage: CutPassage) -> list[_Comparable]:
    sentences = [passage.text[start:end] for start, end in passage.spans]
    keys = sentence_keys(sentences, gaps=passage.gaps, passage=passage.position)
    depths: dict[int, int] = {}
    for number in passage.kept:
        context = keys[number].context
        depths[number] = 0 if context is None or context not in depths else 1 + depths[context]
    result = []
    for block in _blocks(passage):
        worded = [(number, d) for number in block.sentences if (d := keys[number].digest) is not None]
        contexts = [c for number in block.sentences if (c := keys[number].context) is not None]
        result.append(
            _Comparable(
                block=block,
                digests=tuple(digest for _, digest in worded),
                depths=tuple(depths[number] for number, _ in worded),
                contexts=tuple(context for context in contexts if context in depths),
            )
        )
    return result


def _without_copies(passages: Sequence[CutPassage]) -> tuple[list[_Block], _Copies]:
    """The blocks to send, best passage first, and for each the copies that need not be sent."""
    owners: dict[tuple[bytes, ...], _Comparable] = {}
    blocks: list[_Block] = []
    copies: _Copies = defaultdict(list)
    for passage in passages:
        own = _comparable(passage)
        with_sentence = {number: one for one in own for number in one.block.sentences}
        found = {one: owners[one.digests] for one in own if one.digests in owners}
        waiting = [one for one in own if one not in found or not one.is_in(found[one])]
        sent = set(waiting)
        while waiting:  # what is sent takes its context along
            needed = {with_sentence[number] for number in waiting.pop().contexts} - sent
            sent |= needed
            waiting += needed
        for one in own:
            if one not in sent:
                copies[id(found[one].block)].append(one.block)
                continue
            blocks.append(one.block)
            # Looked up again, since a passage may repeat itself.
            owner = owners.get(one.digests)
            if one.digests and (owner is None or not one.is_in(owner)):
                owners[one.digests] = one
    return blocks, copies


class _Draft:
    """Writes chosen blocks as a context.

    Args:
        passages: The passages, best first, or in the order of the caller with `order="given"`.
        order: As in `build_context`.
        template: How a source looks.
        copies: See `_without_copies`.
    """

    def __init__(
        self, passages: Sequence[CutPassage], order: Order, template: SourceTemplate, copies: _Copies
    ) -> None:
        self._passages = passages
        self._order = order
        self._template = template
        self._copies = copies

    def sources(self, blocks: Iterable[_Block]) -> list[ContextSource]:
        """The sources of these blocks, in the order of the text."""
        by_passage: defaultdict[int, list[_Block]] = defaultdict(list)
        for block in blocks:
            by_passage[block.passage.position].append(block)
        used = [passage for passage in self._passages if passage.position in by_passage]
        if self._order == "edges":
            used = used[::2] + used[1::2][::-1]
        return [
            self._source(number, passage, by_passage[passage.position])
            for number, passage in enumerate(used, start=1)
        ]

    def _source(self, number: int, passage: CutPassage, blocks: Sequence[_Block]) -> ContextSource:
        sentences = _sentences(blocks)
        spans = passage.cited(sentences)
        elsewhere: defaultdict[int, list[_Block]] = defaultdict(list)
        for block in blocks:
            for copy in self._copies.get(id(block), ()):
                elsewhere[copy.passage.position].append(copy)
        for own in elsewhere.values():
            # A document may be given twice, pruned by two questions.
            spans += [span for span in own[0].passage.cited(_sentences(own)) if span not in spans]
        return ContextSource(
            number=number,
            id=passage.id,
            index=passage.index,
            title=passage.title,
            score=passage.score,
            text=self._template.shown(_assembled(passage, sentences)),
            spans=tuple(spans),
        )

    def text(self, blocks: Iterable[_Block]) -> str:
        """The text of the context."""
        return SEPARATOR.join(
            self._template.source(number=one.number, id_=one.id, title=one.title, text=one.text)
            for one in self.sources(blocks)
        )

    def frame(self, passage: CutPassage) -> str:
        """What a source adds to its text: the template and a separator."""
        number = len(self._passages)
        return SEPARATOR + self._template.source(number=number, id_=passage.id, title=passage.title, text="")

    def part(self, block: _Block) -> str:
        """The text of a block alone, with what separates it from the one before it."""
        return "\n" + self._template.shown(_assembled(block.passage, block.sentences))


def _sentences(blocks: Iterable[_Block]) -> list[int]:
    return sorted(number for block in blocks for number in block.sentences)


def _assembled(passage: CutPassage, sentences: Sequence[int]) -> str:
    mask = np.zeros(len(passage.spans), dtype=bool)
    mask[list(sentences)] = True
    return assemble(passage.text, passage.spans, mask)


class _Counter:
    """Counts tokens with a function of the user's, and checks what it returns."""

    def __init__(self, count: TokenCounter) -> None:
        self._count = count

    def __call__(self, text: str) -> int:
        number = self._count(text)
        check_count("count_tokens(text)", number, 0)
        return int(number)


@lru_cache(maxsize=1)
def _bundled_counter() -> TokenCounter:
    tokenizer = PairTokenizer.from_directory(BUNDLED)
    return lambda text: len(tokenizer.tokenize([text])[0])


def _within_budget(
    draft: _Draft, blocks: Sequence[_Block], max_tokens: int, count: TokenCounter
) -> tuple[list[_Block], int]:
    """The best blocks whose text fits, and its length.

    Parts are counted once, by themselves. Their sum is nearly the length of the whole, which is counted in
    the end; if that is too long, less is taken.
    """
    total = count(draft.text(blocks))
    if total <= max_tokens:
        return list(blocks), total
    nothing = count("")  # special tokens, if the function counts them
    if nothing > max_tokens:
        raise InvalidInputError(
            f"count_tokens counts {nothing} tokens for an empty text, more than max_tokens={max_tokens}: "
            "let it count the tokens of the text alone, or raise max_tokens"
        )
    costs = [count(draft.part(block)) - nothing for block in blocks]
    passages = {block.passage.position: block.passage for block in blocks}
    frames = {position: count(draft.frame(passage)) - nothing for position, passage in passages.items()}
    ranked: Sequence[int] = range(len(blocks))
    scores = [block.score for block in blocks]
    if None not in scores:
        ranked = sorted(ranked, key=lambda number: -(scores[number] or 0.0))
    room = max_tokens
    while True:
        chosen = _fitting(ranked, blocks, costs, frames, room - nothing)
        total = count(draft.text(chosen))
        if total <= max_tokens or not chosen:
            return chosen, total
        room -= total - max_tokens


def _fitting(
    ranked: Sequence[int],
    blocks: Sequence[_Block],
    costs: Sequence[int],
    frames: dict[int, int],
    room: int,
) -> list[_Block]:
    """Take blocks in the order of `ranked` as long as they fit; in the order of `blocks`."""
    taken: set[int] = set()
    begun: set[int] = set()
    for number in ranked:
        position = blocks[number].passage.position
        cost = costs[number] + (0 if position in begun else frames[position])
        if cost <= room:
            room -= cost
            taken.add(number)
            begun.add(position)
    return [block for number, block in enumerate(blocks) if number in taken]
