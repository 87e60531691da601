"""Rules that reword questions, for English and Japanese."""

from __future__ import annotations

import re

__all__ = [
    "ENGLISH",
    "JAPANESE_ENDINGS",
    "JAPANESE_QUESTION",
    "JAPANESE_QUESTION_WORDS",
    "JAPANESE_WORDS",
]


def _rule(pattern: str, *wordings: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL), wordings


_BE = "is|are|was|were"
_AUXILIARY = f"{_BE}|do|does|did|can|could|will|would|has|have|had|should"
_ONE = "i|you|we|one|people"

# The first rule that matches the whole question, without its question mark, is used. People leave out words
# and bend grammar when they ask ("In which place was it made", "price of the ticket"), and so do the rules.
ENGLISH = (
    _rule(
        rf"how (?:do|can|could|should) (?:{_ONE}) (.+)",
        *("How to {}", "Ways to {}", "Steps to {}", "I want to {}", "Please help me {}", "The way to {}"),
    ),
    _rule(
        rf"where (?:do|can|could|should) (?:{_ONE}) (.+)",
        *("Where to {}", "Place to {}", "I want to {}, where is that possible", "Where is it possible to {}"),
    ),
    _rule(
        rf"when (?:do|can|could|should) (?:{_ONE}) (.+)",
        *("When to {}", "Time to {}", "From what time is it possible to {}"),
    ),
    _rule(
        rf"(?:can|could|may) (?:{_ONE}) (.+)",
        *("Is it possible to {}", "I would like to {}", "Am I allowed to {}", "Whether one can {}"),
    ),
    _rule(
        rf"(?:do|must|should) (?:{_ONE}) (?:have to |need to )?(.+)",
        *("Is it necessary to {}", "Am I required to {}", "Whether one has to {}"),
    ),
    _rule(
        r"how long (?:does|do|did|will) (.+?) (?:take|last)",
        *("Duration of {}", "Time needed for {}", "How much time does {} take", "What is the time for {}"),
    ),
    _rule(rf"how long (?:{_BE}) (.+)", "Length of {}", "Duration of {}", "What is the length of {}"),
    _rule(r"how long (.+)", "For what period {}", "For how much time {}"),
    _rule(r"how many (.+)", "Number of {}", "What number of {}", "Count of {}"),
    _rule(
        rf"how much (?:does|do|did|{_BE}) (.+?)(?: cost)?",
        *("Price of {}", "What is the price of {}", "Cost of {}", "What does {} cost"),
    ),
    _rule(rf"how old (?:{_BE}) (.+)", "Age of {}", "What is the age of {}"),
    _rule(rf"how (far|big|large|tall|high|deep) (?:{_BE}) (.+)", "Size: how {} {}", "Dimensions of {1}"),
    _rule(
        rf"when ({_AUXILIARY}) (.+)",
        *("In what year {} {}", "On what date {} {}", "At what time {} {}", "Date: {1}"),
    ),
    _rule(
        rf"where ({_AUXILIARY}) (.+)",
        *("In which place {} {}", "At what location {} {}", "In what part of the world {} {}", "Place: {1}"),
    ),
    _rule(
        rf"why ({_AUXILIARY}) (.+)",
        *("For what reason {} {}", "How come {1}", "What is the reason that {1}", "Reason: {1}"),
    ),
    _rule(r"(?:who|whom) (.+)", "Which person {}", "Name of the person who {}", "The one who {}"),
    _rule(
        rf"what (?:{_BE}) the names? of (.+)",
        *("Name of {}", "What is {} called", "What name does {} have", "How is {} called"),
    ),
    _rule(
        rf"what (?:{_BE}) (.+)",
        *("{}", "Tell me about {}", "I would like to know {}", "Explain {}", "Information on {}"),
    ),
    _rule(r"what (?:kind|type|sort)s? of (.+)", "Which kind of {}", "Which type of {}"),
    _rule(r"what (.+)", "Which {}"),
    _rule(r"which (.+)", "What {}", "I want to know which {}"),
    _rule(
        rf"(?:{_BE}) there (.+)",
        *("{}", "Tell me whether there is {}", "I am looking for {}", "Availability of {}"),
    ),
    _rule(rf"(?:{_AUXILIARY}) (.+)", "{}", "{}, yes or no", "I want to know: {}"),
)

JAPANESE_QUESTION = re.compile(
    r"(.+?)(の)?は、?(いつ|何年|どこ|誰|だれ|何人|いくつ|いくら|なぜ|何)?(?:のこと)?"
    r"(?:ですか|でしたか|でしょうか|だったか|なのか|なの|か)?",
    re.DOTALL,
)
"""A topic, or an action turned into one by の, and possibly a word of `JAPANESE_QUESTION_WORDS`."""

JAPANESE_QUESTION_WORDS = {
    "いつ": (("時期", "日付"), ("何年のこと",)),
    "何年": (("年", "時期"), ("いつ", "いつのこと")),
    "どこ": (("場所",), ("どの場所", "どのあたり")),
    "誰": (("人物",), ("だれ", "どなた")),
    "だれ": (("人物",), ("誰", "どなた")),
    "何人": (("人数",), ("何名",)),
    "いくつ": (("数",), ("何個",)),
    "いくら": (("値段", "料金"), ("どのくらいの金額",)),
    "なぜ": (("理由", "わけ"), ("どうして", "どんな理由から")),
    "何": ((), ("どういうもの",)),
}
"""For each question word: nouns for what it asks, and words that ask the same."""

# The first ending that matches is replaced.
JAPANESE_ENDINGS = (
    ("はありますか", ("の有無", "があるか知りたい", "は用意されていますか")),
    ("はできますか", ("は可能ですか", "の可否", "ができるか知りたい")),
    ("できますか", ("することは可能ですか", "できるか教えてください")),
    ("ですか", ("でしょうか", "か教えてください")),
    ("でしたか", ("だったのでしょうか", "だったか教えてください")),
    ("ましたか", ("ましたでしょうか",)),
)

# Each of these words in a question gives wordings with that word replaced.
JAPANESE_WORDS = (
    ("どのように", ("どうやって", "どんな方法で")),
    ("どのくらい", ("どれくらい", "どの程度")),
    ("どれくらい", ("どのくらい", "どの程度")),
    ("どんな", ("どういう", "どのような")),
    ("どのような", ("どういう", "どんな")),
    ("何という", ("どういう",)),
    ("どこ", ("どの場所", "どの地")),
    ("誰", ("だれ", "どの人")),
    ("なぜ", ("どうして", "どんな理由で")),
    ("何人", ("何名",)),
)
