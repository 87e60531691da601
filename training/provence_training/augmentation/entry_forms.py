"""Pages of questions with their answers: FAQ, dialogues, lists under lead-ins."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from provence_training.augmentation.page import Page
from provence_training.augmentation.pool import Entry, Item, Pool
from provence_training.augmentation.wordings import keywords

__all__ = ["dialogue", "faq", "lead_in_list"]

_FAQ = {
    "en": (
        "Q: {question}\nA: {answer}",
        "Question: {question}\nAnswer: {answer}",
        "Q{number}. {question}\nA{number}. {answer}",
        "Customer: {question}\nAgent: {answer}",
        "**{question}**\n{answer}",
        "**{question}**\n\n{answer}",
        "## {question}\n{answer}",
        "### {question}\n\n{answer}",
        "> {question}\n\n{answer}",
        "{number}. {question}\n{answer}",
        "{number}) {question}\n   {answer}",
        "- {question} {answer}",
        "* {question}\n  {answer}",
        "{question} {answer}",
        "{question}\n{answer}",
        "{question}\n\n{answer}",
        "{question}\n: {answer}",
        "{question}\n- {answer}",
    ),
    "ja": (
        "Q. {question}\nA. {answer}",
        "Q：{question}\nA：{answer}",
        "Q{number} {question}\nA{number} {answer}",
        "問：{question}\n答：{answer}",
        "質問：{question}\n回答：{answer}",
        "お客様：{question}\n担当：{answer}",
        "■{question}\n{answer}",
        "・{question}\n→{answer}",
        "【{question}】\n{answer}",
        "### {question}\n\n{answer}",
        "**{question}**\n{answer}",
        "{number}．{question}\n{answer}",
        "{question}\n{answer}",
        "{question}\n\n{answer}",
    ),
}
_HEADINGS = {
    "en": ("Frequently asked questions", "FAQ", "Help", "Good to know", "Your questions, our answers"),
    "ja": ("よくある質問", "FAQ", "ヘルプ", "ご質問と回答"),
}
_SPEAKERS = {
    "en": (
        "Ana",
        "Ben",
        "Carl",
        "Dora",
        "Emil",
        "Fay",
        "Gus",
        "Hana",
        "Ivo",
        "June",
        "Kai",
        "Lena",
        "Milo",
        "Nora",
    ),
    "ja": ("田中", "佐藤", "鈴木", "高橋", "伊藤", "渡辺", "山本", "中村", "小林", "加藤"),
}
_COLON = {"en": ": ", "ja": "："}
_BULLETS = {"en": ("- ", "* ", "• ", "{number}. "), "ja": ("・", "- ", "{number}. ")}
_SHORT_ANSWER = 40
_OPENINGS = ("Yes, {}", "It is {}", "Usually {}", "That would be {}")


def faq(pool: Pool, rng: Random) -> Page | None:
    """Questions and answers in one of the layouts of FAQ pages, the same for the whole page."""
    if not (entries := pool.entries(rng)):
        return None
    layout = rng.choice(_FAQ[pool.language])
    separator = "\n\n" if rng.random() < 0.75 else "\n"
    page = Page()
    if rng.random() < 0.3:
        page.write(f"{rng.choice(('# ', ''))}{rng.choice(_HEADINGS[pool.language])}\n\n")
    _write_filler(page, pool, entries, rng, chance=0.2, layout="{}\n\n")
    for number, entry in enumerate(entries, 1):
        answer = _reply(entry.item, pool.language, rng)
        _write_entry(page, entry, layout.format(question=entry.printed, answer=answer, number=number))
        page.write(separator)
    _write_filler(page, pool, entries, rng, chance=0.2)
    return page


def dialogue(pool: Pool, rng: Random) -> Page | None:
    """One speaker asks and another answers; now and then one says something else."""
    if not (entries := pool.entries(rng)):
        return None
    asking, answering = speakers = rng.sample(_SPEAKERS[pool.language], 2)
    colon = _COLON[pool.language]
    page = Page()
    for entry in entries:
        _write_filler(page, pool, entries, rng, chance=0.5, layout=f"{rng.choice(speakers)}{colon}{{}}\n")
        reply = _reply(entry.item, pool.language, rng)
        _write_entry(page, entry, f"{asking}{colon}{entry.printed}\n{answering}{colon}{reply}")
        page.write("\n")
    return page


def lead_in_list(pool: Pool, rng: Random) -> Page | None:
    """A line with a colon and, below it, all parts of its answer as bullets, or the answer as prose."""
    if not (entries := pool.entries(rng, lists=rng.random() < 0.5)):
        return None
    colon = _COLON[pool.language].rstrip()
    page = Page()
    for entry in entries:
        _write_filler(page, pool, entries, rng, chance=0.6, layout="{}\n\n")
        lead = entry.printed if entry.reworded else keywords(entry.printed, pool.language)
        lead = lead[:1].upper() + lead[1:].rstrip("?？")
        if len(entry.item.parts) > 1:
            bullet = rng.choice(_BULLETS[pool.language])
            lines = [bullet.format(number=n) + answer for n, answer in enumerate(entry.item.parts, 1)]
        else:
            lines = [_reply(entry.item, pool.language, rng)]
        _write_entry(page, entry, "\n".join([f"{lead}{colon}", *lines]))
        page.write("\n\n")
    return page


def _write_entry(page: Page, entry: Entry, text: str) -> None:
    """Write an entry. Its question and answer are marked together, since neither makes sense alone."""
    start = page.end
    page.write(text)
    page.ask(entry.query, [(start, page.end)], reworded=entry.reworded)


def _write_filler(
    page: Page, pool: Pool, entries: Sequence[Entry], rng: Random, *, chance: float, layout: str = "{}"
) -> None:
    if rng.random() < chance and (sentence := pool.filler(entries, rng)):
        page.write(layout.format(sentence))


def _reply(item: Item, language: str, rng: Random) -> str:
    """The answer as people give it: in a word or two, or as the passage's sentence and the one after it."""
    if rng.random() < 0.45:
        reply = item.answer
        if language == "en" and len(reply) <= _SHORT_ANSWER and rng.random() < 0.2:
            reply = rng.choice(_OPENINGS).format(reply)
        reply = reply[:1].upper() + reply[1:]
        if reply[-1] not in ".。!?！？":
            reply += "。" if language == "ja" else "."
    else:
        reply = item.sentence
    if item.following and len(item.following) <= 220 and rng.random() < 0.2:
        reply += ("" if language == "ja" else " ") + item.following
    return reply
