"""Draws `images/rooms.svg`, the rooms of the package and the imports between them.

Run ``python docs/rooms.py`` after a change of the rooms: the picture is drawn from the floors in
`pyproject.toml` and from the import graph, and a test compares it with them.
"""

import ast
import re
import textwrap
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from import_graph import PACKAGE, Source, between_rooms, imports, read, room

PICTURE = Path(__file__).parent / "images" / "rooms.svg"
WIDTH, LEFT, RIGHT = 1160, 230, 930  # of the picture, and where the boxes begin and end
GAP, BETWEEN, TOP, LINE = 46, 20, 74, 16  # between floors, between siblings, above, of text
LANE, FIRST_LANE, PORT = 17, 30, 13  # between lanes, from the boxes to the first, between ports
OUTSIDE = {"", "__main__"}  # the face of the package and its start import rooms, but are none
LEGEND = (
    "An arrow leads from a room to what it imports; its number counts the imports, "
    "module by module."
)

STYLE = """
  .page { fill: #ffffff } .box { fill: #f4f6fa; stroke: #8b93a5 } .ground { fill: #e9edf4 }
  text { font-family: system-ui, "DejaVu Sans", sans-serif; fill: #1d2433 }
  .name { font-size: 16px; font-weight: 600 } .title { font-size: 20px; font-weight: 600 }
  .soft { font-size: 12px; fill: #5a6478 } .count { font-size: 11px; font-weight: 600 }
  .arrow { fill: none; stroke-linejoin: round }
  .c0 { --c: #0064a8 } .c1 { --c: #c04a00 } .c2 { --c: #007a58 } .c3 { --c: #a6447f }
  .c4 { --c: #8a6300 } .c5 { --c: #5a6478 }
  .arrow { stroke: var(--c) } .count, .head { fill: var(--c) }
  .count { paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
  @media (prefers-color-scheme: dark) {
    .page { fill: #151b27 } .box { fill: #1f2736; stroke: #7a869c } .ground { fill: #0d121b }
    text { fill: #e8ecf4 } .soft { fill: #a3aec2 }
    .c0 { --c: #56b4e9 } .c1 { --c: #ff8a4c } .c2 { --c: #2fc79a } .c3 { --c: #e58bc0 }
    .c4 { --c: #e6b422 } .c5 { --c: #aab6cc }
    .count { fill: var(--c); stroke: #151b27 }
  }
"""


@dataclass
class Box:
    """One room on the page: where it stands, and how many arrows begin and end on each side."""

    name: str
    floor: int
    x: float
    y: float
    width: float
    height: float
    sides: frozenset[str]
    ends: Counter[str] = field(default_factory=Counter)

    def port(self, what: str, side: str) -> tuple[float, float]:
        """Return the next free point of a side: arrows end in its upper half, and begin below."""
        number = self.ends[what + side]
        self.ends[what + side] += 1
        across = self.width / 2 + PORT * (number // 2 + 1) * (-1) ** number
        match side:
            case "left" | "right":
                y = (
                    self.y + 12 + PORT * number
                    if what == "end"
                    else self.bottom - 12 - PORT * number
                )
                return (self.x if side == "left" else self.x + self.width), y
            case "top":
                return self.x + across, self.y
            case _:
                return self.x + across, self.bottom

    def step(self, where: str) -> float:
        """Return how far from the box the next arrow turns that passes its sibling."""
        self.ends[where] += 1
        return 12.0 * self.ends[where]

    @property
    def bottom(self) -> float:
        return self.y + self.height


@dataclass(frozen=True)
class Arrow:
    """One arrow: from box to box, how many imports, and its colour."""

    source: Box
    target: Box
    count: int
    colour: int

    @property
    def span(self) -> int:
        return self.target.floor - self.source.floor


def floors(project: Path = PACKAGE.parents[1] / "pyproject.toml") -> list[list[str]]:
    """Return the rooms of each floor, from the top, as the import contract has them."""
    contracts = tomllib.loads(project.read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each.get("containers") == ["batchnorm"])
    return [re.findall(r"\w+", layer) for layer in layers]


def purpose(source: Source, name: str) -> str:
    """Return the first sentence of a docstring, without the room's own name before a colon."""
    first = (ast.get_docstring(source.tree) or "").partition("\n")[0].rstrip(".")
    label, colon, rest = first.partition(": ")
    said = rest if colon and label.lower().endswith(name.strip("_")) else first
    return said[:1].upper() + said[1:].split(";")[0].replace("`", "")


def draw(sources: Mapping[str, Source], levels: Sequence[Sequence[str]]) -> str:
    """Return the picture of the rooms that have a floor."""
    rooms = {room(name) for name in sources} - OUTSIDE
    faces = {room(name) for name, source in sources.items() if source.is_face}
    counts = between_rooms(imports(sources))
    users = Counter(there for here, there in counts if here in faces)
    ground = {name for name in rooms - faces if users[name] > 1}
    upper = [[name for name in level if name in rooms - ground] for level in levels]
    upper = [level for level in upper if level]
    sizes = Counter(room(name) for name in sources)
    says = {name: purpose(sources[f"batchnorm.{name}"], name) for name in sorted(rooms)}
    boxes = place(upper, says, busy(counts, upper))
    arrows = [
        Arrow(boxes[here], boxes[there], counts[here, there], number % 6)
        for number, here in enumerate(boxes)
        for there in boxes
        if counts[here, there]
    ]
    for arrow in arrows:
        if arrow.span < 1:
            raise ValueError(
                f"{arrow.source.name} imports {arrow.target.name}: arrows point down only"
            )
    parts = [
        *routes(arrows),
        *(draw_box(box, sizes[box.name], says[box.name]) for box in boxes.values()),
    ]
    bottom = max(box.bottom for box in boxes.values()) + GAP
    parts.append(
        draw_ground(
            [name for level in levels for name in level if name in ground], users, says, bottom
        )
    )
    height = bottom + 34 + LINE * len(ground) + 24
    return page(parts, height)


def busy(counts: Mapping[tuple[str, str], int], levels: Sequence[Sequence[str]]) -> Counter[str]:
    """Return how many arrows at each box go farther than to the next floor."""
    floor = {name: number for number, level in enumerate(levels) for name in level}
    far = [pair for pair in counts if set(pair) <= floor.keys()]
    return Counter(name for pair in far if floor[pair[1]] - floor[pair[0]] > 1 for name in pair)


def place(
    levels: Sequence[Sequence[str]], says: Mapping[str, str], far: Mapping[str, int]
) -> dict[str, Box]:
    """Return the boxes, floor below floor, siblings side by side, high enough for their arrows."""
    boxes: dict[str, Box] = {}
    y = TOP
    for floor, level in enumerate(levels):
        width = (RIGHT - LEFT - BETWEEN * (len(level) - 1)) / len(level)
        text = max(40 + LINE * len(wrapped(says[name], width)) for name in level)
        sides_free = 2 if len(level) == 1 else 1
        ports = max(24 + PORT * -(-far[name] // sides_free) for name in level)
        height = max(text, ports)
        for column, name in enumerate(level):
            sides = {"left"} if column == 0 else set()
            sides |= {"right"} if column == len(level) - 1 else set()
            x = LEFT + column * (width + BETWEEN)
            boxes[name] = Box(name, floor, x, y, width, height, frozenset(sides))
        y += height + GAP
    return boxes


def wrapped(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, int((width - 24) / 6.3))


def routes(arrows: Iterable[Arrow]) -> list[str]:
    """Return all arrows: to the next floor straight down, farther in a lane beside the boxes."""
    lanes: dict[str, list[list[range]]] = {"left": [], "right": []}
    drawn = []
    for arrow in sorted(arrows, key=lambda arrow: (arrow.span, arrow.source.floor)):
        if arrow.span == 1:
            drawn.append(straight(arrow))
            continue
        span = range(arrow.source.floor, arrow.target.floor)
        options = sorted(
            ((first_free(lanes[side], span), side) for side in ("left", "right")),
            key=lambda option: (detours(arrow, option[1]), option[0], option[1] == "left"),
        )
        lane, side = options[0]
        if lane == len(lanes[side]):
            lanes[side].append([])
        lanes[side][lane].append(span)
        drawn.append(around(arrow, side, lane))
    return drawn


def first_free(lanes: Sequence[Sequence[range]], span: range) -> int:
    """Return the innermost lane in which nothing runs beside `span`."""
    free = (
        number
        for number, taken in enumerate(lanes)
        if all(span.stop <= each.start or each.stop <= span.start for each in taken)
    )
    return next(free, len(lanes))


def detours(arrow: Arrow, side: str) -> int:
    return (side not in arrow.source.sides) + (side not in arrow.target.sides)


def straight(arrow: Arrow) -> str:
    (x, y), (tx, ty) = arrow.source.port("begin", "bottom"), arrow.target.port("end", "top")
    if arrow.target.x <= x <= arrow.target.x + arrow.target.width:
        tx = x
    elif arrow.source.x <= tx <= arrow.source.x + arrow.source.width:
        x = tx
    middle = (y + ty) / 2
    path = f"M{x:g} {y:g}C{x:g} {middle:g} {tx:g} {middle:g} {tx:g} {ty - 6:g}"
    return drawn_arrow(arrow, path, (tx, ty, "down"), ((x + tx) / 2 + 7, middle + 3, "start"))


def around(arrow: Arrow, side: str, lane: int) -> str:
    """Return an arrow that leaves a box, goes down a lane and enters another box."""
    out = -1 if side == "left" else 1
    edge = LEFT if side == "left" else RIGHT
    track = edge + out * (FIRST_LANE + LANE * lane)
    begin = side if side in arrow.source.sides else "bottom"
    end = side if side in arrow.target.sides else "top"
    x, y = arrow.source.port("begin", begin)
    tx, ty = arrow.target.port("end", end)
    points = [(x, y)]
    if begin == "bottom":
        y += arrow.source.step("below")
        points.append((x, y))
    points.append((track, y))
    if end == "top":
        above = ty - 8 - arrow.target.step("above")
        points += [(track, above), (tx, above), (tx, ty - 6)]
        head = (tx, ty, "down")
    else:
        points += [(track, ty), (tx + out * 6, ty)]
        head = (tx, ty, "left" if side == "right" else "right")
    label = (edge + out * 8, y + 4, "end" if side == "left" else "start")
    return drawn_arrow(arrow, rounded(points), head, label)


def rounded(points: Sequence[tuple[float, float]], radius: float = 7) -> str:
    """Return a path of straight pieces with round corners."""
    path = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (ax, ay), (bx, by) = (towards(corner, other, radius) for other in (before, after))
        path.append(f"L{ax:g} {ay:g}Q{corner[0]:g} {corner[1]:g} {bx:g} {by:g}")
    path.append(f"L{points[-1][0]:g} {points[-1][1]:g}")
    return "".join(path)


def towards(
    start: tuple[float, float], end: tuple[float, float], step: float
) -> tuple[float, float]:
    """Return the point `step` away from `start`; one of the two directions is zero."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    step = min(step, max(abs(dx), abs(dy)) / 2)
    return start[0] + step * ((dx > 0) - (dx < 0)), start[1] + step * ((dy > 0) - (dy < 0))


def drawn_arrow(
    arrow: Arrow, path: str, head: tuple[float, float, str], label: tuple[float, float, str]
) -> str:
    x, y, way = head
    turn = {"down": 0, "left": 90, "right": -90}[way]
    thick = 1 + min(arrow.count, 24) / 12
    words = "import" if arrow.count == 1 else "imports"
    return (
        f'<g class="c{arrow.colour}"><title>{arrow.source.name} to {arrow.target.name}: '
        f'{arrow.count} {words}</title><path class="arrow" d="{path}" stroke-width="{thick:.2f}"/>'
        f'<path class="head" d="M0 0L-5 -9L5 -9Z" transform="translate({x:g} {y:g}) '
        f'rotate({turn})"/>'
        f'<text class="count" x="{label[0]:g}" y="{label[1]:g}" text-anchor="{label[2]}">'
        f"{arrow.count}</text></g>"
    )


def draw_box(box: Box, size: int, says: str) -> str:
    modules = f"{size} module{'s' * (size != 1)}"
    x, right = box.x + 14, box.x + box.width - 14
    lines = "".join(
        f'<text class="soft" x="{x:g}" y="{box.y + 44 + LINE * number:g}">{escape(line)}</text>'
        for number, line in enumerate(wrapped(says, box.width))
    )
    return (
        f'<g><rect class="box" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" '
        f'height="{box.height:g}" rx="8"/>'
        f'<text class="name" x="{x:g}" y="{box.y + 25:g}">{box.name}</text>'
        f'<text class="soft" x="{right:g}" y="{box.y + 25:g}" text-anchor="end">{modules}'
        f"</text>{lines}</g>"
    )


def draw_ground(
    names: Sequence[str], users: Mapping[str, int], says: Mapping[str, str], y: float
) -> str:
    """Return the slab of the single modules that rooms of any floor import."""
    lines = "".join(
        f'<text class="soft" x="{LEFT + 14}" y="{y + 30 + LINE * number:g}">'
        f'<tspan font-weight="600">{name}</tspan>: {escape(says[name])} '
        f"({users[name]} rooms)</text>"
        for number, name in enumerate(names)
    )
    height = 24 + LINE * len(names)
    return (
        f'<rect class="ground" x="20" y="{y:g}" width="{WIDTH - 40}" '
        f'height="{height + 10:g}" rx="8"/>'
        f'<text class="name" x="40" y="{y + 30:g}">the ground</text>{lines}'
    )


def page(parts: Iterable[str], height: float) -> str:
    body = "\n".join(parts)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img">
<title>The rooms of batchnorm: arrows are imports, and point down only</title>
<style>{STYLE}</style>
<rect class="page" width="{WIDTH}" height="{height:g}" rx="10"/>
<text class="title" x="20" y="36">The rooms of batchnorm</text>
<text class="soft" x="20" y="56">{LEGEND}</text>
{body}
</svg>
"""


if __name__ == "__main__":
    PICTURE.write_text(draw(read(), floors()), encoding="utf-8")
    print(PICTURE)
