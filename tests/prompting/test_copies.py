"""Which sentences are copies of each other, and which only look like it."""

from __future__ import annotations

import pytest

from provence_rag.prompting import ContextPassage, build_context


def are_copies(first: str, second: str) -> bool:
    return len(build_context([first, second]).sources) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Bentz patented the filter.", "Bentz patented the filter."),
        ("Bentz patented the filter.", "BENTZ patented the  filter"),
        ("Bentz patented the “filter”.", 'Bentz patented the "filter".'),
        ("Bentz patented the filter.", "Bentz patented the filter.[2][14]"),
        ("Bentz patented the filter.", "**Bentz** patented the filter!"),
        ("However, Bentz patented the filter.", "Bentz also patented a filter."),
        ("The filter was not patented.", "The filter wasn't patented."),
        ("The filter cannot be patented.", "The filter can’t be patented."),
        ("A well-known paper filter.", "A well known paper filter."),
        ("Prices rose by 3 %.", "Prices rose by 3%."),
        ("From 1908–1910 it sold well in Dresden.", "From 1908-1910 it sold well in Dresden."),
        ("Ｔｏｋｙｏ は日本の首都です。", "Tokyoは日本の首都です"),
        ("また、煎茶は70度の湯でいれる。", "煎茶は７０度の湯で いれる。"),
        ("東京は日本の首都である。", "東京は、日本の首都である。"),
        ("「東京」は日本の首都である。", "東京は 日本の首都である！"),
        ("ジョン・スミスは2人目の首相です。", "ジョンスミスは、2人目の首相です｡"),
        ("北京是中国的首都，有2000万人。", "北京是中国的首都有2000万人。"),
        ("Ｃａｆｅ\u0301 Müller opened in Zürich.", "Café Müller opened in Zürich."),
    ],
)
def test_copies(first: str, second: str) -> None:
    assert are_copies(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Prices rose by 3 % last year.", "Prices rose by 5 % last year."),
        ("Prices rose by 3.5 % last year.", "Prices rose by 35 % last year."),
        ("Prices rose by 3 % last year.", "Prices rose by 3 points last year."),
        ("Prices cost $5 on average there.", "Prices cost €5 on average there."),
        ("It was -5 degrees in Oslo today.", "It was 5 degrees in Oslo today."),
        ("It was - 5 degrees in Oslo today.", "It was 5 degrees in Oslo today."),
        ("The area is 5² metres in all.", "The area is 52 metres in all."),
        ("The train leaves Oslo at 10:30.", "The train leaves Oslo at 1030."),
        ("Values of x < 5 are fine.", "Values of x > 5 are fine."),
        ("Prices rose by 3 % last year.", "Prices fell by 3 % last year."),
        ("The drug is safe for adults.", "The drug is not safe for adults."),
        ("The drug is safe for adults.", "The drug isn't safe for adults."),
        ("The drug is safe for adults.", "The drug is never safe for adults."),
        ("This law is legal in Ohio.", "This law is illegal in Ohio."),
        ("Penguins and seals live on ice.", "Penguins or seals live on ice."),
        ("Melitta Bentz patented the filter.", "Melissa Bentz patented the filter."),
        ("Boston beat Denver in the final.", "Denver beat Boston in the final."),
        ("Hepatitis A is treatable today.", "Hepatitis B is treatable today."),
        ("Hepatitis A is treatable today.", "Hepatitis is treatable today."),
        ("C++ is a language of systems.", "C is a language of systems."),
        ("C# is a language of systems.", "C is a language of systems."),
        ("The filter is open today.", "The filter is open today?"),
        ("See table [2] for the results.", "See table [3] for the results."),
        ("if (!ready) return the value;", "if (ready) return the value;"),
        ("この薬は安全である。", "この薬は安全でない。"),
        ("東京は人口1400万人です。", "東京は人口1300万人です。"),
        ("利用者は3、5人です。", "利用者は35人です。"),
        ("成長率は3.5%である。", "成長率は35%である。"),
        ("気温は-5度である。", "気温は5度である。"),
        ("田中は社長に就任した。", "中田は社長に就任した。"),
        # what these say depends on what stands before them
        ("Yes, indeed.", "Yes, indeed."),
        ("1905年に東京で生まれた。", "1905年に東京で生まれた。"),
        ("彼は1905年に東京で生まれた。", "彼は1905年に東京で生まれた。"),
        ("他于1905年出生在东京。", "他于1905年出生在东京。"),
        ("She patented the filter in 1908.", "She patented the filter in 1908."),
    ],
)
def test_no_copies(first: str, second: str) -> None:
    # The sentences before them say that they are about different things.
    assert not are_copies(f"Apples are red.\n\n{first}", f"Bananas are yellow.\n\n{second}")
    if first != second:
        assert not are_copies(first, second)


def test_whole_passages_are_copies_even_if_they_begin_with_a_pronoun() -> None:
    assert are_copies("He died in 1905. Paris mourned.", "He died in 1905. Paris mourned!")
    assert not are_copies("He died in 1905.", "He died in 1905. Paris mourned.")


def test_what_a_definite_sentence_is_about_is_in_the_one_before() -> None:
    first, second = (f"The {name} kettle boils. The warranty is two years." for name in ("X200", "X100"))
    assert str(build_context([first, second])).count("The warranty is two years.") == 2
    assert str(build_context([first, f"{first} Tea is hot."])).count("The warranty is two years.") == 1


def test_text_without_words_is_no_copy() -> None:
    assert not are_copies("* * *", "* * *")


def test_a_long_chain_of_pronouns() -> None:
    text = "He ran away. " * 1500
    assert are_copies(text, text)


# --- documents of adapters, which hold only what pruning has left ------------------------------------------


def of_adapter(document: str, *kept: str) -> ContextPassage:
    """What an adapter gives of a document of which these parts are left."""
    spans = [[start := document.index(part), start + len(part)] for part in kept]
    return ContextPassage(text=" ".join(kept), kept_spans=spans, original_length=len(document))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Verne wrote novels.", "Monet painted gardens.", "He died in 1905."),
        ("ヴェルヌは小説を書いた。", "モネは庭園を描いた。", "1905年に東京で生まれた。"),
    ],
)
def test_a_pruned_document_whose_subject_was_removed_is_no_copy(first: str, second: str, same: str) -> None:
    documents = [f"{first} {same}", f"{second} {same}"]
    context = build_context([of_adapter(document, same) for document in documents])
    assert context.text == f"[1] {same}\n\n[2] {same}"
    for number, source in enumerate(context.sources):
        assert [(span.index, documents[number][span.start : span.end]) for span in source.spans] == [
            (number, same)
        ]


def test_a_sentence_after_a_gap_is_no_copy() -> None:
    mourned, died = "Paris mourned Verne.", "He died in 1905."
    passages = [
        of_adapter(f"{mourned} {other} {died}", mourned, died)
        for other in ("Monet was ill.", "Nadar was ill, too.")
    ]
    context = build_context(passages)
    assert context.text == f"[1] {mourned} {died}\n\n[2] {died}"
    assert [span.index for span in context.sources[0].spans] == [0, 0, 1]


def test_a_sentence_within_a_piece_of_a_pruned_document_may_be_a_copy() -> None:
    life = "Verne wrote novels. He died in 1905."
    assert len(build_context([life, of_adapter(f"It rained. {life} Then it rained.", life)]).sources) == 1


def test_documents_that_lost_nothing_are_copies_as_a_whole() -> None:
    documents = ["He died in 1905. Paris mourned.", " He died in 1905. Paris mourned.\n"]
    passages = [
        ContextPassage(text=text, kept_spans=[[start, start + 31]], original_length=len(text))
        for start, text in enumerate(documents)
    ]
    (source,) = build_context(passages).sources
    assert [(span.index, span.start, span.end) for span in source.spans] == [(0, 0, 31), (1, 1, 32)]


def test_texts_that_were_changed_after_pruning_are_no_copies() -> None:
    passages = [ContextPassage(text="From x: He died.", kept_spans=[[20, 28]]) for _ in range(2)]
    assert len(build_context(passages).sources) == 2
