"""Pages of many forms, made from passages with questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from provence_rag.errors import InvalidInputError
from provence_rag.validation import check_count, check_share
from provence_training.augmentation.forms import FORMS, LANGUAGES, Form
from provence_training.augmentation.page import AskedQuestion
from provence_training.augmentation.pool import Pool
from provence_training.augmentation.wordings import Wordings, keywords

if TYPE_CHECKING:
    from provence_training.data.passages import Passage

__all__ = ["AugmentedPage", "augment"]

_QUESTIONS = 3
"""Most questions asked about a page, since each is read with the whole page."""

_KEYWORD_QUERIES = 0.12
"""Share of the questions asked as keywords."""

_TRIES = 50
"""Draws of passages or entries for one page."""


@dataclass(frozen=True, kw_only=True)
class AugmentedPage:
    """A finished page."""

    id: str
    form: str
    language: str
    text: str
    questions: tuple[AskedQuestion, ...]
    """At least one."""

    def to_record(self) -> dict[str, Any]:
        """The page as training data, in the shape with answer spans that `load_passages` reads."""
        questions = [
            {
                "id": f"{self.id}-{number}",
                "question": question.text,
                "answers": [{"start": start, "end": end} for start, end in question.answers],
            }
            for number, question in enumerate(self.questions)
        ]
        return {"id": self.id, "lang": self.language, "title": "", "text": self.text, "questions": questions}


def augment(
    passages: Sequence[Passage],
    *,
    count: int,
    forms: Sequence[str] = tuple(FORMS),
    languages: Sequence[str] = LANGUAGES,
    paraphrase: float = 0.3,
    wordings: Wordings | None = None,
    seed: int = 0,
) -> Iterator[AugmentedPage]:
    """Make pages of other forms from passages with questions and marked answers.

    Args:
        passages: From `load_passages`. Questions without marked answers are not used.
        count: Pages to make, >= 1.
        forms: Names of `FORMS`; each page has one of them, drawn by their shares.
        languages: Some of `LANGUAGES`; each is drawn as often as it has passages with marked answers.
        paraphrase: Share of the entries of FAQ pages, dialogues, lists and records, in [0, 1], whose query
            words the question differently from the page. An entry without another wording keeps its own.
        wordings: Source of other wordings; by default rules and keywords.
        seed: The same seed gives the same pages; a larger `count` adds pages.

    Returns:
        The pages, made one by one.

    Raises:
        InvalidInputError: An argument has a value that cannot be used or that the passages do not allow;
            while pages are made, if a form cannot be made from the passages.
    """
    check_count("count", count, 1)
    check_share("paraphrase", paraphrase)
    _check_names("forms", forms, FORMS)
    _check_names("languages", languages, dict.fromkeys(LANGUAGES))
    wordings = wordings or Wordings()
    pools = [Pool(passages, language, wordings, paraphrase) for language in dict.fromkeys(languages)]
    pools = [pool for pool in pools if pool.size]
    if not pools:
        raise InvalidInputError(
            f"passages must have questions with marked answers in {' or '.join(languages)}, got none"
        )
    chosen = [FORMS[name] for name in dict.fromkeys(forms)]
    choices = {pool: [form for form in chosen if pool.language in form.languages] for pool in pools}
    if without := [pool.language for pool, found in choices.items() if not found]:
        raise InvalidInputError(
            f"forms must include one for each language: {', '.join(forms)} cannot be made in {without[0]}; "
            "add another form, or remove the language from languages"
        )
    return (_page(choices, number, seed) for number in range(count))


def _page(choices: Mapping[Pool, Sequence[Form]], number: int, seed: int) -> AugmentedPage:
    # One random generator per page, so that a page does not depend on those before it.
    rng = Random(f"{seed} {number}")
    (pool,) = rng.choices(list(choices), [pool.size for pool in choices])
    (form,) = rng.choices(choices[pool], [form.share for form in choices[pool]])
    for _ in range(_TRIES):
        if page := form.make(pool, rng):
            asked = rng.sample(page.questions, min(_QUESTIONS, len(page.questions)))
            return AugmentedPage(
                id=f"{form.name}-{pool.language}-{seed}-{number}",
                form=form.name,
                language=pool.language,
                text=page.text,
                questions=tuple(_as_asked(question, pool.language, rng) for question in asked),
            )
    raise InvalidInputError(
        f"no page of form {form.name!r} in {pool.language} could be made of the passages in {_TRIES} draws: "
        "remove it from forms, or add passages with short answers and several sentences"
    )


def _as_asked(question: AskedQuestion, language: str, rng: Random) -> AskedQuestion:
    if question.reworded or rng.random() >= _KEYWORD_QUERIES:
        return question
    return AskedQuestion(text=keywords(question.text, language), answers=question.answers, reworded=False)


def _check_names(name: str, values: Sequence[str], known: Mapping[str, Any]) -> None:
    if not values or not set(values) <= set(known):
        raise InvalidInputError(
            f"{name} must be some of {', '.join(known)}, got {', '.join(values) or 'none'}"
        )
