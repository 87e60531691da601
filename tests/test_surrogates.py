from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provence_rag.languages import language_code
from provence_rag.surrogates import without_surrogates


@given(st.text(st.characters()))  # lone surrogates as well
def test_any_text_can_be_encoded_without_its_surrogates(text: str) -> None:
    encodable = without_surrogates(text)
    encodable.encode()
    assert len(encodable) == len(text)  # offsets stay
    changed = [(a, b) for a, b in zip(text, encodable, strict=True) if a != b]
    assert all("\ud800" <= a <= "\udfff" and b == "\ufffd" for a, b in changed)


def test_the_code_of_a_language_has_no_region() -> None:
    assert [language_code(name) for name in ("en", "zh-TW", "pt_BR", "ZH")] == ["en", "zh", "pt", "zh"]
