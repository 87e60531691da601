"""How languages are named."""

from __future__ import annotations

from provence_rag.errors import InvalidInputError

__all__ = ["LANGUAGES", "check_language", "language_code"]

LANGUAGES = (
    *("af", "ar", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu"),
    *("he", "hi", "hr", "hu", "id", "it", "ja", "kn", "ko", "lt", "lv", "mk", "ml", "mr", "ne", "nl", "no"),
    *("pa", "pl", "pt", "ro", "ru", "sk", "sl", "so", "sq", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk"),
    *("ur", "vi", "zh"),
)
"""The ISO 639-1 codes that can be given and detected: every language of langdetect."""


def language_code(name: str) -> str:
    """The ISO 639-1 code of a language, whose name may have a region: "zh" for "zh-TW" or "zh_tw"."""
    return name.lower().replace("_", "-").partition("-")[0]


def check_language(language: str) -> str:
    """Return the code of a language without its region: "zh" for "zh-TW", "auto" for "auto".

    Raises:
        InvalidInputError: It is neither "auto" nor one of `LANGUAGES`.
    """
    code = language_code(str(language))
    if code != "auto" and code not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise InvalidInputError(f"language must be 'auto' or one of {known}, got {language!r:.60}")
    return code
