"""The configuration of a run, apart from its stages.

Only `data.train` and `output` have no default: with these two alone, the bundled model is fine-tuned.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from provence_rag.errors import InvalidInputError
from provence_rag.modeling import ExportFormat
from provence_training.config.stages import (
    GuideConfig,
    LossConfig,
    PairConfig,
    RangesConfig,
    StageConfig,
)
from provence_training.config.values import (
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
    """What `provence_training.load_passages` reads: a file, a directory, or a name on the hub."""

    name: str | None = None
    """Name of the data set in this run; by default the file's name up to the first dot. It names files, so it
    has no slash and no dot."""

    subset: str | None = None
    """Subset of a data set on the hub."""

    split: str = "train"
    """Split of a data set."""

    weight: NotNegative | None = None
    """Share of this source's questions among those drawn, in any unit; by default the number of its
    questions."""

    max_passages: Count | None = None
    """Take a random sample of at most this many passages."""

    needs_passage: bool = False
    """Whether the questions only make sense beside their passage ("the poster's bike"). They then meet no
    other passages of this source, which may be about another poster, and teachers that give similarities
    do not score them."""

    title_queries: bool = False
    """Take the title of a passage without questions, such as the heading of a section, as its query. Such a
    query has no labels: only pairs that learn from a teacher or a guide draw it."""

    teacher_column: str | None = None
    """Field with a teacher's relevance scores, which pairs with `teacher: true` learn from."""

    teacher_scale: Literal["probability", "logit"] = "probability"
    """Whether those scores are probabilities or logits."""

    @property
    def source_name(self) -> str:
        """The source that its passages name."""
        return self.name or Path(self.path).name.split(".")[0]

    def __post_init__(self) -> None:
        """Check the name now: the files that it names are written at the end of a run."""
        if not re.fullmatch(r"[^./\\\0]+", self.source_name):
            raise InvalidInputError(
                f"name must not be empty or have a slash or a dot in it, got {self.source_name!r}: "
                "give the source a name such as 'en-qed'"
            )


def _source(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


Sources = tuple[Annotated[DataSource, BeforeValidator(_source)], ...]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig:
    """Training and development data."""

    train: Annotated[Sources, Field(min_length=1)]
    """Passages with questions. Passages without any serve as negatives."""

    dev: Sources = ()
    """Passages for the loss during training, early stopping and calibration."""

    dev_share: Share = 0.0
    """Without `dev`: the share of the training passages to hold out as development data, chosen by `seed`."""

    dev_pairs: Count = 500
    """Pairs of the development data, at most, that the loss is measured on during training."""

    cache: str | None = None
    """Directory for the tokenized data, which runs on the same data can share; by default `packs/` in
    `output`."""

    def __post_init__(self) -> None:
        """Check that weights, and the log, can tell the sources apart."""
        names = [source.source_name for source in self.train]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidInputError(
                f"train has {names.count(twice[0])} sources named {twice[0]!r}: give each a name of its own"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ShrinkConfig:
    """How to make an encoder smaller before training."""

    vocabulary: Count | None = None
    """Vocabulary pieces to keep: those that the training data use most. By default all."""

    layers: str | None = None
    """Layers to keep: `first:N`, `last:N`, `alternate:N`, or numbers from 0 such as `0,2,4`. By default
    all."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfig:
    """The model to train."""

    checkpoint: str | None = None
    """A Provence checkpoint to fine-tune: a directory or a name on the hub. Without this and `encoder`, the
    bundled model."""

    encoder: str | None = None
    """Instead of a checkpoint, an encoder that gets fresh heads: a directory or a name on the hub."""

    mode: Literal["joint", "ranking", "pruning"] = "joint"
    """Which heads an encoder gets."""

    languages: tuple[str, ...] = ()
    """Languages (ISO 639-1) that an encoder is trained on, for the record."""

    max_length: Annotated[int, Field(ge=16)] | None = None
    """Tokens of a window; by default the checkpoint's, and 512 for an encoder."""

    dropout: Share | None = None
    """Dropout of an encoder's hidden states; by default what its configuration says."""

    attention_dropout: Share | None = None
    """Dropout of an encoder's attention weights; by default what its configuration says."""

    shrink: ShrinkConfig | None = None
    """Make an encoder smaller before training."""

    line_breaks: bool = False
    """Add tokens for one line break and for two to an encoder's vocabulary, so that it sees the layout of a
    page. All other white space reads as a space."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.checkpoint is not None and self.encoder is not None:
            raise InvalidInputError("give either checkpoint or encoder, not both")
        if self.encoder is None:
            for name in ("dropout", "attention_dropout", "shrink", "line_breaks"):
                if getattr(self, name) not in (None, False):
                    raise InvalidInputError(f"{name} needs encoder: a checkpoint cannot be changed")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ScaleConfig:
    """The line that turns a teacher's similarities into logits, fitted for each language.

    It takes the mean of right pairs to one given logit and the mean of random pairs to another.
    """

    right: float = 3.0
    """Logit of a question with a passage that answers it."""

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
    """A model to learn from. Its scores are cached in the output directory."""

    kind: Literal["cross-encoder", "bi-encoder", "late-chunking", "provence"]
    """`cross-encoder`: a CrossEncoder of sentence-transformers; scores passages.
    `bi-encoder`: a SentenceTransformer; scores passages and sentences by cosine similarity.
    `late-chunking`: a mean-pooling encoder that reads each passage once and pools its sentences.
    `provence`: a Provence checkpoint; scores passages and sentences."""

    model: str
    """Directory or name on the hub."""

    query_prefix: str = ""
    """What a bi-encoder expects before a question, such as "query: "."""

    passage_prefix: str = ""
    """What it expects before a passage."""

    scale: ScaleConfig | None = None
    """How scores become logits. By default, similarities are scaled as `ScaleConfig` says, and the logits
    of a cross-encoder or a Provence checkpoint are used unchanged."""

    batch_size: Count = 32
    """Texts per batch."""

    precision: Precision = "auto"
    """Number format of its computations, as for a stage."""

    languages: tuple[str, ...] = ()
    """Languages of the passages to score; by default all."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CalibrationConfig:
    """The arguments of `provence_training.calibrate`."""

    keep: Share = 0.97
    """Share of the questions whose answer must survive, unless a caller asks for another share."""

    evidence: Literal["any", "all"] = "any"
    """Whether one answer span of a question must survive, or all of them."""

    removed_off_topic: Share | None = None
    """Share of the text of other passages that should be removed."""

    limit: Count | None = 400
    """Questions of each source, at most, in a random sample; null takes all."""

    allow_few_questions: bool = False
    """Calibrate even if a language has too few questions to keep the share `keep` and lose one answer."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ReleaseConfig:
    """What to do with the trained model."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the stored weights. Compressed, bfloat16 takes a seventh less space than float16."""

    exports: tuple[ExportFormat, ...] = ()
    """Exports, as `provence export` writes them, which run faster than torch on a CPU: `onnx-int8` or `onnx`
    (extra `export`), `openvino-int8` (extra `export-openvino`)."""

    calibration: CalibrationConfig | None = None
    """Choose temperatures and thresholds on the development data, for each language. By default the model
    keeps those it had, and a warning says so if it has promises."""

    evaluate: Count | None = 400
    """Questions of each source of the development data, at most, that the result is measured on; null skips
    the measurement."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig:
    """A whole run: data, a model, stages of training and the release."""

    output: str
    """Directory of the run. `model/` in it is the result; the rest lets an interrupted run continue."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    teachers: tuple[TeacherConfig, ...] = ()
    """Models to learn from. Where several score a pair, their mean is learned."""
    stages: tuple[StageConfig, ...] = Field(default=(StageConfig(),), min_length=1)
    release: ReleaseConfig = ReleaseConfig()

    seed: int = 0
    """Seed of everything random. The same seed on the same machine gives the same model."""

    device: Literal["auto", "cpu"] = "auto"
    """`auto` uses all GPUs, or the CPU if there are no GPUs."""

    logging_steps: Count = 20
    """Steps between two lines of the log (`log.jsonl` of each stage)."""

    report_to: tuple[str, ...] = ()
    """Installed experiment trackers that transformers supports, such as tensorboard or wandb."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        self._check_stages()
        self._check_teachers()
        self._check_development_data()

    def _check_stages(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise InvalidInputError(f"stages must have different names, got {', '.join(names)}")
        sources = {source.source_name: source.weight for source in self.data.train}
        for number, stage in enumerate(self.stages):
            named = stage.guide and stage.guide.stage
            if named is not None and named not in names[:number]:
                earlier = f"an earlier stage ({', '.join(names[:number])})" if number else "an earlier stage"
                reason = "" if number else ": the first stage has none, so give it guide.model instead"
                raise InvalidInputError(
                    f"stages.{number}.guide.stage must be {earlier}, got {named!r}{reason}"
                )
            for option, given in stage.named_sources().items():
                if unknown := sorted(given - sources.keys()):
                    raise InvalidInputError(
                        f"stages.{number}.{option} must name sources of data.train "
                        f"({', '.join(sorted(sources))}), got {unknown[0]!r}"
                    )
            for name in stage.guide.exclude if stage.guide is not None else ():
                drawing = [pairs for pairs in stage.pairs if pairs.weights.get(name, sources[name]) != 0]
                if drawing and not any(pairs.labels or pairs.teacher for pairs in drawing):
                    raise InvalidInputError(
                        f"stages.{number}.guide.exclude has {name!r}, but no pairs learn from labels or a "
                        "teacher, so that nothing is learned from it: set labels or teacher to true, do not "
                        f"exclude it, or set weights: {{{name}: 0}} to leave it out of this stage"
                    )

    def _check_teachers(self) -> None:
        taught = [
            (f"stages.{number}.pairs", [pairs for pairs in stage.pairs if pairs.teacher])
            for number, stage in enumerate(self.stages)
        ]
        wants_teacher = any(pairs for _, pairs in taught)
        columns = [source.path for source in self.data.train if source.teacher_column]
        if wants_teacher and not self.teachers and not columns:
            raise InvalidInputError(
                "pairs with teacher: true need teachers, or a teacher_column in the training data"
            )
        if not wants_teacher and (self.teachers or columns):
            raise InvalidInputError(
                "teacher scores are given, but no pairs learn from them: set teacher: true in some pairs"
            )
        scaled = [t for t in self.teachers if t.scale or t.kind in ("bi-encoder", "late-chunking")]
        for place, pairs in taught:
            is_scalable = any(one.has_own for one in pairs) and any(one.random > 0 for one in pairs)
            if scaled and pairs and not is_scalable:
                raise InvalidInputError(
                    f"{place} with teacher: true must have own and random passages, which scale scores of "
                    f"{scaled[0].model}: give random a share"
                )

    def _check_development_data(self) -> None:
        has_dev = bool(self.data.dev or self.data.dev_share)
        if self.release.calibration is not None:
            if not has_dev:
                raise InvalidInputError(
                    "release.calibration needs development data: give data.dev or data.dev_share"
                )
            if self.model.encoder is not None and self.model.mode == "ranking":
                raise InvalidInputError(
                    "release.calibration needs a model that prunes: set model.mode to joint or pruning"
                )
        patient = [stage.name for stage in self.stages if stage.patience is not None]
        if patient and not has_dev:
            raise InvalidInputError(
                f"patience of stage {patient[0]} needs development data: give data.dev or data.dev_share"
            )
