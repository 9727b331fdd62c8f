"""One thing that `effyolo doctor` has looked at."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        topic: 'versions', 'hook', 'weights' or 'machine'.
        name: What was looked at.
        state: 'ok'; 'note', for what is good to know; 'warning', for what limits; 'problem', for what would stop a
            training.
        text: What was found.
        advice: What to do, '' where nothing is to be done.
    """

    topic: str
    name: str
    state: str
    text: str
    advice: str = ""
