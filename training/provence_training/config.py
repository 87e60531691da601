"""The configuration of a training run: what `provence train CONFIG.yaml` reads.

Everything has a default but `data.train` and `output`: with these two alone, the bundled model is fine-tuned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from provence_rag.errors import InvalidInputError, MissingExtraError
from provence_rag.modeling import ExportFormat

try:
    from pydantic import BeforeValidator, ConfigDict, Field
    from pydantic.dataclasses import dataclass
except ImportError as error:  # pragma: no cover - exercised in an environment without the extra
    raise MissingExtraError("Training", "train") from error

__all__ = [
    "CalibrationConfig",
    "DataConfig",
    "DataSource",
    "LossConfig",
    "ModelConfig",
    "PairConfig",
    "RangesConfig",
    "ReleaseConfig",
    "ScaleConfig",
    "ShrinkConfig",
    "StageConfig",
    "StatesConfig",
    "TeacherConfig",
    "TrainingConfig",
]

_STRICT = ConfigDict(extra="forbid")
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DataSource:
    """One file or data set; a bare string is its `path`."""

    path: str
    """What `provence_training.data.load_passages` reads: a file, a directory, or a name on the hub."""

    name: str | None = None
    """What the data set is called in this run; by default the file's name up to the first dot."""

    subset: str | None = None
    """Subset of a data set on the hub."""

    split: str = "train"
    """Split of a data set."""

    weight: NotNegative | None = None
    """Share of this source's questions among those drawn, in any unit; by default their number."""

    max_passages: Count | None = None
    """Take a random sample of so many passages."""

    leaning: bool = False
    """Whether the questions lean on their passage ("the poster's bike"): other passages are then off-topic
    for pruning, but no examples for ranking, since they may be about the poster of another one."""

    teacher_column: str | None = None
    """Field with a teacher's relevance scores; pairs of `teacher: true` learn from them."""

    teacher_scale: Literal["probability", "logit"] = "probability"
    """What those scores are."""


def _source(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


Sources = tuple[Annotated[DataSource, BeforeValidator(_source)], ...]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DataConfig:
    """What is learned from."""

    train: Annotated[Sources, Field(min_length=1)]
    """Passages with questions. Passages without any serve as negatives."""

    dev: Sources = ()
    """Passages for the loss on the way, for early stopping and for calibration."""

    dev_share: Share = 0.0
    """Without `dev`: the share of the training passages that is held out for it, chosen by `seed`."""

    dev_pairs: Count = 500
    """At most so many pairs of the development data are drawn for the loss on the way."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ShrinkConfig:
    """How an encoder is made smaller before it is trained."""

    vocabulary: Count | None = None
    """Vocabulary pieces that are kept: those that the training data use most. By default all."""

    layers: str | None = None
    """Layers that are kept: `first:N`, `last:N`, `alternate:N`, or numbers from 0 such as `0,2,4`. By default
    all."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ModelConfig:
    """What is trained."""

    checkpoint: str | None = None
    """A Provence checkpoint to go on from: a directory or a name on the hub. With neither this nor `encoder`,
    the bundled model."""

    encoder: str | None = None
    """Instead: an encoder that gets fresh heads, by directory or name on the hub."""

    mode: Literal["joint", "ranking", "pruning"] = "joint"
    """Which heads an encoder gets."""

    languages: tuple[str, ...] = ()
    """Languages that an encoder is trained on (ISO 639-1); they are only noted down."""

    max_length: Annotated[int, Field(ge=16)] | None = None
    """Tokens of a window; by default the checkpoint's own, and 512 for an encoder."""

    dropout: Share | None = None
    """Of an encoder's hidden states; by default its own."""

    attention_dropout: Share | None = None
    """Of an encoder's attention weights; by default its own."""

    shrink: ShrinkConfig | None = None
    """Make the encoder smaller first."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.checkpoint is not None and self.encoder is not None:
            raise InvalidInputError("checkpoint and encoder exclude each other")
        if self.encoder is None:
            for name in ("dropout", "attention_dropout", "shrink"):
                if getattr(self, name) is not None:
                    raise InvalidInputError(f"{name} needs encoder: a checkpoint is taken as it is")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ScaleConfig:
    """The line that turns a teacher's similarities into logits, fitted for each language.

    It takes the mean of right pairs to one given logit and the mean of random pairs to another.
    """

    right: float = 3.0
    """Logit of a question with the passage that answers it."""

    random: float = -4.0
    """Logit of a question with a random passage."""

    right_sentence: float = 1.0
    """Logit of the best sentence of the passage that answers."""

    random_sentence: float = -4.0
    """Logit of a sentence of a random passage."""

    limit: Positive = 8.0
    """Logits stay within plus and minus this."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TeacherConfig:
    """A model whose scores are learned from. They are cached in the output directory."""

    kind: Literal["cross-encoder", "bi-encoder", "late-chunking", "provence"]
    """`cross-encoder`: a CrossEncoder of sentence-transformers; scores passages.
    `bi-encoder`: a SentenceTransformer; scores passages and sentences by cosine similarity.
    `late-chunking`: a mean-pooling encoder that reads each passage once and pools its sentences.
    `provence`: a Provence checkpoint; scores passages and sentences."""

    model: str
    """Directory or name on the hub."""

    query_prefix: str = ""
    """What a bi-encoder expects in front of a question, such as "query: "."""

    passage_prefix: str = ""
    """What it expects in front of a passage."""

    scale: ScaleConfig | None = None
    """How scores become logits. By default similarities are scaled with the defaults of `ScaleConfig`, and
    logits, which are what a cross-encoder and a Provence checkpoint give, are taken as they are."""

    batch_size: Count = 32
    """Texts that it reads at once."""

    languages: tuple[str, ...] = ()
    """Languages of the passages that it scores; by default all."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
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


@dataclass(frozen=True, kw_only=True, config=_STRICT)
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


@dataclass(frozen=True, kw_only=True, config=_STRICT)
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


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RangesConfig:
    """How activations are kept in a range, for int8: `provence_training.hidden.RangeLoss`."""

    limit: Positive = 6.0
    """Size from which on they cost."""

    weight: Positive = 0.001
    """Weight of the squared excess."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
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


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class CalibrationConfig:
    """The arguments of `provence_training.calibration.calibrate`."""

    keep: Share = 0.92
    """Share of the questions whose answer survives."""

    evidence: Literal["any", "all"] = "any"
    """Whether a question's answer is one of its answer spans, or all of them."""

    removed_off_topic: Share | None = None
    """Share of other passages' text that should go."""

    limit: Count | None = 400
    """A random sample of so many questions of each source; null takes all."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ReleaseConfig:
    """What becomes of the trained model."""

    precision: Literal["float32", "float16"] = "float32"
    """What the weights are stored in."""

    exports: tuple[ExportFormat, ...] = ()
    """What runs faster than torch on a CPU, as `provence export` writes it: `onnx-int8` or `onnx` (extra
    `export`), `openvino-int8` (extra `export-openvino`)."""

    calibration: CalibrationConfig | None = None
    """Choose temperatures and thresholds on the development data, for each language. By default they stay
    those that the model had."""

    evaluate: Count | None = 400
    """Measure the result on so many questions of each source of the development data; null does not."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainingConfig:
    """A whole run: data, a model, stages of training, a released checkpoint."""

    output: str
    """Directory of the run. `model/` in it is the result; the rest lets an interrupted run go on."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    teachers: tuple[TeacherConfig, ...] = ()
    """Models whose scores are learned from: the mean of those that score a pair."""
    stages: tuple[StageConfig, ...] = Field(default=(StageConfig(),), min_length=1)
    release: ReleaseConfig = ReleaseConfig()

    seed: int = 0
    """Decides everything that is drawn. The same seed on the same machine gives the same model."""

    device: Literal["auto", "cpu"] = "auto"
    """`auto` takes the GPUs there are."""

    logging_steps: Count = 20
    """Steps from one line of the log (`log.jsonl` of each stage) to the next."""

    report_to: tuple[str, ...] = ()
    """Trackers that transformers knows and that are installed, such as tensorboard or wandb."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise InvalidInputError(f"stages must have names of their own, got {', '.join(names)}")
        wants_teacher = any(pairs.teacher for stage in self.stages for pairs in stage.pairs)
        columns = [source.path for source in self.data.train if source.teacher_column]
        if wants_teacher and not self.teachers and not columns:
            raise InvalidInputError(
                "pairs with teacher: true need teachers, or a teacher_column in the training data"
            )
        if not wants_teacher and (self.teachers or columns):
            raise InvalidInputError(
                "there are teacher scores, but no pairs with teacher: true would learn from them"
            )
        has_dev = bool(self.data.dev or self.data.dev_share)
        if self.release.calibration is not None and not has_dev:
            raise InvalidInputError(
                "release.calibration needs development data: give data.dev or data.dev_share"
            )
        patient = [stage.name for stage in self.stages if stage.patience is not None]
        if patient and not has_dev:
            raise InvalidInputError(
                f"patience of stage {patient[0]} needs development data: give data.dev or data.dev_share"
            )
