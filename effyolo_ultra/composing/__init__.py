"""Composing a model YAML from a backbone, a neck and a head; the zoo is made by it.

* `sizes.py` says how wide and deep the neck of a backbone is, `backbones.py` writes the backbone's row.
* `necks.py` writes the rows of a neck, with `blocks.py` for what each YOLO makes it of, and `heads.py` the head's row.
* `text.py` puts them together: `compose`. `files.py` tries a text and writes it, `zoo_files.py` lists the zoo.
"""

from effyolo_ultra.composing.files import write_model
from effyolo_ultra.composing.text import compose

__all__ = ["compose", "write_model"]
