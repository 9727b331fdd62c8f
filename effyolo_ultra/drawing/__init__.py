"""A network as a picture: pyramid levels as rows, and the way of the features through them.

* `graph.py` turns a network into boxes and arrows.
* `layout.py` gives each box its place.
* `routes.py` finds a way for each arrow that passes no box.
* `picture.py` draws them.
"""

from effyolo_ultra.drawing.picture import draw

__all__ = ["draw"]
