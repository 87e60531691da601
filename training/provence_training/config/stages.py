"""The configuration of one stage of training: what it learns from, and how."""

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
    """One way of pairing questions with passages, and what is learned from the pairs."""

    count: Count | None = None
    """Pairs to draw. By default every question meets its own passage once, and others by the shares below."""

    bm25: Share = 0.35
    """Share of pairs with one of the passages that BM25 finds for the question and that lack its answer. What
    `bm25`, `random` and `junk` leave are questions with their own passages."""

    random: Share = 0.2
    """Share of pairs with a random passage that lacks the answer."""

    junk: Share = 0.0
    """Share of pairs with noise in scripts that no vocabulary has: text that cannot be read is no answer."""

    joined: Share = 0.0
    """Share of passages that answer before or after which another passage is read."""

    per_question: Count = 1
    """Passages that a question meets at a time. With more than 1, the first is its own, and the others are
    drawn in the ratio of `bm25`, `random` and `junk`: what the listwise losses compare."""

    labels: bool = True
    """Learn from the labels."""

    teacher: bool = False
    """Learn from a teacher's scores: those of the run's `teachers`, or those that came with the data."""

    window: tuple[Count, Count] | None = (40, 256)
    """Passages are cut to a run of whole sentences around one that answers (anywhere, without labels), of at
    most a number of tokens drawn from this range for each question. null: whole passages, cut at
    `max_length`."""

    weights: Mapping[str, NotNegative] = Field(default_factory=dict)
    """Weights of data sources, by name, in place of those in `data.train`."""

    titles: Share = 0.2
    """Share of pairs in which the passage's title goes in front."""

    keyword_queries: Share = 0.3
    """Share of questions rewritten as people type them: lower case, no question mark."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        others = self.bm25 + self.random + self.junk
        if others > 1:
            raise InvalidInputError(f"bm25, random and junk must be at most 1 together, got {others}")
        if self.per_question > 1 and others == 0:
            raise InvalidInputError("per_question needs shares of bm25, random or junk")
        if self.count is None and others == 1:
            raise InvalidInputError("count must be given where no question meets its own passage")
        if self.window is not None and self.window[0] > self.window[1]:
            raise InvalidInputError(f"window must be [shortest, longest], got {list(self.window)}")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LossConfig:
    """The arguments of `provence_training.ProvenceLoss`."""

    ranking_weight: NotNegative = 1.0
    """Weight of relevance labels."""

    listwise_weight: NotNegative = 0.0
    """Weight of the relevant passage against the question's others: of the softmax over them. They must come
    together: see `per_question`."""

    ranking_teacher_weight: NotNegative = 1.0
    """Weight of a teacher's relevance logits."""

    listwise_teacher_weight: NotNegative = 0.0
    """Weight of a teacher's softmax over those of a question's passages that have no label."""

    pruning_weight: NotNegative = 0.5
    """Weight of sentence labels."""

    answering_weight: NotNegative = 0.0
    """Further weight of the sentence labels of passages that answer."""

    pruning_teacher_weight: NotNegative = 0.5
    """Weight of a teacher's sentence logits."""

    pooling: Literal["sentence", "token"] = "sentence"
    """What sentence labels are compared with: the mean logit of a sentence, or the logit of each token."""

    positive_weight: Positive | Literal["balanced"] = 1.0
    """Weight of sentences to keep; `balanced`: how many more sentences there are to drop."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GuideConfig:
    """A whole model that is learned from on every batch: `GuideLoss`."""

    stage: str | None = None
    """An earlier stage of this run, whose result is the guide."""

    model: str | None = None
    """Instead: a Provence checkpoint, by directory or name on the hub. It needs the tokenizer of the model in
    training, or all pieces of its vocabulary."""

    ranking: NotNegative = 0.25
    """Weight of the relevance logit."""

    sentences: NotNegative = 0.25
    """Weight of the mean keep logit of each sentence."""

    tokens: NotNegative = 0.08
    """Weight of the keep logit of each token."""

    states: NotNegative = 1.0
    """Weight of the last hidden states. They must have the size of the model's own."""

    exclude: tuple[str, ...] = ()
    """Names of data sources on whose questions it is not learned from: it cannot read the form of their
    passages, say."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        if (self.stage is None) == (self.model is None):
            raise InvalidInputError("give either stage or model: one of them is the guide")
        if not any((self.ranking, self.sentences, self.tokens, self.states)):
            raise InvalidInputError("ranking, sentences, tokens and states must not all be 0")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RangesConfig:
    """How activations are kept in a range, for int8: `RangeLoss`."""

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

    layers: str | None = None
    """Layers of the stage before (of the starting point, in the first stage) that it starts from: `first:N`,
    `last:N`, `alternate:N`, or numbers from 0 such as `0,2,4`. By default all. The heads stay."""

    guide: GuideConfig | None = None
    """Learn from a whole model as well, such as the stage before, with all its layers."""

    ranges: RangesConfig | None = None
    """Keep activations in a range besides, so that int8 loses less."""

    epochs: Positive = 3.0
    """Passes over all pairs."""

    max_steps: Count | None = None
    """Stop after so many steps of the optimizer instead."""

    batch_tokens: Count = 4096
    """Tokens that a device reads at once, padding included: of long passages it reads fewer. A question is in
    one batch with all its passages (`per_question`), if they fit into it."""

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

    precision: Precision = "auto"
    """What is computed in; weights stay float32. `auto`: bfloat16 on a GPU or CPU that multiplies it in
    hardware, else float32. `float16` needs a GPU."""

    gradient_checkpointing: bool = False
    """Compute activations twice, to save memory."""

    save_steps: Count = 100
    """Steps from one checkpoint to the next: a run that is killed goes on from the last one."""

    patience: Count | None = None
    """Early stopping: after so many checkpoints without a lower loss on the development data, the best one is
    taken. By default the last one is."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        for number, pairs in enumerate(self.pairs):
            if not pairs.labels and not pairs.teacher and self.guide is None:
                raise InvalidInputError(
                    f"pairs.{number}: labels and teacher must not both be false without a guide"
                )
        if self.patience is not None and not any(pairs.labels for pairs in self.pairs):
            raise InvalidInputError("patience needs pairs with labels, whose loss is measured")
        if self.loss.listwise_teacher_weight and not any(pairs.teacher for pairs in self.pairs):
            raise InvalidInputError("loss.listwise_teacher_weight needs pairs with teacher: true")

    def named_sources(self) -> dict[str, set[str]]:
        """The data sources that each option names, by option."""
        named = {f"pairs.{number}.weights": set(pairs.weights) for number, pairs in enumerate(self.pairs)}
        return named | {"guide.exclude": set(self.guide.exclude) if self.guide is not None else set()}
