"""The zoo table of the README.

python -m benchmarks.zoo_table            prints it
python -m benchmarks.zoo_table --write    writes it into README.md
"""

import argparse
import re

from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import get_flops

from benchmarks.page import write_between
from effyolo_ultra.nn import BiFPN
from effyolo_ultra.zoo import list_models

PAN_NECKS = {"pan": "PAN", "bifpn": "weighted PAN"}


def row(name: str) -> str:
    """Return the line of one model."""
    model = DetectionModel(name, verbose=False)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    backbone = model.model[0].model_name.removeprefix("tf_efficientnet_").upper()
    if isinstance(bifpn := model.model[1], BiFPN):
        neck = f"BiFPN {bifpn.channels} x {len(bifpn.cells)} on P3 to P{bifpn.levels[-1]}"
    else:
        neck = PAN_NECKS[re.search(r"-(\w+)\.yaml", name)[1]]
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
