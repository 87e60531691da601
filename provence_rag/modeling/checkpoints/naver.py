"""Provence and XProvence, the checkpoints of Naver Labs Europe.

Layouts follow the training code in github.com/naver/bergen (`scripts/provence`, and pull request 49 for
XProvence) and the model cards. Both heads are plain linear layers: `classifier` on the pooled first token,
and `token_classifier` (drop, keep) on the encoder's output.
"""

from __future__ import annotations

from typing import Any

from provence_rag.config_json import num_positions
from provence_rag.modeling.checkpoints.base import Checkpoint, Source, checkpoint_of, model_settings, setting

__all__ = ["is_provence", "is_xprovence", "read_provence", "read_xprovence"]

_PRUNING_HEAD = "token_classifier."

_PROVENCE_THRESHOLD, _XPROVENCE_THRESHOLD = 0.1, 0.3
"""The defaults of their `process()`; the cards recommend 0.5 and 0.7 to remove more."""

_PROVENCE_WINDOW, _XPROVENCE_WINDOW = 512, 8192

_XPROVENCE_LANGUAGES = "ar bn en es fa fi fr hi id ja ko ru sw te th zh"


def is_provence(settings: Any, names: tuple[str, ...]) -> bool:
    """Whether a checkpoint has Provence's layout, by its architecture or its tensors."""
    return settings.get("architectures") == ["Provence"] or _has(names, "deberta.", _PRUNING_HEAD)


def is_xprovence(settings: Any, names: tuple[str, ...]) -> bool:
    """Whether a checkpoint has XProvence's layout, by its architecture or its tensors."""
    architectures = (["XProvence"], ["XProvenceForSequenceClassification"])
    return settings.get("architectures") in architectures or _has(names, "roberta.", _PRUNING_HEAD)


def read_provence(source: Source) -> Checkpoint:
    """Read Provence: DeBERTa-v3 with its stock pooler and classifier.

    Raises:
        CheckpointError: A setting or tensor is missing or invalid.
    """
    names = {name: _common_name(name) for name in source.names}
    settings = model_settings(
        source.settings, model_type="deberta-v2", architectures=["DebertaV2ForSequenceClassification"]
    )
    return checkpoint_of(
        source,
        family="provence",
        stock=settings,
        names=names,
        rules={
            **_rules("[CLS]", "[SEP]", _PROVENCE_THRESHOLD),
            "max_length": min(
                setting(source, "max_position_embeddings", int, _PROVENCE_WINDOW), _PROVENCE_WINDOW
            ),
            "normalize_query": True,
            "splitter_language": "en",
            "languages": ("en",),
        },
    )


def read_xprovence(source: Source) -> Checkpoint:
    """Read XProvence: XLM-RoBERTa, whose pooler and linear classifier are a stock classifier's two layers.

    Both compute `out(tanh(dense(first token)))`. Weights with the stock names are read as well.

    Raises:
        CheckpointError: A setting or tensor is missing or invalid.
    """
    has_stock_head = "classifier.dense.weight" in source.names
    names = {}
    for name in source.names:
        target = _common_name(name)
        if target.startswith("roberta.pooler."):
            if has_stock_head:
                continue
            target = target.replace("roberta.pooler.", "classifier.", 1)
        elif target.startswith("classifier.") and not has_stock_head:
            target = target.replace("classifier.", "classifier.out_proj.", 1)
        names[name] = target
    settings = model_settings(
        source.settings, model_type="xlm-roberta", architectures=["XLMRobertaForSequenceClassification"]
    )
    return checkpoint_of(
        source,
        family="xprovence",
        stock=settings,
        names=names,
        rules={
            **_rules("<s>", "</s>", _XPROVENCE_THRESHOLD),
            "max_length": min(num_positions(settings) or _XPROVENCE_WINDOW, _XPROVENCE_WINDOW),
            "languages": tuple(_XPROVENCE_LANGUAGES.split()),
        },
    )


def _rules(first: str, last: str, threshold: float) -> dict[str, Any]:
    """What both share: one separator, tokenization by sentence, scoring by shares of tokens, raw logits."""
    return {
        "pair_template": (first, "$A", last, "$B", last),
        "tokenization": "spaced",
        "scoring": "fraction",
        "score_activation": "identity",
        "threshold": threshold,
    }


def _common_name(name: str) -> str:
    return name.replace(_PRUNING_HEAD, "pruning_head.", 1) if name.startswith(_PRUNING_HEAD) else name


def _has(names: tuple[str, ...], *prefixes: str) -> bool:
    return all(any(name.startswith(prefix) for name in names) for prefix in prefixes)
