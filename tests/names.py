"""Names of files, scenes and items that a page, a screen or a path may take wrong."""

from hypothesis import strategies as st

NAMES = (
    "with space", "ü☃\u202e", "quote'\"", ".", "$(touch x);`touch y`", "new\nline", "%s{0}",
    '"><script>alert(1)<', "|a|[b](javascript:c)|<img src=x>", "\x1b[2J\x9b31m", "[red]:boom:",
    "$\\frac$", "a[1]*?", "a" * 251,
)  # fmt: skip
"""Without a slash, which no file has in its name."""

anything = st.one_of(st.sampled_from(NAMES), st.text(max_size=40))
"""A text from outside."""
