"""The configuration of a stage: what it learns from, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from provence_rag.errors import InvalidInputError
from provence_training.config.values import (
    STRICT,
    Count,
    Field,
    NotNegative,
    Positive,
    Precision,
    Share,
    dataclass,
)

__all__ = ["GuideConfig", "LossConfig", "PairConfig", "RangesConfig", "StageConfig"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PairConfig:
    """One way to pair questions with passages, and what to learn from the pairs."""

    count: Count | None = None
    """Pairs to draw. By default every question meets its own passage once, and others by the shares below."""

    bm25: Share = 0.35
    """Share of pairs with a passage that BM25 finds for the question and that lacks its answer. All pairs
    that are not `bm25`, `random` or `junk` are questions with their own passages."""

    random: Share = 0.2
    """Share of pairs with a random passage that lacks the answer."""

    junk: Share = 0.0
    """Share of pairs with unreadable noise, in scripts that no vocabulary has: it never answers."""

    joined: Share = 0.0
    """Share of answering passages that are read together with another passage, before or after them."""

    per_question: Count = 1
    """Passages that a question meets at a time, which the listwise losses compare. With more than 1, the
    first is its own, and the others are drawn in the ratio of `bm25`, `random` and `junk`."""

    labels: bool = True
    """Learn from the labels of the data."""

    teacher: bool = False
    """Learn from the scores of the run's `teachers`, or from those in the data (`teacher_column`)."""

    window: tuple[Count, Count] | None = (40, 256)
    """Cut each passage to a run of whole sentences around one that answers (around any one, without
    labels). The largest number of its tokens is drawn from this range for each question. null reads whole
    passages, cut at `max_length`."""

    weights: Mapping[str, NotNegative] = Field(default_factory=dict)
    """Weights of data sources, by name, which replace those in `data.train`."""

    titles: Share = 0.2
    """Share of pairs in which the title is read before its passage."""

    keyword_queries: Share = 0.3
    """Share of questions rewritten as people type them: in lower case, without a question mark."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        others = self.bm25 + self.random + self.junk
        if others > 1:
            raise InvalidInputError(f"bm25, random and junk must add up to at most 1, got {others}")
        if self.per_question > 1 and others == 0:
            raise InvalidInputError(
                "per_question above 1 needs other passages: give bm25, random or junk a share"
            )
        if self.count is None and others == 1:
            raise InvalidInputError(
                "count must be given if bm25, random and junk add up to 1: no question meets its own passage"
            )
        if self.window is not None and self.window[0] > self.window[1]:
            raise InvalidInputError(f"window must be [fewest tokens, most tokens], got {list(self.window)}")

    @property
    def has_own(self) -> bool:
        """Whether questions meet their own passages."""
        return self.per_question > 1 or self.bm25 + self.random + self.junk < 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LossConfig:
    """The arguments of `provence_training.ProvenceLoss`."""

    ranking_weight: NotNegative = 1.0
    """Weight of the relevance labels."""

    listwise_weight: NotNegative = 0.0
    """Weight of the softmax over a question's passages: the relevant one against the others. They must be in
    one batch: see `per_question`."""

    ranking_teacher_weight: NotNegative = 1.0
    """Weight of a teacher's relevance logits."""

    listwise_teacher_weight: NotNegative = 0.0
    """Weight of a teacher's softmax over the unlabelled passages of a question."""

    pruning_weight: NotNegative = 0.5
    """Weight of the sentence labels."""

    answering_weight: NotNegative = 0.0
    """Additional weight of the sentence labels of passages that answer."""

    pruning_teacher_weight: NotNegative = 0.5
    """Weight of a teacher's sentence logits."""

    pooling: Literal["sentence", "token"] = "sentence"
    """What to compare sentence labels with: the mean logit of a sentence, or the logit of each token."""

    positive_weight: Positive | Literal["balanced"] = 1.0
    """Weight of sentences to keep, against 1 for those to drop; `balanced` takes the ratio of their
    numbers, so that both kinds weigh the same in all."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GuideConfig:
    """A whole model to learn from on every batch: `GuideLoss`."""

    stage: str | None = None
    """The earlier stage of this run whose result is the guide."""

    model: str | None = None
    """Instead of a stage, a Provence checkpoint: a directory or a name on the hub. Its vocabulary must
    have all pieces of the model's in training."""

    ranking: NotNegative = 0.25
    """Weight of the relevance logit."""

    sentences: NotNegative = 0.25
    """Weight of the mean keep logit of each sentence."""

    tokens: NotNegative = 0.08
    """Weight of the keep logit of each token."""

    states: NotNegative = 1.0
    """Weight of the last hidden states, which must be as large as the model's own."""

    exclude: tuple[str, ...] = ()
    """Names of data sources whose questions do not learn from the guide, such as pages of a form that it has
    never seen. They need labels or a teacher."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        if (self.stage is None) == (self.model is None):
            raise InvalidInputError("give either stage or model, which is the guide")
        if not any((self.ranking, self.sentences, self.tokens, self.states)):
            raise InvalidInputError("ranking, sentences, tokens and states must not all be 0")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RangesConfig:
    """How to keep activations small, for int8: `RangeLoss`."""

    limit: Positive = 6.0
    """Size above which activations cost."""

    weight: Positive = 0.001
    """Weight of the squared excess over the limit."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StageConfig:
    """One run of the trainer."""

    name: Annotated[str, Field(pattern=r"^[\w-]+$")] = "train"
    """Name of its directory: `stages/NAME` in the output."""

    pairs: tuple[PairConfig, ...] = Field(default=(PairConfig(),), min_length=1)
    """The pairs to learn from, mixed."""

    loss: LossConfig = LossConfig()
    """The loss to minimise."""

    layers: str | None = None
    """Layers to start with, out of those of the stage before (of the starting point, in the first stage):
    `first:N`, `last:N`, `alternate:N`, or numbers from 0 such as `0,2,4`. By default all. The heads stay."""

    guide: GuideConfig | None = None
    """Also learn from a whole model, such as the result of the stage before, with all its layers."""

    ranges: RangesConfig | None = None
    """Also keep activations small, so that int8 loses less."""

    epochs: Positive = 3.0
    """Passes over all pairs."""

    max_steps: Count | None = None
    """Optimizer steps to stop after, instead of `epochs`."""

    batch_tokens: Count = 4096
    """Most tokens of a batch on one device, padding included. A question is in one batch with all its
    passages (`per_question`), if they fit."""

    gradient_accumulation: Count = 1
    """Batches per optimizer step."""

    learning_rate: Positive = 5e-5
    """Peak learning rate of the encoder."""

    head_learning_rate: Positive | None = None
    """Peak learning rate of the heads; by default the encoder's. Fresh heads learn better with ten times
    as much."""

    warmup: Share = 0.1
    """Share of the steps in which the learning rate rises to its peak."""

    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    """How the learning rate changes after that."""

    weight_decay: NotNegative = 0.01
    """Weight decay of matrices; vectors do not decay."""

    max_grad_norm: NotNegative = 1.0
    """Norm that larger gradients are clipped to; 0 turns clipping off."""

    precision: Precision = "auto"
    """Number format of the computations; weights stay float32. `auto` is bfloat16 on a GPU or CPU that
    multiplies it in hardware, else float32. `float16` needs a GPU."""

    gradient_checkpointing: bool = False
    """Save memory by computing activations twice."""

    save_steps: Count = 100
    """Steps between two checkpoints. A run that was killed continues from the last one."""

    patience: Count | None = None
    """Early stopping: the number of checkpoints without a lower loss on the development data after which
    to stop and take the best one. By default the last one is taken."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        for number, pairs in enumerate(self.pairs):
            if not pairs.labels and not pairs.teacher and self.guide is None:
                raise InvalidInputError(
                    f"pairs.{number}: without a guide, labels or teacher must be true, or nothing is learned"
                )
        if self.patience is not None and not any(pairs.labels for pairs in self.pairs):
            raise InvalidInputError("patience needs pairs with labels: true, whose loss is measured")
        if self.loss.listwise_teacher_weight and not any(pairs.teacher for pairs in self.pairs):
            raise InvalidInputError("loss.listwise_teacher_weight needs pairs with teacher: true")

    def named_sources(self) -> dict[str, set[str]]:
        """The data sources that each option names."""
        named = {f"pairs.{number}.weights": set(pairs.weights) for number, pairs in enumerate(self.pairs)}
        return named | {"guide.exclude": set(self.guide.exclude) if self.guide is not None else set()}
