"""Fresh processes: whatever is imported first, the modules are known and the checkpoints load."""

import inspect
import os

import pytest
import ultralytics
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import dist

from benchmarks.processes.checks import check_group, end, launch, launch_hosts
from benchmarks.processes.folder import write_folder
from effyolo_ultra import __version__

BUILD = "from ultralytics import YOLO; assert len(YOLO('yolov5n-effdet.yaml').model.model[1].cells) == 3"
STOCK = "from ultralytics import YOLO; assert len(YOLO('yolov5n.yaml').model.model) == 25"


FIRST = [
    "import effyolo_ultra",
    "from effyolo_ultra.nn import BiFPN; BiFPN({3: 8, 4: 16}, 8, 1)",
    "from effyolo_ultra.nn.bifpn import BiFPN",
    "import effyolo_ultra.parser",
    "import effyolo_ultra; effyolo_ultra.register(); effyolo_ultra.register()",
    "import ultralytics.data.utils",
    "from ultralytics.nn.tasks import DetectionModel",
    "from ultralytics import YOLO; import effyolo_ultra",
]


# Without the start-up file, only where it matters what comes first: ours, a part of ours, Ultralytics.
@pytest.mark.parametrize(
    ("first", "autoload"), [*((first, "") for first in FIRST), *((FIRST[i], "1") for i in (0, 2, 6))]
)
def test_import_order(run_python, tmp_path, first, autoload):
    register = "import effyolo_ultra; effyolo_ultra.register()" if autoload else ""
    done = run_python(f"{first}\n{register}\n{BUILD}", cwd=tmp_path, EFFYOLO_ULTRA_NO_AUTOLOAD=autoload)
    assert done.returncode == 0 and "could not extend" not in done.stderr, done.stderr


@pytest.mark.parametrize("safe", ["0", "1"])
def test_checkpoint_loads_in_a_process_that_knows_nothing(run_python, tmp_path, safe):
    YOLO("yolov5n-effdet.yaml").save(tmp_path / "x.pt")
    load = "from ultralytics import YOLO; print(type(YOLO('x.pt').model.model[0]).__name__)"
    done = run_python(load, cwd=tmp_path, ULTRALYTICS_SAFE_LOAD=safe)
    assert done.stdout.split()[-1:] == ["EfficientNetBackbone"], done.stderr


def test_pickled_model_before_ultralytics(run_python, tmp_path):
    YOLO("yolov5n-effdet.yaml").save(tmp_path / "x.pt")
    done = run_python(f"import torch; torch.load('x.pt', weights_only=False)\n{BUILD}", cwd=tmp_path)
    assert done.returncode == 0 and "could not extend" not in done.stderr, done.stderr


def test_changed_ultralytics_is_named_and_stock_goes_on(run_python, tmp_path):
    code = (
        "import ultralytics.nn.tasks as tasks, warnings\n"
        "from effyolo_ultra import _ultralytics\n"
        "from effyolo_ultra.errors import UltralyticsVersionError\n"
        "stock = tasks.parse_model\n"
        "tasks.parse_model = lambda d, ch, **how: stock(d, ch, **how)\n"
        "try:\n"
        "    _ultralytics.patch_tasks(tasks)\n"
        "except UltralyticsVersionError as error:\n"
        "    print(error)\n"
        f"{STOCK}\n"
    )
    done = run_python(code, cwd=tmp_path, EFFYOLO_ULTRA_NO_AUTOLOAD="1")
    assert done.returncode == 0, done.stderr
    assert "ultralytics.nn.tasks.parse_model takes (d, ch, how), expected (d, ch, verbose)" in done.stdout
    assert f"ultralytics {ultralytics.__version__} cannot be extended by effyolo_ultra {__version__}:" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(DetectionTrainer, "_build_train_pipeline") or "cloudpickle" not in inspect.getsource(dist),
    reason="this Ultralytics has no place to put gloo in, or takes no trainer that cannot be imported",
)
def test_groups_of_processes_at_once_in_one_folder(tmp_path):
    """One by Ultralytics' own script, one by a torchrun for each host; none has found the pictures drawn."""
    write_folder(tmp_path)
    end(
        launch(tmp_path, "own.pt", "runs/script", "spawn"),
        *launch_hosts(tmp_path, "own.yaml", "runs/hosts", "forkserver"),
    )
    check_group(tmp_path, "runs/script", "spawn")
    check_group(tmp_path, "runs/hosts", "forkserver")
    assert sorted(os.listdir(tmp_path / "runs")) == ["hosts", "script"]
    assert len(list(tmp_path.glob("small/images/*/*.jpg"))) == 20 and not list(tmp_path.glob(".small*"))
