"""The way of each arrow: straight where nothing is in between, else around the boxes. All lengths are inches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.path import Path
from matplotlib.transforms import Bbox

from effyolo_ultra.drawing.graph import Arrow, Graph
from effyolo_ultra.drawing.layout import COLUMN_GAP, LANE, Layout, Place, height_of

Point = tuple[float, float]
Way = list[Point]
CLEAR = 0.03  # between an arrow and a box that it passes
TIP = 0.015  # between the tip of an arrow and its box
CLEAR_OF_TIPS = 0.13  # between a row of boxes and the arrows that pass along it: the tips of others are in between
PORT = 0.08  # between two arrows that end at the same side of a box


def ways_of(graph: Graph, layout: Layout) -> list[Way]:
    """Return the corners of each arrow of the graph, from its source to its target."""
    ways: list[Way] = []
    for arrow in graph.arrows:
        left = layout.places[arrow.source.box].edges[0] - COLUMN_GAP
        right = layout.places[arrow.target].edges[1] + COLUMN_GAP
        boxes = [
            place
            for box, place in layout.places.items()
            if box not in (arrow.source.box, arrow.target) and place.edges[1] > left and place.edges[0] < right
        ]
        others = [
            way
            for other, way in zip(graph.arrows, ways)
            if other.source.box is not arrow.source.box and way[-1][0] > left and way[0][0] < right
        ]
        ways.append(best_way(arrow, layout, boxes, others))
    return ways


def best_way(arrow: Arrow, layout: Layout, boxes: Sequence[Place], others: Sequence[Way]) -> Way:
    """Return the simplest way that hits no box and lies on no other way, else the one that does it least."""
    found: list[tuple[tuple[int, int], Way]] = []
    for way in possible_ways(arrow, layout):
        found.append((badness(way, boxes, others), way))
        if found[-1][0] == (0, 0):
            break
    return min(found, key=lambda each: each[0])[1]


def badness(way: Way, boxes: Sequence[Place], others: Sequence[Way]) -> tuple[int, int]:
    """Return how many boxes a way hits, and how many ways of other sources it lies on."""
    path = Path(way)
    hits = 0
    for box in boxes:
        left, right, bottom, top = box.edges
        hits += path.intersects_bbox(Bbox([[left - CLEAR, bottom - CLEAR], [right + CLEAR, top + CLEAR]]), filled=False)
    return hits, sum(lies_on(way, other) for other in others)


def lies_on(way: Way, other: Way) -> bool:
    """Return whether two ways run along each other."""
    for (ax, ay), (bx, by) in zip(way, way[1:]):
        for (cx, cy), (dx, dy) in zip(other, other[1:]):
            if ay == by and cy == dy and abs(ay - cy) < LANE / 2:
                shared = min(max(ax, bx), max(cx, dx)) - max(min(ax, bx), min(cx, dx))
            elif ax == bx and cx == dx and abs(ax - cx) < LANE / 2:
                shared = min(max(ay, by), max(cy, dy)) - max(min(ay, by), min(cy, dy))
            else:
                continue
            if shared > LANE / 2:
                return True
    return False


def possible_ways(arrow: Arrow, layout: Layout) -> Iterator[Way]:
    """Yield the ways that an arrow may take, the simplest first."""
    s, t = layout.places[arrow.source.box], layout.places[arrow.target]
    sy = s.y if arrow.source.box.between else height_of(arrow.source.level, layout.heights)
    is_tall = arrow.target.levels[0] != arrow.target.levels[1]
    ty = sy if is_tall and t.edges[2] < sy < t.edges[3] else t.y
    s_right, t_left = s.edges[1], t.edges[0] - TIP
    s_end, t_end = (s.edges[3], t.edges[2] - TIP) if ty > sy else (s.edges[2], t.edges[3] + TIP)
    if s.x == t.x:
        yield [(s.x, s_end), (t.x, t_end)]
    if s_right < t.edges[0]:
        if sy == ty:
            yield [(s_right, sy), (t_left, ty)]
        elif arrow.target.cell and arrow.source.box.cell and abs(s.y - t.y) < 1.2:
            yield slanted(s, t)
        else:
            yield [(s_right, sy), (t.x, sy), (t.x, t_end)]
            yield [(s.x, s_end), (s.x, ty), (t_left, ty)]
            for gap in (s_right + COLUMN_GAP / 2, t.edges[0] - COLUMN_GAP / 2):
                yield [(s_right, sy), (gap, sy), (gap, ty), (t_left, ty)]
    yield from ways_around(s, t, sy, ty)


def ways_around(s: Place, t: Place, sy: float, ty: float) -> Iterator[Way]:
    """Yield the ways along the rows of boxes."""
    s_right, t_left = s.edges[1], t.edges[0]
    half = min(t.h, 0.17)  # of the boxes in a row; tall ones stand at its ends
    for k in range(4):
        leave, enter = s_right + (0.3 + 0.2 * k) * COLUMN_GAP, t_left - (0.5 + 0.15 * k) * COLUMN_GAP
        for row, side in ((sy, 1), (sy, -1), (ty, 1), (ty, -1)):
            lane = row + side * (half + CLEAR_OF_TIPS + LANE * k)
            port = side * PORT if sy == ty else 0.0
            up = s.edges[3] if lane > sy else s.edges[2]
            down = t.edges[3] + TIP if lane > ty else t.edges[2] - TIP
            end = [(enter, ty + port), (t_left - TIP, ty + port)]
            yield [(s_right, sy + port), (leave, sy + port), (leave, lane), (enter, lane), *end]
            yield [(s_right, sy), (leave, sy), (leave, lane), (t.x, lane), (t.x, down)]
            yield [(s.x, up), (s.x, lane), (enter, lane), *end]


def slanted(s: Place, t: Place) -> Way:
    """Return the straight line between two boxes, from border to border."""
    dx, dy = t.x - s.x, t.y - s.y
    share_s = min(s.w / abs(dx), s.h / abs(dy))
    share_t = 1 - min((t.w + TIP) / abs(dx), (t.h + TIP) / abs(dy))
    return [(s.x + share_s * dx, s.y + share_s * dy), (s.x + share_t * dx, s.y + share_t * dy)]


def rounded(way: Way, radius: float = 0.07) -> Path:
    """Return a way as a path whose corners are round."""
    points, codes = [way[0]], [Path.MOVETO]
    for before, corner, after in zip(way, way[1:], way[2:]):
        points += [towards(corner, before, radius), corner, towards(corner, after, radius)]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    return Path([*points, way[-1]], [*codes, Path.LINETO])


def towards(start: Point, end: Point, distance: float) -> Point:
    """Return the point at a distance from a corner, at most in the middle of the line."""
    length = abs(end[0] - start[0]) + abs(end[1] - start[1])
    share = min(distance / length, 0.5) if length else 0
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
