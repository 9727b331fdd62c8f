"""The zoo table of the README.

python -m benchmarks.zoo_table            prints it
python -m benchmarks.zoo_table --write    writes it into README.md
"""

import argparse
import re

from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import get_flops

from benchmarks.page import write_between
from effyolo_ultra.zoo import list_models

NECKS = {"effdet": "BiFPN", "pan": "PAN", "bifpn": "weighted PAN"}


def row(name: str) -> str:
    """Return the line of one model."""
    model = DetectionModel(name, verbose=False)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    backbone = model.model[0].model_name.removeprefix("tf_efficientnet_").upper()
    neck = NECKS[re.search(r"-(\w+)\.yaml", name)[1]]
    if neck == "BiFPN":
        cell = model.model[1].cells
        neck += f" {cell[0].nodes[0].conv[-1].conv.out_channels} x {len(cell)}"
    return f"| `{name}` | {backbone} | {neck} | {parameters:.1f} | {get_flops(model, 640):.1f} |\n"


def table() -> str:
    """Return the whole table."""
    head = "| model | backbone | neck | parameters (M) | GFLOPs at 640 |\n| --- | --- | --- | ---: | ---: |\n"
    return head + "".join(row(name) for name in list_models())


def main() -> None:
    """Print the table, or write it into the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table into README.md")
    if parser.parse_args().write:
        write_between("README.md", "zoo table", table())
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
