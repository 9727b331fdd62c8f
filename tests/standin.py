"""A stand-in for the package `ultralytics`: the modules our start-up code looks for, and nothing that takes time."""

from __future__ import annotations

from pathlib import Path

TASKS = "ultralytics.nn.tasks"
DATA_UTILS = "ultralytics.data.utils"

# As in the real package, the data side imports the network side and not the other way round; COMPLETE is the last line.
FILES = {
    "__init__.py": "",
    "nn/__init__.py": "",
    "nn/tasks.py": "def parse_model(d, ch, verbose=True):\n    return d\n\n\nCOMPLETE = True\n",
    "data/__init__.py": "",
    "data/utils.py": "import ultralytics.nn.tasks\n\nCOMPLETE = True\n",
    # Run as `python -m ultralytics.cfg.__init__`, as Ultralytics itself starts its subprocesses.
    "cfg/__init__.py": (
        "import json, sys\n"
        "import ultralytics.data.utils\n\n"
        "if __name__ == '__main__':\n"
        "    ours = sys.modules.get('effyolo_ultra._autoload')\n"
        "    print(json.dumps(None if ours is None else sorted(ours.hooked)))\n"
    ),
}


def write_standin(folder: Path) -> Path:
    """Write the stand-in into `folder`, which is then to be on sys.path; return `folder`."""
    for name, text in FILES.items():
        path = folder / "ultralytics" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
