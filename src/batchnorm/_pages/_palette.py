"""Palette of the pages, safe for colour-blind readers, in a light and a dark set.

Figures name colours as tokens such as ``@arm0``; the page puts in the set that fits its theme.
"""

ARMS = 6

# Okabe and Ito's set, darkened or lightened until text in it is legible on page and ground; ink is
# legible on everything between low and high. The tests calculate both.
LIGHT = {
    "ink": "#1d2433",
    "soft": "#5a6478",
    "line": "#d9dee8",
    "page": "#ffffff",
    "ground": "#f4f6fa",
    "none": "#e3e6ec",
    "target": "#8b93a5",
    "low": "#edf3fa",
    "high": "#5b9bd5",
    "arm0": "#c04a00",
    "arm1": "#0064a8",
    "arm2": "#8a6300",
    "arm3": "#007a58",
    "arm4": "#a6447f",
    "arm5": "#3d4a63",
}
DARK = {
    "ink": "#e8ecf4",
    "soft": "#a3aec2",
    "line": "#323b4e",
    "page": "#151b27",
    "ground": "#0d121b",
    "none": "#2a3242",
    "target": "#7a869c",
    "low": "#1c2b40",
    "high": "#2768ad",
    "arm0": "#ff8a4c",
    "arm1": "#56b4e9",
    "arm2": "#e6b422",
    "arm3": "#2fc79a",
    "arm4": "#e58bc0",
    "arm5": "#aab6cc",
}


def token(position: int) -> str:
    """Return the colour token of the arm at a position in its study."""
    return f"@arm{position % ARMS}"
