"""The forms of pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from provence_training.augmentation.entry_forms import dialogue, faq, lead_in_list
from provence_training.augmentation.page import Page
from provence_training.augmentation.passage_forms import (
    as_html,
    bullets,
    captions,
    glued,
    logs,
    one_passage,
    sections,
    unpunctuated,
    wrapped,
)
from provence_training.augmentation.pool import Pool
from provence_training.augmentation.record_forms import records

__all__ = ["FORMS", "LANGUAGES", "Form"]

LANGUAGES = ("en", "ja")
"""Languages with layouts."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form of text.

    To add a form, write its function and put it into `FORMS`.
    """

    name: str

    description: str
    """Its looks, in a few words for the command's help."""

    share: int
    """How often it is drawn, relative to the other forms."""

    make: Callable[[Pool, Random], Page | None]
    """Draws passages or entries from the pool and lays them out, with their questions and answer spans;
    None if they cannot be put into this form."""

    languages: tuple[str, ...] = LANGUAGES


FORMS = {
    form.name: form
    for form in (
        Form(name="faq", description="questions with answers, in many layouts", share=14, make=faq),
        Form(name="dialogue", description="one speaker asks, another answers", share=5, make=dialogue),
        Form(name="list", description="answers as bullets under a lead-in", share=4, make=lead_in_list),
        Form(
            name="records",
            description="JSON, CSV, TSV, YAML, XML, HTML and Markdown tables, key-value lines",
            share=16,
            make=records,
        ),
        Form(name="sections", description="several passages under headings", share=18, make=sections),
        Form(
            name="wrapped",
            description="lines of a fixed width, some hyphenated or quoted",
            share=10,
            make=one_passage(wrapped),
        ),
        Form(name="bullets", description="each sentence a list item", share=8, make=one_passage(bullets)),
        Form(name="html", description="paragraphs or lists in tags", share=6, make=one_passage(as_html)),
        Form(name="captions", description="a few words at a time", share=5, make=one_passage(captions)),
        Form(name="logs", description="each sentence a line of a log", share=5, make=one_passage(logs)),
        Form(
            name="unpunctuated",
            description="no punctuation, often no capitals",
            share=5,
            make=one_passage(unpunctuated),
        ),
        Form(
            name="glued",
            description="no space between sentences",
            share=4,
            make=one_passage(glued),
            languages=("en",),
        ),
    )
}
"""All forms by name."""
