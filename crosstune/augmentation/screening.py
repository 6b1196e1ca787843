"""Screens generated texts by rules: copies, echoes of the prompt, refusals, placeholders, other languages."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from crosstune.data.similar_texts import SimilarTexts, normalized, words_of

#: Reasons to drop a text, which are keys of the account.
REASONS = {
    "empty": "no visible characters",
    "too long": "far longer than any real text",
    "leak": "contains a secret of the prompt or of the request",
    "echo of the prompt": "repeats the instructions, the label or its description",
    "refusal": "the model declines",
    "placeholder": "a template with gaps, a numbered example, or chatter around the texts",
    "other language": "another script or language than the real texts",
    "copy of a shot": "is a real text, or repeats much of one",
    "duplicate": "is another generated text, or nearly so",
}

#: Length in words of a sequence that makes a text a copy of a real text or an echo of the prompt; chosen by hand.
COPIED_WORDS = 8
ECHOED_WORDS = 6

_REFUSAL = re.compile(
    r"^\W*(?:(?:(?:i'm|i am|we are|we're) )?(?:very |so |truly )?sorry,? but (?:i|we)"
    r" (?:cannot|can not|can't|won't|am unable to|are unable to)"
    r" (?:assist|help|fulfil|comply|generate|create|write|provide|produce|do that|continue|support)"
    r"|as an? (?:ai|artificial|large|language|assistant)\b"
    r"|i(?:'m| am) (?:just |only )?an? (?:ai|language model|artificial intelligence|virtual assistant)\b"
    r"|i(?:'m| am) (?:unable|not able) to (?:assist|help|generate|create|write|produce|provide|comply|fulfil|continue)"
    r"|(?:sorry,? )?i (?:cannot|can not|can't|won't|will not)"
    r" (?:assist|help (?:you )?with|generate|create|write|produce|comply|fulfil|provide))",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"^\W*(?:example|text|sample|item|sentence|message|review)\s*(?:text\s*)?#?\d*\s*:"
    r"|^\W*(?:first|second|third|another|new|your|sample|example) (?:text|sentence|message|example)s?(?: here)?\W*$"
    r"|^\W*(?:here (?:are|is)|sure|certainly|of course)\b.{0,60}\b(?:texts?|examples?|messages?|sentences?|reviews?)\b.{0,40}:?\W*$"
    r"|\blorem ipsum\b"
    r"|\[[A-Za-z][\w' /-]{1,40}\]|\{[A-Za-z_][\w ]{0,40}\}|<[A-Za-z][\w ]{1,40}>|_{4,}|\b(?-i:X{3,})\b|\.\.\.\s*\(.*\)",
    re.IGNORECASE,
)
#: Frequent function words of languages in Latin script.
_FUNCTION_WORDS = {
    "en": "the and is of to it for was with that this you not are have my they what which",
    "de": "der das und ist nicht ich ein eine zu den mit von auf für dem sich auch wie aber noch",
    "fr": "le les des est et je pas une dans pour que qui sur avec ce au vous mais très nous",
    "es": "el los las y es una por con para que no muy pero como su lo mi está más del",
    "it": "il di che è non una per sono gli della con del questo ma anche molto nel alla ho dei",
    "pt": "o os uma não com para é do da em mas muito foi meu ao pelo são você isso dos",
    "nl": "het een van ik niet op dat zijn voor met maar ook naar bij nog wel deze heb geen wat",
}


class Screen:
    """Screens generated texts one by one; later texts are also compared with the accepted ones.

    Examples:
        >>> screen = Screen(["where is my parcel, it is late"], ["Write new texts that clearly belong to this class."])
        >>> texts = ["my box never came", "My box never came!", "where is my parcel, it's late", "Text 1: [name]"]
        >>> [screen.reason(text) for text in texts]
        [None, 'duplicate', 'copy of a shot', 'placeholder']
    """

    def __init__(self, shots: Sequence[str], prompt: Iterable[str], forbidden: Iterable[str] = ()) -> None:
        """Index the real texts and the texts of the prompts.

        Args:
            shots: All real texts.
            prompt: Instructions, label names and descriptions.
            forbidden: Words that no text may contain, such as the canary.
        """
        self._longest = 4 * max((len(text) for text in shots), default=500) + 200
        self._forbidden = tuple(word for word in forbidden if word)
        prompt = list(prompt)
        self._prompt_lines = {normalized(text) for text in prompt} - {""}
        self._prompt_runs = {run for text in prompt for run in _runs(text, ECHOED_WORDS)}
        self._shot_runs = {run for text in shots for run in _runs(text, COPIED_WORDS)}
        self._shots, self._accepted = SimilarTexts(), SimilarTexts()
        for text in shots:
            self._shots.add(text)
        self._scripts = Counter(script for text in shots for script in _scripts(text))
        words = Counter(word for text in shots for word in words_of(text))
        self._languages = _languages(words)

    def reason(self, text: str) -> str | None:
        """Return the reason to drop a text, one of ``REASONS``; None to keep it."""
        if not normalized(text):
            return "empty"
        if len(text) > self._longest:
            return "too long"
        if any(word in text for word in self._forbidden):
            return "leak"
        if _REFUSAL.search(text.replace("\u2019", "'")):
            return "refusal"
        if _PLACEHOLDER.search(text):
            return "placeholder"
        if normalized(text) in self._prompt_lines or not self._prompt_runs.isdisjoint(_runs(text, ECHOED_WORDS)):
            return "echo of the prompt"
        if self._is_foreign(text):
            return "other language"
        if self._shots.contains(text) or not self._shot_runs.isdisjoint(_runs(text, COPIED_WORDS)):
            return "copy of a shot"
        if self._accepted.contains(text):
            return "duplicate"
        self._accepted.add(text)
        return None

    def _is_foreign(self, text: str) -> bool:
        """Whether a text is in a script or language that the real texts do not use; all thresholds are chosen by hand."""
        scripts = Counter(_scripts(text))
        letters, known = sum(scripts.values()), sum(self._scripts.values())
        if (
            known
            and letters
            and sum(n for script, n in scripts.items() if self._scripts[script] < 0.001 * known) > 0.5 * letters
        ):
            return True
        if not self._languages:
            return False
        hits_of = Counter(
            {language: sum(word in words for word in words_of(text)) for language, words in _WORDS_OF.items()}
        )
        (language, hits) = hits_of.most_common(1)[0]
        real_hits = max(hits_of[name] for name in self._languages)
        return language not in self._languages and hits >= 3 and hits >= 2 * real_hits + 2


_WORDS_OF = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}


def _runs(text: str, length: int) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def _scripts(text: str) -> list[str]:
    """Return the script of each letter, the first word of its Unicode name, such as LATIN, CJK or CYRILLIC."""
    return [unicodedata.name(letter, "OTHER").split()[0] for letter in text if letter.isalpha()]


def _languages(words: Counter[str]) -> frozenset[str]:
    """Return the languages whose function words are frequent in the real texts; empty if there are too few words to decide."""
    hits = {language: sum(words[word] for word in known) for language, known in _WORDS_OF.items()}
    most = max(hits.values())
    return frozenset(language for language, n in hits.items() if n >= 0.4 * most) if most >= 10 else frozenset()
