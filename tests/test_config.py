from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provence_rag import CheckpointError, InvalidInputError, ProvenceConfig
from provence_rag.config import DynamicRule
from provence_rag.config_json import read_config_json

RULES = {"default": DynamicRule(), "ja": DynamicRule(floor=0.2, share=0.4)}
CAREFUL = {"default": DynamicRule(floor=0.05, share=0.5), "ja": DynamicRule(floor=0.2, share=0.1)}


def write(directory: Path, **values: Any) -> Path:
    (directory / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return directory


@pytest.mark.parametrize(
    "config",
    [
        ProvenceConfig(),
        ProvenceConfig(
            mode="pruning",
            max_length=8192,
            pair_template=("<s>", "$A", "</s>", "$B:1", "</s>:1"),
            normalize_query=True,
            tokenization="spaced",
            splitter_language="en",
            scoring="fraction",
            score_activation="identity",
            threshold=0.25,
            dynamic=RULES,
            temperature={"default": 0.5, "ja": 2.0},
            languages=("en", "ja"),
        ),
        ProvenceConfig(promises={0.9: RULES, 0.97: CAREFUL}, dynamic=0.97),
        ProvenceConfig(promises={0.9: RULES}, dynamic=CAREFUL),
    ],
)
def test_a_config_comes_back_from_json_as_it_was(config: ProvenceConfig, tmp_path: Path) -> None:
    assert ProvenceConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert ProvenceConfig.from_directory(write(tmp_path, provence=config.to_dict())) == config


def test_what_is_promised_is_stored_once_and_under_its_share() -> None:
    block = ProvenceConfig(promises={0.9: RULES, 0.97: CAREFUL}, dynamic=0.97).to_dict()
    assert (list(block["promises"]), block["dynamic"]) == (["0.9", "0.97"], 0.97)
    assert block["promises"]["0.9"]["ja"] == {"floor": 0.2, "share": 0.4}


def test_equal_configurations_have_equal_hashes() -> None:
    config = ProvenceConfig(promises={0.9: RULES, 0.97: CAREFUL}, dynamic=0.97, languages=("en", "ja"))
    other_order = dict(reversed(RULES.items()))
    same = ProvenceConfig(promises={0.97: CAREFUL, 0.9: other_order}, dynamic=0.97, languages=("en", "ja"))
    assert (config, hash(config)) == (same, hash(same))
    assert hash(ProvenceConfig(temperature={"default": 1})) == hash(ProvenceConfig())
    assert len({ProvenceConfig(), ProvenceConfig(), config, ProvenceConfig(dynamic=RULES)}) == 3


def test_an_empty_block_has_the_defaults(tmp_path: Path) -> None:
    assert ProvenceConfig.from_directory(write(tmp_path, provence={})) == ProvenceConfig()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "both"}, "mode must be joint, ranking or pruning, got 'both'"),
        ({"score_activation": "tanh"}, "score_activation must be sigmoid or identity, got 'tanh'"),
        ({"max_length": 15}, "max_length must be an integer >= 16, got 15"),
        ({"max_length": "512"}, "max_length must be an integer >= 16, got '512'"),
        ({"threshold": 1.5}, "threshold must be a number between 0 and 1, got 1.5"),
        ({"dynamic": {}}, "dynamic must have DynamicRules, one of them for 'default', got {}"),
        (
            {"dynamic": {"default": {"floor": 0.1}}},
            "dynamic must have DynamicRules, one of them for 'default'",
        ),
        ({"dynamic": 0.97}, "dynamic must hold rules or be a key of promises (), got 0.97"),
        (
            {"promises": {0.9: RULES, 0.97: RULES}, "dynamic": 0.95},
            "dynamic must hold rules or be a key of promises (0.9, 0.97), got 0.95",
        ),
        ({"promises": {97: RULES}}, "a key of promises must be a number between 0 and 1, got 97"),
        ({"promises": {0.9: {}}}, "promises[0.9] must have DynamicRules, one of them for 'default', got {}"),
        (
            {"promises": {0.97: RULES, 0.9: {"default": DynamicRule()}}},
            "promises must have rules for the same languages, got default for 0.9 and default, ja for 0.97",
        ),
        (
            {"promises": {0.97: RULES, 0.9: CAREFUL}},
            "promises[0.97] must keep no less than promises[0.9], got DynamicRule(floor=0.1, share=0.5) "
            "against DynamicRule(floor=0.05, share=0.5) for 'default'",
        ),
        (
            {"promises": {0.9: {**CAREFUL, "default": DynamicRule()}, 0.97: RULES}},
            "promises[0.97] must keep no less than promises[0.9], got DynamicRule(floor=0.2, share=0.4) "
            "against DynamicRule(floor=0.2, share=0.1) for 'ja'",
        ),
        ({"temperature": {"ja": 1.0}}, "temperature must have a value for 'default', got {'ja': 1.0}"),
        ({"temperature": {"default": 0.0}}, "temperature['default'] must be above 0, got 0.0"),
        ({"temperature": {"default": "hot"}}, "temperature['default'] must be a number, got 'hot'"),
        ({"languages": "en"}, "languages must be a tuple of codes, got 'en'"),
        ({"scoring": "median"}, "scoring must be mean or fraction, got 'median'"),
        ({"tokenization": "word"}, "tokenization must be document, sentence or spaced, got 'word'"),
        ({"hidden_states": "first"}, "hidden_states must be final or before_final_norm, got 'first'"),
        ({"normalize_query": 1}, "normalize_query must be True or False, got 1"),
        ({"splitter_language": ""}, "splitter_language must be 'auto' or an ISO 639-1 code, got ''"),
        (
            {"pair_template": "$A $B"},
            "pair_template must be a tuple of strings with $A before $B, got '$A $B'",
        ),
        ({"pair_template": ("$B", "$A")}, "pair_template must be a tuple of strings with $A before $B"),
        ({"pair_template": ("$A",)}, "pair_template must be a tuple of strings with $A before $B"),
        ({"pair_template": ("$A", 3, "$B")}, "pair_template must be a tuple of strings with $A before $B"),
    ],
)
def test_bad_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        ProvenceConfig(**values)


@pytest.mark.parametrize("values", [{"floor": -0.1}, {"share": 2}])
def test_bad_rules(values: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="must be a number between 0 and 1"):
        DynamicRule(**values)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"max_length": 4}, "max_length must be an integer >= 16, got 4"),
        (
            {"windows": 3, "heads": 2},
            "unknown keys heads, windows; it may need a newer version of provence-rag",
        ),
        ({"dynamic": {"default": {"ceiling": 1}}}, "ceiling"),
        ({"dynamic": {"default": {"floor": 7}}}, "floor must be a number between 0 and 1, got 7"),
        ({"dynamic": {"default": 0.1}}, "argument after ** must be a mapping"),
        ({"dynamic": 0.1}, "dynamic must hold rules or be a key of promises (), got 0.1"),
        ({"dynamic": None}, "dynamic must hold rules or be a key of promises (), got None"),
        ({"promises": 0.9}, "not iterable"),
        ({"promises": {"most": {"default": {}}}}, "could not convert string to float: 'most'"),
        ({"promises": {"0.9": 0.1}}, "not iterable"),
        ({"promises": {"0.9": {"default": {"floor": 7}}}}, "floor must be a number between 0 and 1, got 7"),
        ({"languages": "en"}, "languages must be a tuple of codes, got 'en'"),
        (None, "not iterable"),
        (["joint"], "dictionary update sequence"),
    ],
)
def test_a_bad_block_is_the_checkpoints_fault(block: Any, message: str, tmp_path: Path) -> None:
    expected = "^" + re.escape("the provence block of config.json cannot be used: ") + ".*"
    with pytest.raises(CheckpointError, match=expected + re.escape(message)):
        ProvenceConfig.from_directory(write(tmp_path, provence=block))


def test_the_rule_of_a_language() -> None:
    config = ProvenceConfig(dynamic=RULES)
    assert config.dynamic_rule("ja") is config.dynamic_rule("ja-JP") is config.dynamic_rule("JA_jp")
    assert config.dynamic_rule("ja") == RULES["ja"]
    assert config.dynamic_rule("en") == config.dynamic_rule("auto") == RULES["default"]


@pytest.mark.parametrize(
    ("keep_answers", "promise"),
    [(0, 0.9), (0.5, 0.9), (0.9, 0.9), (0.91, 0.97), (0.97, 0.97), (np.float32(0.97), 0.97), (0.971, 0.99)],
)
def test_the_lowest_promise_that_is_enough_is_taken(keep_answers: float, promise: float) -> None:
    promises = {p: {"default": DynamicRule(floor=1 - p)} for p in (0.97, 0.99, 0.9)}
    config = ProvenceConfig(promises=promises, dynamic=0.97)
    assert config.rules(keep_answers) is promises[promise]
    assert config.dynamic_rule("ja", keep_answers) is promises[promise]["default"]
    assert config.rules() is promises[0.97]


def test_rules_of_its_own_are_the_default_whatever_is_promised() -> None:
    config = ProvenceConfig(promises={0.9: RULES}, dynamic=CAREFUL)
    assert config.rules() is CAREFUL
    assert config.dynamic_rule("ja", 0.9) is RULES["ja"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (ProvenceConfig(), "needs a checkpoint with promises, which this one lacks"),
        (
            ProvenceConfig(promises={0.97: CAREFUL, 0.9: RULES}, dynamic=0.9),
            "is more than this checkpoint promises (0.9, 0.97)",
        ),
    ],
)
def test_more_than_is_promised(config: ProvenceConfig, why: str) -> None:
    message = (
        f"keep_answers=0.98 {why}: give threshold=... instead, or calibrate it with "
        "`provence calibrate --keep 0.98`"
    )
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        config.rules(0.98)


def test_the_temperature_of_a_language() -> None:
    config = ProvenceConfig(temperature={"default": 2.0, "ja": 0.5})
    assert [config.temperature_of(code) for code in ("ja-JP", "en", "auto")] == [0.5, 2.0, 2.0]


@pytest.mark.parametrize(
    ("mode", "can_rank", "can_prune"),
    [("joint", True, True), ("ranking", True, False), ("pruning", False, True)],
)
def test_heads(mode: Any, can_rank: bool, can_prune: bool) -> None:
    config = ProvenceConfig(mode=mode)
    assert (config.can_rank, config.can_prune) == (can_rank, can_prune)


@pytest.mark.parametrize(
    ("config_json", "positions"),
    [
        ({"max_position_embeddings": 512, "model_type": "bert"}, 512),
        # These count positions from the padding token's id on: 514 of them are enough for 512 tokens.
        ({"max_position_embeddings": 514, "model_type": "xlm-roberta", "pad_token_id": 1}, 512),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, 512),
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": 512, "position_biased_input": False}, None),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": "pad"}, 513),
        ({}, None),
    ],
)
def test_another_window(config_json: dict[str, Any], positions: int | None) -> None:
    config = ProvenceConfig(threshold=0.3)
    assert config.with_max_length(16, config_json) == ProvenceConfig(threshold=0.3, max_length=16)
    if positions is None:
        assert config.with_max_length(100_000, config_json).max_length == 100_000
        return
    assert config.with_max_length(positions, config_json).max_length == positions
    message = (
        f"max_length={positions + 1} is more than the {positions} positions of this checkpoint's encoder"
    )
    with pytest.raises(InvalidInputError, match=f"^{message}$"):
        config.with_max_length(positions + 1, config_json)


@pytest.mark.parametrize("max_length", [0, 15, True, 512.0, "512"])
def test_a_window_that_is_none(max_length: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^max_length must be an integer >= 16, got "):
        ProvenceConfig().with_max_length(max_length, {})


RERANKER = {"architectures": ["XLMRobertaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
CLASSIFIER = {"architectures": ["BertForTokenClassification"], "id2label": {"0": "DROP", "1": "KEEP"}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({**RERANKER, "max_position_embeddings": 8194}, ProvenceConfig(mode="ranking")),
        (
            {**RERANKER, "max_position_embeddings": 514, "model_type": "xlm-roberta", "pad_token_id": 1},
            ProvenceConfig(mode="ranking"),
        ),
        (
            {**RERANKER, "max_position_embeddings": 128},
            ProvenceConfig(mode="ranking", max_length=128),
        ),
        (
            {**RERANKER, "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
            ProvenceConfig(mode="ranking", score_activation="identity"),
        ),
        (
            {**RERANKER, "sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"},
            ProvenceConfig(mode="ranking"),
        ),
        (CLASSIFIER, ProvenceConfig(mode="pruning")),
    ],
)
def test_stock_checkpoints(values: dict[str, Any], expected: ProvenceConfig, tmp_path: Path) -> None:
    assert ProvenceConfig.from_directory(write(tmp_path, **values)) == expected


@pytest.mark.parametrize(
    ("model_type", "activation"), [("CrossEncoder", "identity"), ("SentenceTransformer", "sigmoid")]
)
def test_a_reranker_that_sentence_transformers_has_saved(
    tmp_path: Path, model_type: str, activation: str
) -> None:
    saved = {"activation_fn": "torch.nn.modules.linear.Identity", "model_type": model_type}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(saved))
    # What an older version wrote, and a newer one left there.
    old = {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}
    config = ProvenceConfig.from_directory(write(tmp_path, **RERANKER, **old))
    assert config == ProvenceConfig(mode="ranking", score_activation=activation)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "architecture unknown and 0 labels"),
        (
            {**RERANKER, "id2label": {"0": "A", "1": "B"}},
            "architecture XLMRobertaForSequenceClassification and 2 labels",
        ),
        (
            {**CLASSIFIER, "id2label": {"0": "O", "1": "PER"}},
            "architecture BertForTokenClassification and 2 labels",
        ),
        (
            {**RERANKER, "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}},
            "activation torch.nn.modules.activation.Tanh: only Sigmoid and Identity can be used",
        ),
    ],
)
def test_other_checkpoints(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        ProvenceConfig.from_directory(write(tmp_path, **values))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{directory} is not a checkpoint: it has no config.json"),
        (b'{"provence": ', "{directory}/config.json is not JSON: "),
        (b"\xff\xfe", "{directory}/config.json is not JSON: "),
        (b"[]", "{directory}/config.json must hold a JSON object, got list"),
    ],
)
def test_a_directory_that_is_no_checkpoint(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(message.format(directory=tmp_path))):
        read_config_json(tmp_path)
