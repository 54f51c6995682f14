import pytest

from taemi_edge.calibration.fused.dims import ONE, Dim, numbers_of, product_of

BATCH, TOKENS = Dim.named("batch"), Dim.named("tokens")


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (BATCH * TOKENS - TOKENS * BATCH, "0"),
        (BATCH + BATCH, "2*batch"),
        ((BATCH + ONE) * (BATCH - ONE), "-1 + batch*batch"),
        (product_of([TOKENS, BATCH, Dim.of(3)]), "3*batch*tokens"),
    ],
)
def test_equal_sizes_are_written_alike(dim, text):
    assert str(dim) == text


@pytest.mark.parametrize(
    ("dim", "divisor", "quotient"),
    [
        (BATCH * Dim.of(12), Dim.of(3), "4*batch"),
        (BATCH * TOKENS, TOKENS, "batch"),
        (BATCH * TOKENS + TOKENS, TOKENS, "1 + batch"),
        (BATCH * Dim.of(5), Dim.of(3), "None"),
        (BATCH, TOKENS, "None"),
        (BATCH, BATCH + ONE, "None"),
        (BATCH, Dim.of(0), "None"),
    ],
)
def test_only_divisions_without_a_rest_are_made(dim, divisor, quotient):
    assert str(dim.divided_by(divisor)) == quotient


def test_a_name_is_no_number():
    assert numbers_of([ONE, Dim.of(7)]) == [1, 7]
    assert numbers_of([ONE, BATCH]) is None
    assert (BATCH.name, ONE.name, (BATCH * TOKENS).name) == ("batch", None, None)
    assert not (BATCH - ONE).is_never_negative
