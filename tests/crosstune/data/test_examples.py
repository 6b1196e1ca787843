"""Examples as they stand in a file."""

from crosstune import Example
from crosstune.data.examples import examples_digest


def test_the_digest_knows_order_text_and_label():
    one, two = Example("a", "x"), Example("b", "x")
    digests = {
        examples_digest(rows)
        for rows in ([one, two], [two, one], [one], [Example("a", "y")], [Example("a", "x", "p")], [Example("ax", "")])
    }
    assert len(digests) == 6
    assert examples_digest([Example("a", "x", line=1)]) == examples_digest([Example("a", "x", line=9)])
