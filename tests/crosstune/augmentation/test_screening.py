"""Screening of texts by rules, without a model."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from crosstune.augmentation.screening import REASONS, Screen
from crosstune.data.similar_texts import DUPLICATE_SIMILARITY

SHOTS = [
    "Where is my parcel? It should have been here on Monday, and nobody answers the phone.",
    "I was charged twice for the lamp that you never sent to me.",
    "thanks, that was quick",
    "the colour is not the one on the page, but I like it and will keep it",
]
PROMPT = [
    "Keep the language, the tone and the usual length of the texts above.",
    "billing",
    "a charge or an invoice and the money paid",
]


def reason(text: str, shots=SHOTS) -> str | None:
    return Screen(shots, PROMPT, ("ct0123", "[removed]")).reason(text)


@pytest.mark.fault("D13")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("My order never came, can you look into it?", None),
        ("I'm sorry but I cannot accept a late delivery again, send it today.", None),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("I cannot open the app since the update.", None),
        ("I can't help loving this lamp", None),
        ("Sorry, I can't assist with that.", "refusal"),
        ("I\u2019m unable to generate that.", "refusal"),
        ("As an AI language model, I have no parcels.", "refusal"),
        ("As an aisle seat fan I love it", None),
        ("", "empty"),
        ("?! ...", "empty"),
        ("\u200b", "empty"),
        ("x" * 2000, "too long"),
        ("the reference is ct0123", "leak"),
        ("key [removed] was refused", "leak"),
        ("Example 3: my lamp is broken", "placeholder"),
        ("Text: my lamp is broken", "placeholder"),
        ("first text", "placeholder"),
        ("Here are 5 new texts:", "placeholder"),
        ("Hello [Name], where is it?", "placeholder"),
        ("Order {order_id} is late", "placeholder"),
        ("Order <your number> is late", "placeholder"),
        ("Call me at ____ today", "placeholder"),
        ("lorem ipsum dolor", "placeholder"),
        ("I paid [sic] twice for this", "placeholder"),
        ("Order XXX is late", "placeholder"),
        ("thank you, see you tomorrow xxx", None),
        ("Sure, here is the number: 4711", None),
        ("Billing!", "echo of the prompt"),
        ("A charge, or an invoice, and the money paid.", "echo of the prompt"),
        ("so keep the usual length of the texts above please", "echo of the prompt"),
        ("Wo ist mein Paket? Ich habe es nicht bekommen und das ist auch nicht das erste Mal", "other language"),
        ("Où est mon colis? Je suis très déçu et vous ne répondez pas", "other language"),
        ("где моя посылка", "other language"),
        ("包裹在哪里", "other language"),
        ("the parcel из Москвы is not here yet", None),
        ("WHERE is my parcel -- it should have been here on Monday; and nobody answers the phone!", "copy of a shot"),
        (
            "Hello. I was charged twice for the lamp that you never sent and now I want to hear from someone.",
            "copy of a shot",
        ),
        ("Thanks, that was quick!", "copy of a shot"),
        ("thanks, that was slow and not what I had in mind", None),
    ],
)
def test_reasons(text, why):
    assert reason(text) == why


def test_every_reason_is_explained_and_can_be_given():
    (cases,) = (mark.args[1] for mark in test_reasons.pytestmark if mark.name == "parametrize")
    given = {reason for _, reason in cases} - {None}
    assert given | {"duplicate"} == set(REASONS)


@pytest.mark.parametrize("shots", [[], ["thanks"], ["thanks", "where is my parcel, it is late"]])
def test_texts_are_too_long_beyond_four_times_the_longest_real_text_and_200_characters(shots):
    most = 4 * max(map(len, shots), default=500) + 200
    assert reason("x" * most, shots) is None
    assert reason("x" * (most + 1), shots) == "too long"


@pytest.mark.parametrize(("words", "why"), [(10, "other language"), (9, None)])
def test_ten_function_words_show_the_language_of_the_real_texts(words, why):
    shots = [" ".join(["the"] * words)]
    assert reason("Wo ist das Paket, das ich nicht habe", shots) == why


def test_near_duplicates_are_seen_in_the_order_they_come():
    screen = Screen(SHOTS, PROMPT)
    assert screen.reason("My order has not come yet, can you please look into it?") is None
    assert screen.reason("my order has not come yet; can you please look into it") == "duplicate"
    assert screen.reason("My order hasn't come yet, can you please look into it?") == "duplicate"
    assert screen.reason("My order was the wrong size, can you please exchange it?") is None


def test_texts_that_were_dropped_do_not_make_others_duplicates():
    screen = Screen(SHOTS, PROMPT)
    assert screen.reason("Hello [Name], the lamp flickers") == "placeholder"
    assert screen.reason("Hello Ann, the lamp flickers") is None


def test_real_texts_in_another_language_set_the_language():
    german = [
        "Wo ist mein Paket? Ich habe es nicht bekommen",
        "Das ist nicht die Farbe, die ich bestellt habe, und auch nicht der Preis",
    ]
    assert reason("Ich habe eine Frage zu der Rechnung, das ist nicht mein Preis", german) is None
    assert reason("What is this charge on my card and why have you not told me of it?", german) == "other language"
    chinese = ["包裹在哪里", "多收了我的钱"]
    assert reason("什么时候到货", chinese) is None
    assert reason("where is my parcel", chinese) == "other language"


@hypothesis.given(st.lists(st.text(min_size=1, max_size=60), max_size=5), st.text(max_size=80))
def test_nothing_fails_and_the_same_text_is_kept_once(shots, text):
    screen = Screen(shots, PROMPT)
    first = screen.reason(text)
    assert first is None or first in REASONS
    if first is None:
        assert screen.reason(text) == "duplicate"
        assert screen.reason(f"  {text.upper()} ") in {"duplicate", "other language", *REASONS}


FEW_WORDS = st.lists(st.text("kq", min_size=1, max_size=4), min_size=1, max_size=7).map(" ".join)


@hypothesis.given(st.lists(FEW_WORDS, max_size=6), st.lists(FEW_WORDS, max_size=30))
def test_texts_are_the_same_from_seven_tenths_of_their_pieces_on(shots, texts):
    def pieces(text):
        return {f" {text} "[i : i + 4] for i in range(max(1, len(text) - 1))}

    def like_one(text, others):
        return any(
            len(pieces(text) & pieces(other)) >= DUPLICATE_SIMILARITY * len(pieces(text) | pieces(other))
            for other in others
        )

    screen, kept = Screen(shots, []), []
    for text in texts:
        expected = "copy of a shot" if like_one(text, shots) else "duplicate" if like_one(text, kept) else None
        assert screen.reason(text) == expected
        kept += [] if expected else [text]


@pytest.mark.fault("D15")
@hypothesis.given(st.sampled_from(SHOTS), st.sampled_from(["{}", "{}!", " {}\n", "({})", "“{}”"]), st.booleans())
def test_a_shot_in_any_dress_is_a_copy(shot, dress, upper):
    assert reason(dress.format(shot.upper() if upper else shot)) == "copy of a shot"
