"""The configuration of a training run: what `provence train CONFIG.yaml` reads.

Everything has a default but `data.train` and `output`: with these two alone, the bundled model is fine-tuned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from provence_rag.errors import InvalidInputError
from provence_rag.modeling import ExportFormat
from provence_training.config_stages import (
    GuideConfig,
    LossConfig,
    PairConfig,
    RangesConfig,
    StageConfig,
)
from provence_training.config_values import (
    STRICT,
    BeforeValidator,
    Count,
    Field,
    NotNegative,
    Positive,
    Precision,
    Share,
    dataclass,
)

__all__ = [
    "CalibrationConfig",
    "DataConfig",
    "DataSource",
    "GuideConfig",
    "LossConfig",
    "ModelConfig",
    "PairConfig",
    "RangesConfig",
    "ReleaseConfig",
    "ScaleConfig",
    "ShrinkConfig",
    "StageConfig",
    "TeacherConfig",
    "TrainingConfig",
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
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
    """Whether the questions lean on their passage ("the poster's bike"): they then meet no other passages of
    this source, which may be about the poster of another one, and similarities of texts teach nothing."""

    title_queries: bool = False
    """Take the title of a passage without questions as its query, such as the heading of a section. Only a
    teacher or a guide tells what answers it: other pairs do not draw it."""

    teacher_column: str | None = None
    """Field with a teacher's relevance scores; pairs of `teacher: true` learn from them."""

    teacher_scale: Literal["probability", "logit"] = "probability"
    """What those scores are."""

    @property
    def source_name(self) -> str:
        """What its passages say that they come from."""
        return self.name or Path(self.path).name.split(".")[0]


def _source(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


Sources = tuple[Annotated[DataSource, BeforeValidator(_source)], ...]


@dataclass(frozen=True, kw_only=True, config=STRICT)
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

    cache: str | None = None
    """Directory of the data in tokens, which runs on the same data can share; by default `packs/` in
    `output`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ShrinkConfig:
    """How an encoder is made smaller before it is trained."""

    vocabulary: Count | None = None
    """Vocabulary pieces that are kept: those that the training data use most. By default all."""

    layers: str | None = None
    """Layers that are kept: `first:N`, `last:N`, `alternate:N`, or numbers from 0 such as `0,2,4`. By default
    all."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
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

    line_breaks: bool = False
    """Add tokens for one line break and for two to an encoder's vocabulary, so that it sees the form of a
    page; all other white space reads as a space."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.checkpoint is not None and self.encoder is not None:
            raise InvalidInputError("checkpoint and encoder exclude each other")
        if self.encoder is None:
            for name in ("dropout", "attention_dropout", "shrink", "line_breaks"):
                if getattr(self, name) not in (None, False):
                    raise InvalidInputError(f"{name} needs encoder: a checkpoint is taken as it is")


@dataclass(frozen=True, kw_only=True, config=STRICT)
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
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

    precision: Precision = "auto"
    """What it computes in, as in a stage."""

    languages: tuple[str, ...] = ()
    """Languages of the passages that it scores; by default all."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CalibrationConfig:
    """The arguments of `provence_training.calibration.calibrate`."""

    keep: Share = 0.97
    """Share of the questions whose answer survives, where the caller asks for no other share."""

    evidence: Literal["any", "all"] = "any"
    """Whether a question's answer is one of its answer spans, or all of them."""

    removed_off_topic: Share | None = None
    """Share of other passages' text that should go."""

    limit: Count | None = 400
    """A random sample of so many questions of each source; null takes all."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ReleaseConfig:
    """What becomes of the trained model."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the weights are stored in. Compressed, bfloat16 takes a seventh less room than float16."""

    exports: tuple[ExportFormat, ...] = ()
    """What runs faster than torch on a CPU, as `provence export` writes it: `onnx-int8` or `onnx` (extra
    `export`), `openvino-int8` (extra `export-openvino`)."""

    calibration: CalibrationConfig | None = None
    """Choose temperatures and thresholds on the development data, for each language. By default they stay
    those that the model had, and a warning says so if it made promises."""

    evaluate: Count | None = 400
    """Measure the result on so many questions of each source of the development data; null does not."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
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
    """`auto` takes the GPUs there are, else the CPU."""

    logging_steps: Count = 20
    """Steps from one line of the log (`log.jsonl` of each stage) to the next."""

    report_to: tuple[str, ...] = ()
    """Trackers that transformers knows and that are installed, such as tensorboard or wandb."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise InvalidInputError(f"stages must have names of their own, got {', '.join(names)}")
        for number, stage in enumerate(self.stages):
            named = stage.guide and stage.guide.stage
            if named is not None and named not in names[:number]:
                raise InvalidInputError(
                    f"stages.{number}.guide.stage must be an earlier stage "
                    f"({', '.join(names[:number]) or 'there is none'}), got {named!r}"
                )
        sources = {source.source_name for source in self.data.train}
        for number, stage in enumerate(self.stages):
            for option, given in stage.named_sources().items():
                if unknown := sorted(given - sources):
                    raise InvalidInputError(
                        f"stages.{number}.{option} must name sources of data.train "
                        f"({', '.join(sorted(sources))}), got {unknown[0]!r}"
                    )
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
