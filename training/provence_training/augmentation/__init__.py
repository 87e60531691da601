"""Augmentation: pages of many forms, made from passages with questions and marked answers."""

from provence_training.augmentation.forms import FORMS, LANGUAGES, Form
from provence_training.augmentation.generation import AugmentedPage, augment
from provence_training.augmentation.wordings import Wordings

__all__ = ["FORMS", "LANGUAGES", "AugmentedPage", "Form", "Wordings", "augment"]
