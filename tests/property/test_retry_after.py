"""Whatever a receiver writes into Retry-After, the attempt is read to its end."""

from hypothesis import example, given
from hypothesis import strategies as st

from handoff.delivery.sender import _retry_after_ms

NOW_MS = 1_700_000_000_000

numbers = st.integers(-(10**12), 10**12).map(str)
words = st.sampled_from(
    ["Fri", "Fri,", ",", "Dec", "31-Dec-2100", "GMT", "UTC", "EST", "AM", "23:59:59", "1.2.3", "::"]
)
signs = st.sampled_from(["+", "-", "+0000", "-0000", "-9999999", "(comment", ")", '"', "\xa0", "\udcff"])
pieces = st.lists(numbers | words | signs | st.text(max_size=4), max_size=9)
dates = st.tuples(
    st.sampled_from(["Fri, ", "Fri ", ""]),
    numbers,
    st.sampled_from([" Dec ", "-Dec-", " Foo "]),
    numbers,
    st.sampled_from([" ", "T"]),
    st.tuples(numbers, numbers, numbers).map(":".join),
    st.just(" ") | st.just(""),
    signs | numbers | words,
).map("".join)


@given(said=st.text() | pieces.map(" ".join) | dates)
@example(said="Mon, 1 Jan 0001 00:00:00 -0000")
@example(said="Fri, 31 Dec 9999 23:59:59 -2359")
def test_a_retry_after_of_any_shape_is_a_time_or_nothing(said: str) -> None:
    wait_ms = _retry_after_ms({"retry-after": said}, NOW_MS)

    assert wait_ms is None or wait_ms >= 0
