"""Values that people and damaged files give: odd texts, odd JSON, and changes of a value at any place inside data."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

PLAIN = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_NUMBERS = ("0", "-1", "1e9", "nan", "inf", "-inf", "1e400", "2.5", "9" * 30)
_WORDS = ("", " ", "true", "null", "None", "all", "é中\u202e", "🙂", "\ud83d", "\0", "a\nb", "x" * 300)
_SIGNS = ("a,b", 'say "hi"', "it's", "-x", "--steps", ",", "=", ":", "%00", "<script>", "$(x)", "[]", "{}")
_PATHS = ("~", "~/x", "~nobody/x", "/dev/null", "/proc/self/mem", "/etc/passwd", ".", "..")
ODD = st.sampled_from((*_NUMBERS, *_WORDS, *_SIGNS, *_PATHS))
TEXT = PLAIN | ODD
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, 1e308, 0.1, -0.0])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
REMOVE = object()


@st.composite
def changed(draw: Any, data: Any, most: int = 3) -> Any:
    """Plain data in which up to `most` values were replaced, removed or added."""
    result = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.sampled_from(_places(result)))
        parent = result
        for key in place[:-1]:
            parent = parent[key]
        value = draw(st.just(REMOVE) | JSON | st.sampled_from([_value(result, place) for place in _places(result)]))
        if value is REMOVE:
            del parent[place[-1]]
        else:
            parent[place[-1]] = copy.deepcopy(value)
        if not _places(result):
            break
    return result


@st.composite
def damaged(draw: Any, data: bytes) -> bytes:
    """Bytes that were cut, or in which up to four places were overwritten, removed or doubled."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 1, 4, 64, len(data)]))
        new = draw(
            st.binary(max_size=8) | st.just(data[at : at + length] * 2) | st.sampled_from([b"\0" * 8, b"\xff" * 8])
        )
        data = data[:at] + new + data[at + length :]
    return data


def as_json(data: Any) -> str:
    """JSON as Python writes it, also with NaN and halves of letters."""
    return json.dumps(data)


def _places(data: Any, place: tuple = ()) -> list[tuple]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [each for key, value in items for each in ((*place, key), *_places(value, (*place, key)))]


def _value(data: Any, place: tuple) -> Any:
    for key in place:
        data = data[key]
    return data
