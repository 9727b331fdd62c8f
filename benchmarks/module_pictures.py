"""The pictures of what each module does, docs/pictures/*.svg, drawn from the modules themselves.

python -m benchmarks.module_pictures               draws all of them
python -m benchmarks.module_pictures bifpn fusion  draws some
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks.page import ROOT
from benchmarks.pictures import backbones, fusions, heads, necks
from benchmarks.pictures.sheet import Sheet

FOLDER = ROOT / "docs" / "pictures"
PICTURES: dict[str, Callable[[], Sheet]] = {
    "efficientnet": backbones.efficientnet,
    "families": backbones.families,
    "way": necks.way,
    "bifpn": necks.bifpn,
    "node": necks.node,
    "fusion": fusions.fusion,
    "light_head": heads.light_head,
}


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help=f"some of {', '.join(PICTURES)}")
    FOLDER.mkdir(exist_ok=True)
    for name in parser.parse_args().pictures or PICTURES:
        PICTURES[name]().save(FOLDER / f"{name}.svg")


if __name__ == "__main__":
    main()
