from __future__ import annotations

import re

import pytest

from provence_rag import InvalidInputError, PruningOptions
from provence_rag.testing import fake_provence

DOCUMENTS = ["The market fell today.", "Penguins live on ice. They eat fish. The weather is fine."]
QUERY = "Where do penguins live?"


def test_the_example_users_will_write() -> None:
    first, second = fake_provence().process(QUERY, DOCUMENTS)
    assert (first.text, second.text) == ("", "Penguins live on ice.")
    assert first.score is not None
    assert second.score is not None
    assert first.score < 0.1 < 0.7 < second.score


def test_it_is_deterministic() -> None:
    assert fake_provence().process(QUERY, DOCUMENTS) == fake_provence().process(QUERY, DOCUMENTS)


def test_words_count_whatever_their_case_and_script() -> None:
    (passage,) = fake_provence().process("首都 TOKYO", ["Tokyo is big. 東京は日本の首都。 猫がいる。"])
    assert [sentence.kept for sentence in passage.sentences] == [True, True, False]


@pytest.mark.parametrize(("can_rank", "can_prune"), [(True, True), (True, False), (False, True)])
def test_heads(can_rank: bool, can_prune: bool) -> None:
    model = fake_provence(can_rank=can_rank, can_prune=can_prune)
    assert (model.config.can_rank, model.config.can_prune) == (can_rank, can_prune)
    passage = model.process(QUERY, DOCUMENTS)[1]
    assert (passage.score is None) is not can_rank
    assert (passage.sentences[0].score is None) is not can_prune
    assert (passage.text == DOCUMENTS[1]) is not can_prune


def test_a_model_that_does_nothing() -> None:
    with pytest.raises(InvalidInputError, match="can_rank and can_prune are both False"):
        fake_provence(can_rank=False, can_prune=False)


@pytest.mark.parametrize("max_length", [0, 15, True])
def test_a_window_that_is_none(max_length: int) -> None:
    message = f"max_length must be an integer >= 16, got {max_length!r}"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        fake_provence(max_length=max_length)


def test_it_takes_what_a_calibrated_checkpoint_takes() -> None:
    text = "Penguins live on ice. Cold penguins swim. The weather is fine."
    texts = [fake_provence().prune(QUERY, text, keep_answers=share) for share in (0.9, 0.95, 0.97, 0.99)]
    assert texts == [
        "Penguins live on ice.",
        *["Penguins live on ice. Cold penguins swim."] * 3,
    ]


def test_small_windows_do_not_change_what_is_kept() -> None:
    options = PruningOptions(threshold=0.2)
    long = DOCUMENTS[1] * 20
    texts = {
        fake_provence(max_length=n).process(QUERY, [long], options=options)[0].text for n in (16, 64, 4096)
    }
    assert len(texts) == 1


def test_it_says_that_it_is_a_fake() -> None:
    assert repr(fake_provence()) == "Provence(backend='fake', device='cpu')"
