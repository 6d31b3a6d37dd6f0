"""What is nearly right: something valid, and a few changes to its bytes."""

import re
from collections.abc import Sequence

from hypothesis import strategies as st

# Most are changed in one place, so that what is behind the first check is reached as well.
_CHANGES = (1, 1, 1, 2, 3)
_LONGEST_PIECE = 12
_KINDS = ("nugget", "nugget", "drop", "double", "move", "flip", "bytes", "cut")
# What means something as a whole: a text in quotation marks, or whatever stands between signs.
_words = re.compile(rb'"[^"]*"|[^\s"/?&=:.,{}\[\]]+').finditer


@st.composite
def mutated(draw: st.DrawFn, valid: bytes, nuggets: Sequence[bytes]) -> bytes:
    """The valid bytes with some of them left out, doubled, moved or changed, or with a nugget in their place.

    Where a whole word is replaced, what is around it stays valid.
    """
    made = valid
    for _ in range(draw(st.sampled_from(_CHANGES))):
        made = draw(_reworded(made, nuggets) | _changed(made, nuggets))
    return made


@st.composite
def _reworded(draw: st.DrawFn, valid: bytes, nuggets: Sequence[bytes]) -> bytes:
    words = [found.span() for found in _words(valid)]
    begin, end = draw(st.sampled_from(words or [(0, 0)]))
    return valid[:begin] + draw(st.sampled_from(nuggets)) + valid[end:]


@st.composite
def _changed(draw: st.DrawFn, valid: bytes, nuggets: Sequence[bytes]) -> bytes:
    begin = draw(st.integers(0, len(valid)))
    end = min(len(valid), begin + draw(st.integers(0, _LONGEST_PIECE)))
    piece = valid[begin:end]
    match draw(st.sampled_from(_KINDS)):
        case "drop":
            piece = b""
        case "double":
            piece = piece * 2
        case "move":
            rest = valid[:begin] + valid[end:]
            place = draw(st.integers(0, len(rest)))
            return rest[:place] + piece + rest[place:]
        case "flip":
            piece = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in piece)
        case "bytes":
            piece = draw(st.binary(max_size=_LONGEST_PIECE))
        case "nugget":
            piece = draw(st.sampled_from(nuggets))
        case _:
            return valid[:begin]
    return valid[:begin] + piece + valid[end:]
