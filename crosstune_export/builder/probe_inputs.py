"""Texts for the self-test of every bundle, written for CrossTune: short, long, empty, and in many scripts."""

from __future__ import annotations

PROBES: tuple[str, ...] = (
    "",
    "ok",
    "Where does this go?",
    "THIS IS THE THIRD TIME I AM WRITING TO YOU!!!",
    "hi, cn u pls help w/ smth quick thx",
    "Tom & Ann's café: naïve façade, coöperate, Ærøskøbing, İstanbul, ΑΣΟΣ, straße",
    "Цена была указана неверно, исправьте, пожалуйста.",
    "商品はまだ届いていません。いつ届きますか?",
    "물건이 아직 안 왔어요",
    "السلام عليكم، أين طلبي؟",
    "मुझे अपना पैसा वापस चाहिए",
    "👩‍👩‍👧‍👦 love it 😍👍🏽 10/10",
    "tabs\tand\nnew lines\r\nand\u00a0hard\u2003spaces\u200b",
    "[CLS] special [SEP] words [MASK] <s> </s> stay text [PAD]",
    "https://example.com/a?b=c&d=%20e#f user@example.com +1 (555) 010-0199 12,345.67 EUR 2031-02-28T23:59Z",
    "Supercalifragilisticexpialidocious" * 4,
    "one two three four five six seven eight nine ten " * 60,
)
