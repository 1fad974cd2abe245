"""Text for a terminal: without what a terminal would take for a command."""

import re

_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_LONGEST = 2_000  # letters of a message: what a damaged file holds may be of any length


def visible(text: str) -> str:
    r"""Return a text whose letters can all be seen; its lines stay.

    Example:
        >>> visible("a \x1b[1mbold\x1b[0m word\x07")
        'a bold word?'
    """
    kept = (letter if letter.isprintable() or letter == "\n" else "?" for letter in _bare(text))
    return "".join(kept)


def one_line(text: str) -> str:
    r"""Return a text as one visible line, its middle left out where it is very long.

    Example:
        >>> one_line("a\n  word")
        'a word'
    """
    words = visible(" ".join(_bare(text).split()))
    if len(words) <= _LONGEST:
        return words
    return f"{words[: _LONGEST // 2]} ... {words[-_LONGEST // 2 :]}"


def _bare(text: str) -> str:
    return _ESCAPE.sub("", text)
