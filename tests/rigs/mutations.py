"""What is nearly right: something valid, and a few changes to its bytes."""

from collections.abc import Sequence

from hypothesis import strategies as st

_MOST_CHANGES = 4
_LONGEST_PIECE = 12


@st.composite
def mutated(draw: st.DrawFn, valid: bytes, nuggets: Sequence[bytes]) -> bytes:
    """The valid bytes with some of them left out, doubled, moved or changed, or with a nugget in their place."""
    made = valid
    for _ in range(draw(st.integers(1, _MOST_CHANGES))):
        made = draw(_changed(made, nuggets))
    return made


@st.composite
def _changed(draw: st.DrawFn, valid: bytes, nuggets: Sequence[bytes]) -> bytes:
    begin = draw(st.integers(0, len(valid)))
    end = min(len(valid), begin + draw(st.integers(0, _LONGEST_PIECE)))
    piece = valid[begin:end]
    match draw(st.sampled_from(["drop", "double", "move", "flip", "bytes", "nugget", "nugget", "nugget", "cut"])):
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
