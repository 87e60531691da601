"""Training data: passages with questions, from files and data sets of several shapes."""

from provence_training.data.files import JSON_LINES, load_passages, read_json_lines, write_json_lines
from provence_training.data.passages import Passage, Question, sentence_labels
from provence_training.data.records import TeacherColumn

__all__ = [
    "JSON_LINES",
    "Passage",
    "Question",
    "TeacherColumn",
    "load_passages",
    "read_json_lines",
    "sentence_labels",
    "write_json_lines",
]
