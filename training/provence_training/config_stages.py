"""The configuration of one stage of training: what it learns from, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from provence_rag.errors import InvalidInputError
from provence_training.config_values import STRICT, Count, Field, NotNegative, Positive, Share, dataclass

__all__ = ["LossConfig", "PairConfig", "RangesConfig", "StageConfig", "StatesConfig"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PairConfig:
    """One way of pairing questions with passages, and what is learned from the pairs."""

    count: Count | None = None
    """Pairs to draw. By default every question meets its own passage once, and others by the shares below."""

    bm25: Share = 0.35
    """Share of pairs with one of the passages that BM25 finds for the question and that lack its answer."""

    random: Share = 0.2
    """Share of pairs with a random passage that lacks the answer. The rest are questions with their own
    passages."""

    per_question: Count = 1
    """Passages that a question meets at a time. With more than 1, the first is its own, and the others are
    drawn in the ratio of `bm25` to `random`: what `margin_mse` compares."""

    labels: bool = True
    """Learn from the labels."""

    teacher: bool = False
    """Learn from a teacher's scores: those of the run's `teachers`, or those that came with the data."""

    window: Mapping[str, tuple[Count, Count]] | None = Field(
        default_factory=lambda: {"default": (200, 900), "ja": (100, 420), "zh": (100, 420)}
    )
    """Passages are cut to a run of sentences around what answers (anywhere, without labels), about as long as
    a number of characters drawn from this range, by language. null: whole passages, cut at `max_length`."""

    titles: Share = 0.2
    """Share of pairs in which the passage's title goes in front."""

    keyword_queries: Share = 0.3
    """Share of questions rewritten as people type them: lower case, no question mark."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.bm25 + self.random > 1:
            raise InvalidInputError(
                f"bm25 and random must be at most 1 together, got {self.bm25 + self.random}"
            )
        if self.per_question > 1 and self.bm25 + self.random == 0:
            raise InvalidInputError("per_question needs shares of bm25 or random passages")
        if not self.labels and not self.teacher:
            raise InvalidInputError("labels and teacher must not both be false")
        if self.count is None and self.bm25 + self.random == 1:
            raise InvalidInputError("count must be given where no question meets its own passage")
        for language, (low, high) in (self.window or {}).items():
            if low > high:
                raise InvalidInputError(f"window.{language} must be [shortest, longest], got {[low, high]}")
        if self.window is not None and "default" not in self.window:
            raise InvalidInputError("window must have an entry default, for all languages without one")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LossConfig:
    """The arguments of `provence_training.loss.ProvenceLoss`."""

    ranking_weight: NotNegative = 1.0
    """Weight of ranking."""

    pruning_weight: NotNegative = 0.5
    """Weight of pruning."""

    teacher_weight: NotNegative = 1.0
    """Weight of a teacher's scores against labels, within each of the two."""

    ranking_regression: Literal["mse", "margin_mse"] = "mse"
    """How a teacher's relevance scores are learned."""

    pooling: Literal["token", "sentence", "softmax"] = "sentence"
    """What pruning labels are compared with."""

    positive_weight: Positive | Literal["balanced"] = 1.0
    """Weight of sentences to keep; `balanced`: how many more sentences there are to drop."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StatesConfig:
    """Token states of a larger encoder that one layer learns: `provence_training.hidden.StatesLoss`."""

    model: str
    """The bi-encoder that the model was cut from, or one with all pieces of its vocabulary: a directory or a
    name on the hub."""

    layer: Count
    """The layer that learns them, counted from 1. Those above it are free to compare question and passage."""

    weight: Positive = 1.0
    """Weight beside the other parts of the loss."""

    query_prefix: str = ""
    """What the bi-encoder expects in front of a question, such as "query: "."""

    passage_prefix: str = ""
    """What it expects in front of a passage."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RangesConfig:
    """How activations are kept in a range, for int8: `provence_training.hidden.RangeLoss`."""

    limit: Positive = 6.0
    """Size from which on they cost."""

    weight: Positive = 0.001
    """Weight of the squared excess."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StageConfig:
    """One run of the trainer."""

    name: Annotated[str, Field(pattern=r"^[\w-]+$")] = "train"
    """Name of its directory, `stages/NAME` in the output."""

    pairs: tuple[PairConfig, ...] = Field(default=(PairConfig(),), min_length=1)
    """What it learns from, mixed."""

    loss: LossConfig = LossConfig()
    """How."""

    states: StatesConfig | None = None
    """Learn a bi-encoder's token states besides."""

    ranges: RangesConfig | None = None
    """Keep activations in a range besides, so that int8 loses less."""

    epochs: Positive = 3.0
    """Passes over all pairs."""

    max_steps: Count | None = None
    """Stop after so many steps of the optimizer instead."""

    batch_size: Count = 32
    """Pairs that a device reads at once."""

    gradient_accumulation: Count = 1
    """Batches to a step."""

    learning_rate: Positive = 5e-5
    """Highest learning rate of the encoder."""

    head_learning_rate: Positive | None = None
    """That of the heads; by default the same. Fresh heads learn better with ten times as much."""

    warmup: Share = 0.1
    """Share of the steps in which the learning rate rises."""

    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    """How it goes on."""

    weight_decay: NotNegative = 0.01
    """Of matrices."""

    max_grad_norm: NotNegative = 1.0
    """Longer gradients are cut to this length; 0: none is."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What is computed in; weights stay float32."""

    gradient_checkpointing: bool = False
    """Compute activations twice, to save memory."""

    save_steps: Count = 100
    """Steps from one checkpoint to the next: a run that is killed goes on from the last one."""

    patience: Count | None = None
    """Early stopping: after so many checkpoints without a lower loss on the development data, the best one is
    taken. By default the last one is."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.patience is not None and not any(pairs.labels for pairs in self.pairs):
            raise InvalidInputError("patience needs pairs with labels, whose loss is measured")
        if self.loss.ranking_regression == "margin_mse" and not any(pairs.teacher for pairs in self.pairs):
            raise InvalidInputError("loss.ranking_regression margin_mse needs pairs with teacher: true")
