"""Each family against its rules, written out plainly on stock modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from provence_rag import Provence, PruningOptions
from provence_rag.modeling.model import ProvenceModel

QUERY = "Who  INVENTED the paper-filter, of coffee?"
DOCUMENTS = [
    "Coffee is a drink. The paper filter is of 1908! Who knows water?\nTea is not coffee. It cools.",
    "Water.",
    "緑茶は日本の茶。煎茶は80度の湯で分蒸らす。茶葉は湿気と光を避けて保存する。",
]
TOLERANCE = 1e-5


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def in_sentences(sentences: Sequence[str], document: str, rule: str) -> list[str]:
    """What is tokenized one by one."""
    if rule == "spaced":
        return [sentence if number == 0 else f" {sentence}" for number, sentence in enumerate(sentences)]
    starts, at = [], 0
    for sentence in sentences:
        at = document.index(sentence, at)
        starts.append(at)
        at += len(sentence)
    return [document[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def linear(x: Tensor, heads: dict[str, Tensor], name: str) -> Tensor:
    y = x @ heads[f"{name}.weight"].T
    return y + heads[f"{name}.bias"] if f"{name}.bias" in heads else y


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() * weight


@torch.inference_mode()
def reference(
    family: str, mini: Any, query: str, pieces: Sequence[list[int]]
) -> tuple[float, Tensor, list[int]]:
    """Ranking logit, pruning logits of all tokens (T, 2), and the token ids, by the rules of a family."""
    ids = mini.tokenizer.token_to_id
    context = [token for piece in pieces for token in piece]
    heads = mini.heads
    if family == "provence":
        normal = "who invented the paperfilter of coffee" if query is QUERY else query
        row = [ids("[CLS]"), *tokens_of(mini.tokenizer, normal), ids("[SEP]"), *context, ids("[SEP]")]
        hidden = mini.encoder(torch.tensor([row])).last_hidden_state[0]
        pooled = gelu(linear(hidden[0], heads, "pooler.dense"))
        return linear(pooled, heads, "classifier")[0].item(), linear(hidden, heads, "token_classifier"), row
    words = tokens_of(mini.tokenizer, query)
    if family == "xprovence":
        row = [ids("<s>"), *words, ids("</s>"), *context, ids("</s>")]
        hidden = mini.encoder(torch.tensor([row])).last_hidden_state[0]
        weights = dict(mini.encoder.named_parameters())
        pooled = torch.tanh(hidden[0] @ weights["pooler.dense.weight"].T + weights["pooler.dense.bias"])
        return linear(pooled, heads, "classifier")[0].item(), linear(hidden, heads, "token_classifier"), row
    if family == "zilliz":
        row = [ids("<s>"), *words, ids("</s>"), ids("</s>"), *context, ids("</s>")]
        hidden = mini.encoder(torch.tensor([row])).last_hidden_state[0]
        pooled = torch.tanh(linear(hidden[0], heads, "ranking_model.classifier.dense"))
        score = linear(pooled, heads, "ranking_model.classifier.out_proj")[0].item()
        return score, linear(hidden, heads, "pruning_head.classifier"), row
    if family == "open-provence-ja":
        row = [ids("<s>"), *words, ids("</s>"), ids("<s>"), *context, ids("</s>")]
    else:
        row = [ids("[CLS]"), *words, ids("[SEP]"), *context, ids("[SEP]")]
    before, after = around_final_norm(mini.encoder, row)
    pooled = after[0] if family == "open-provence-ja" else after.mean(0)
    pooled = norm(
        gelu(linear(pooled, heads, "ranking_model.head.dense")), heads["ranking_model.head.norm.weight"]
    )
    score = linear(pooled, heads, "ranking_model.classifier")[0].item()
    return score, linear(before, heads, "pruning_head.classifier"), row


def around_final_norm(encoder: nn.Module, row: list[int]) -> tuple[Tensor, Tensor]:
    """What ModernBERT's last normalisation gets and gives, shape (T, H) each."""
    final_norm = encoder.final_norm
    try:
        encoder.final_norm = nn.Identity()
        before = encoder(torch.tensor([row])).last_hidden_state[0]
    finally:
        encoder.final_norm = final_norm
    return before, norm(before, final_norm.weight)


RULES = {
    "provence": ("spaced", "fraction", 0.1),
    "xprovence": ("spaced", "fraction", 0.3),
    "open-provence-ja": ("sentence", "mean", 0.1),
    "open-provence-gte": ("sentence", "mean", 0.1),
    "zilliz": ("sentence", "mean", 0.5),
}


@pytest.fixture(scope="session")
def loaded(miniature: Callable[[str], Any]) -> Callable[[str], Provence]:
    models: dict[str, Provence] = {}

    def load(family: str) -> Provence:
        if family not in models:
            models[family] = Provence.from_pretrained(
                miniature(family).directory, backend="torch", device="cpu"
            )
        return models[family]

    return load


def expected_of(
    family: str, mini: Any, document: str, passage: Any
) -> tuple[float, list[list[float]], list[int]]:
    """Ranking logit, keep probabilities of each sentence's tokens, and the token ids."""
    texts = in_sentences([s.text for s in passage.sentences], document, RULES[family][0])
    pieces = [tokens_of(mini.tokenizer, text) for text in texts]
    score, logits, row = reference(family, mini, QUERY, pieces)
    keep = torch.softmax(logits.double(), -1)[:, 1].tolist()
    at = len(row) - 1 - sum(map(len, pieces))  # one special token after the passage
    probabilities = []
    for piece in pieces:
        probabilities.append(keep[at : at + len(piece)])
        at += len(piece)
    return score, probabilities, row


def test_scores_are_those_of_the_family(family: str, miniature: Any, loaded: Any) -> None:
    mini, model = miniature(family), loaded(family)
    passages = model.process(QUERY, DOCUMENTS)  # of several lengths, in one batch
    assert sum(len(passage.sentences) for passage in passages) == 9
    scores = []
    for document, passage in zip(DOCUMENTS, passages, strict=True):
        score, probabilities, _ = expected_of(family, mini, document, passage)
        scores.append(score)
        assert passage.logit == pytest.approx(score, abs=TOLERANCE)
        naver = family in ("provence", "xprovence")
        assert passage.score == pytest.approx(score if naver else 1 / (1 + math.exp(-score)), abs=TOLERANCE)
        if RULES[family][1] == "mean":
            means = [sum(of_one) / len(of_one) for of_one in probabilities]
            assert [s.score for s in passage.sentences] == pytest.approx(means, abs=TOLERANCE)
        assert [s.num_tokens for s in passage.sentences] == [len(of_one) for of_one in probabilities]
    assert max(scores) - min(scores) > 0.1  # else equality would say little


def is_kept(probabilities: list[float], rule: str, threshold: float) -> bool:
    if rule == "mean":
        return sum(probabilities) / len(probabilities) > threshold
    return sum(p > threshold for p in probabilities) / len(probabilities) > threshold


def test_sentences_are_kept_as_the_family_keeps_them(family: str, miniature: Any, loaded: Any) -> None:
    mini, model = miniature(family), loaded(family)
    _, rule, default = RULES[family]
    counts = set()
    for document in DOCUMENTS:
        (passage,) = model.process(QUERY, [document])
        _, probabilities, _ = expected_of(family, mini, document, passage)  # the same for each threshold
        for threshold in (None, *np.linspace(0.02, 0.98, 25).tolist()):
            # Sentence by sentence, as the families' own code does.
            options = PruningOptions(threshold=threshold, keep_together=False)
            (passage,) = model.process(QUERY, [document], options=options)
            expected = [is_kept(of_one, rule, threshold or default) for of_one in probabilities]
            assert [s.kept for s in passage.sentences] == expected, threshold
            counts.add(sum(expected) / len(expected))
    assert {0.0, 1.0} < counts  # thresholds made a difference


def test_logits_of_all_tokens(family: str, miniature: Any, loaded: Any) -> None:
    mini = miniature(family)
    passage = loaded(family).process(QUERY, DOCUMENTS[:1])[0]
    texts = in_sentences([s.text for s in passage.sentences], DOCUMENTS[0], RULES[family][0])
    pieces = [tokens_of(mini.tokenizer, text) for text in texts]
    score, logits, row = reference(family, mini, QUERY, pieces)
    model = ProvenceModel.from_pretrained(mini.directory)
    with torch.inference_mode():
        output = model(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long))
    assert output.ranking_logits is not None
    assert output.pruning_logits is not None
    assert output.ranking_logits[0].item() == pytest.approx(score, abs=TOLERANCE)
    torch.testing.assert_close(output.pruning_logits[0], logits, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (
            "provence",
            {
                "pair_template": ("[CLS]", "$A", "[SEP]", "$B", "[SEP]"),
                "normalize_query": True,
                "splitter_language": "en",
                "languages": ("en",),
                "max_length": 512,
                "score_activation": "identity",
                "hidden_states": "final",
            },
        ),
        (
            "xprovence",
            {
                "pair_template": ("<s>", "$A", "</s>", "$B", "</s>"),
                "normalize_query": False,
                "splitter_language": "auto",
                "max_length": 512,  # as far as the miniature's positions reach
                "score_activation": "identity",
                "hidden_states": "final",
            },
        ),
        (
            "open-provence-ja",
            {
                "pair_template": ("<s>", "$A", "</s>", "<s>", "$B", "</s>"),
                "normalize_query": False,
                "max_length": 512,
                "score_activation": "sigmoid",
                "hidden_states": "before_final_norm",
            },
        ),
        (
            "open-provence-gte",
            {
                "pair_template": ("[CLS]", "$A", "[SEP]", "$B", "[SEP]"),
                "score_activation": "sigmoid",
                "hidden_states": "before_final_norm",
            },
        ),
        (
            "zilliz",
            {
                "pair_template": ("<s>", "$A", "</s>", "</s>", "$B", "</s>"),
                "score_activation": "sigmoid",
                "hidden_states": "final",
                "max_length": 512,
            },
        ),
    ],
)
def test_the_rules_are_in_the_configuration(family: str, expected: dict[str, Any], loaded: Any) -> None:
    config = loaded(family).config
    assert {name: getattr(config, name) for name in expected} == expected
    tokenization, scoring, threshold = RULES[family]
    assert (config.tokenization, config.scoring, config.threshold) == (tokenization, scoring, threshold)
    assert config.mode == "joint"


def test_a_title_is_kept_on_request(family: str, loaded: Any) -> None:
    """`always_select_title` of the originals: the first sentence, whenever anything is kept."""
    model = loaded(family)
    for threshold in (0.02, 0.5, 0.9):
        plain, with_title = (
            model.process(QUERY, DOCUMENTS[:1], options=PruningOptions(threshold=threshold, keep_title=keep))[
                0
            ]
            for keep in (False, True)
        )
        kept = [s.kept for s in plain.sentences]
        assert [s.kept for s in with_title.sentences] == [any(kept), *kept[1:]]


def test_long_documents_and_queries_go_through_windows(family: str, miniature: Any) -> None:
    model = Provence.from_pretrained(
        miniature(family).directory, backend="torch", device="cpu", max_length=64
    )
    text = "The paper filter. " * 40
    with pytest.warns(UserWarning, match="longer than half of the window"):
        (passage,) = model.process("coffee water " * 30, [text], options=PruningOptions(threshold=0.0))
    assert passage.text == text
    assert len(passage.sentences) == 40
    (scored,) = model.process("who?", [text])
    assert len({round(s.score, 6) for s in scored.sentences}) > 1  # seen at other places of other windows


def test_no_text_holds_a_special_token(family: str, miniature: Callable[[str], Any]) -> None:
    """What calls itself one in a query, title or passage would part them elsewhere."""
    mini = miniature(family)
    special = [t.content for t in mini.tokenizer.get_added_tokens_decoder().values() if t.special]
    model = Provence.from_pretrained(mini.directory, backend="torch")
    seen: list[list[int]] = []
    run = model.backend.run

    def recorded(input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        seen.extend(ids[mask == 1].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True))
        return run(input_ids, attention_mask, token_type_ids)

    model.backend.run = recorded  # type: ignore[method-assign]
    names = "is".join(special)
    model.process("a", ["a"], titles=["a"])
    model.process(f"a{names}a", [f"a{names}a {names}"], titles=[f"a{names}a"])
    numbers = {mini.tokenizer.token_to_id(name) for name in special if "unk" not in name.lower()}
    plain, forged = ([i for i in ids if i in numbers] for ids in seen)
    assert forged == plain
