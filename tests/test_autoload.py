"""The import hook, in fresh interpreters without site-packages (-S), against a stand-in for Ultralytics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from standin import DATA_UTILS, TASKS, write_standin

ROOT = Path(__file__).resolve().parent.parent

# Our changes to Ultralytics, replaced by a record of which function got which module, and whether its body had run.
RECORD = """
import importlib, importlib.util, json, sys, types
calls = []
def recorder(name):
    return lambda module: calls.append([name, module.__name__, hasattr(module, "COMPLETE")])
fake = types.ModuleType("effyolo_ultra._ultralytics")
fake.patch_tasks, fake.patch_data_utils = recorder("patch_tasks"), recorder("patch_data_utils")
sys.modules[fake.__name__] = fake
def ours():
    return [f for f in sys.meta_path if type(f).__module__ == "effyolo_ultra._autoload"]
"""
TASKS_CALL = ["patch_tasks", TASKS, True]
DATA_UTILS_CALL = ["patch_data_utils", DATA_UTILS, True]


@pytest.fixture
def python(tmp_path):
    """Run a script in a fresh interpreter; return what its last expression, named by `report`, evaluates to."""
    write_standin(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(script, report="calls", *, path=tmp_path, options=(), stderr="", **environment):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "EFFYOLO_"))}
        done = subprocess.run(
            [sys.executable, "-S", *options, "-c", f"{RECORD}\n{script}\nprint(json.dumps({report}))"],
            env={**clean, "PYTHONPATH": os.pathsep.join([str(path), str(ROOT)]), **environment},
            cwd=elsewhere,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert stderr in done.stderr if stderr else done.stderr == ""
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize(
    "script, expected",
    [
        pytest.param("import effyolo_ultra", [], id="ultralytics never imported"),
        pytest.param("import effyolo_ultra, ultralytics.nn.tasks", [TASKS_CALL], id="tasks"),
        pytest.param("import effyolo_ultra, ultralytics.data.utils", [TASKS_CALL, DATA_UTILS_CALL], id="data.utils"),
        pytest.param(
            "import effyolo_ultra, ultralytics.nn.tasks, ultralytics.data.utils",
            [TASKS_CALL, DATA_UTILS_CALL],
            id="tasks, then data.utils",
        ),
        pytest.param("import ultralytics.nn.tasks, effyolo_ultra", [TASKS_CALL], id="we come after tasks"),
        pytest.param(
            "import ultralytics.nn.tasks, effyolo_ultra, ultralytics.data.utils",
            [TASKS_CALL, DATA_UTILS_CALL],
            id="we come between the two",
        ),
        pytest.param(
            "import ultralytics.data.utils, effyolo_ultra", [TASKS_CALL, DATA_UTILS_CALL], id="we come after both"
        ),
    ],
)
def test_each_hook_runs_once_and_after_the_body(python, script, expected):
    assert python(script) == expected
    assert python(script, "sorted(effyolo_ultra._autoload.hooked.items())") == sorted([c[1], ""] for c in expected)


def test_install_twice_gives_one_finder_and_one_call(python):
    script = """
from effyolo_ultra._autoload import install
install()
import ultralytics.nn.tasks
install()
"""
    assert python(script, "[len(ours()), calls]") == [1, [TASKS_CALL]]


def test_a_dropped_copy_of_the_package_leaves_no_second_finder(python):
    script = """
import effyolo_ultra
first = ours()
for name in [name for name in sys.modules if name.startswith("effyolo_ultra") and name != fake.__name__]:
    del sys.modules[name]
import effyolo_ultra
import ultralytics.nn.tasks
"""
    assert python(script, "[len(first), len(ours()), ours() == first, calls]") == [1, 1, False, [TASKS_CALL]]


def test_a_finder_that_was_taken_away_comes_back(python):
    assert python(
        "from effyolo_ultra._autoload import install; sys.meta_path.remove(ours()[0]); install()", "len(ours())"
    )


def test_the_finder_answers_for_no_other_module(python):
    names = ["ultralytics", "ultralytics.nn", "ultralytics.nn.tasks.x", "json", "tasks"]
    script = f"import effyolo_ultra\nanswers = [ours()[0].find_spec(name, None) for name in {names}]"
    assert python(script, "answers") == [None] * len(names)


def test_a_module_that_does_not_exist_stays_a_plain_import_error(python, tmp_path):
    (tmp_path / "ultralytics/nn/tasks.py").unlink()
    script = """
import effyolo_ultra
try:
    import ultralytics.nn.tasks
except ModuleNotFoundError as error:
    name = error.name
"""
    assert python(script, "[name, calls]") == [TASKS, []]


def test_find_spec_imports_nothing(python):
    script = """
import effyolo_ultra
spec = importlib.util.find_spec("ultralytics.nn.tasks")
before = ["ultralytics.nn.tasks" in sys.modules, list(calls), "COMPLETE" in spec.loader.get_source(spec.name)]
import ultralytics.nn.tasks
"""
    assert python(script, "[before, calls]") == [[False, [], True], [TASKS_CALL]]


def test_a_module_made_from_its_spec_by_hand(python):
    script = """
import effyolo_ultra
spec = importlib.util.find_spec("ultralytics.nn.tasks")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""
    assert python(script) == [TASKS_CALL]


def test_the_module_keeps_its_real_loader(python):
    script = """
import effyolo_ultra, inspect
import ultralytics.nn.tasks as tasks
loaders = [type(tasks.__loader__).__name__, type(tasks.__spec__.loader).__name__]
"""
    loaders, source = python(script, "[loaders, inspect.getsource(tasks.parse_model)]")
    assert loaders == ["SourceFileLoader"] * 2
    assert source.startswith("def parse_model(")


def test_a_spec_can_be_pickled_and_copied_before_the_import(python):
    script = """
import copy, effyolo_ultra, pickle
loader = importlib.util.find_spec("ultralytics.nn.tasks").loader
same = copy.copy(loader).path == pickle.loads(pickle.dumps(loader)).path == loader.path
"""
    assert python(script, "same") is True


def test_reload_extends_the_module_again(python):
    script = "import effyolo_ultra, ultralytics.nn.tasks as tasks\nfor _ in range(2): importlib.reload(tasks)"
    assert python(script) == [TASKS_CALL] * 3


def test_import_after_removal_from_sys_modules(python):
    script = """
import effyolo_ultra, ultralytics.nn.tasks
del sys.modules["ultralytics.nn.tasks"]
import ultralytics.nn.tasks
"""
    assert python(script) == [TASKS_CALL] * 2


def test_lazy_loader(python):
    script = """
import effyolo_ultra
spec = importlib.util.find_spec("ultralytics.nn.tasks")
spec.loader = importlib.util.LazyLoader(spec.loader)
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
before = list(calls)
module.parse_model
"""
    assert python(script, "[before, calls]") == [[], [TASKS_CALL]]


# A finder of someone else, put in front of all others once we are installed; {loader} is the class it answers with.
CUSTOM_FINDER = """
import effyolo_ultra

class Modern:
    __slots__ = ()  # no attribute of an instance can be set
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        module.COMPLETE = "custom"

class Frozen:  # the class itself is the loader, as importlib's FrozenImporter
    create_module = staticmethod(lambda spec: None)
    @staticmethod
    def exec_module(module):
        module.COMPLETE = "custom"

class Legacy:
    def load_module(self, name):
        module = sys.modules[name] = types.ModuleType(name)
        module.__loader__, module.COMPLETE = self, "custom"
        return module

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "ultralytics.nn.tasks":
            return importlib.util.spec_from_loader(name, {loader})
"""


@pytest.mark.parametrize(
    "loader, position",
    [
        pytest.param("Modern()", 1, id="loader without settable attributes"),
        pytest.param("Frozen", 1, id="a class as loader"),
        pytest.param(
            "Legacy()",
            1,
            id="loader with load_module only",
            marks=pytest.mark.skipif(sys.version_info >= (3, 15), reason="Python 3.15 removed load_module"),
        ),
    ],
)
def test_a_spec_found_by_a_custom_finder(python, loader, position):
    script = f"""{CUSTOM_FINDER.replace("{loader}", loader)}
sys.meta_path.insert({position}, Finder())
import ultralytics.nn.tasks as tasks
real = [type(owner).__name__ for owner in (tasks.__loader__, tasks.__spec__.loader)]
"""
    calls, complete, real = python(script, "[calls, tasks.COMPLETE, real]", options=["-W", "ignore"])
    assert (calls, complete) == ([TASKS_CALL], "custom")
    assert "_Loader" not in real


@pytest.mark.parametrize("position", [0, 1])
def test_a_finder_that_asks_all_finders_does_not_recurse(python, position):
    script = f"""
import effyolo_ultra

class Asker:
    busy = False
    def find_spec(self, name, path=None, target=None):
        if not name.startswith("ultralytics.nn.") or {position} == 0 and self.busy:
            return None
        self.busy = True
        try:
            for finder in sys.meta_path:
                spec = None if finder is self else finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        finally:
            self.busy = False

sys.meta_path.insert({position}, Asker())
import ultralytics.nn.tasks
"""
    assert python(script) == [TASKS_CALL]


def test_a_finder_that_answers_with_one_and_the_same_spec(python):
    script = """
import effyolo_ultra
from importlib.machinery import PathFinder

class Cached:
    spec = None
    def find_spec(self, name, path=None, target=None):
        if name == "ultralytics.nn.tasks":
            self.spec = self.spec or PathFinder.find_spec(name, path, target)
            return self.spec

sys.meta_path.insert(1, Cached())
specs = [importlib.util.find_spec("ultralytics.nn.tasks") for _ in range(3)]
import ultralytics.nn.tasks
"""
    assert python(script, "[specs[0] is specs[2], calls]") == [True, [TASKS_CALL]]


def test_a_finder_of_the_old_kind_is_passed_over(python):
    script = """
import effyolo_ultra
class Old:
    def find_module(self, name, path=None):
        return None
sys.meta_path.insert(1, Old())
import ultralytics.nn.tasks
"""
    assert python(script) == [TASKS_CALL]


def test_zip_file(python, tmp_path):
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted((tmp_path / "ultralytics").rglob("*.py")):
            target.write(path, path.relative_to(tmp_path))
        for name in ("__init__", "_autoload"):
            target.write(ROOT / f"effyolo_ultra/{name}.py", f"effyolo_ultra/{name}.py")
    script = "import effyolo_ultra, ultralytics.data.utils, ultralytics.cfg"
    calls, loader, ours = python(
        script, "[calls, type(ultralytics.nn.tasks.__loader__).__name__, effyolo_ultra.__file__]", path=archive
    )
    assert calls == [TASKS_CALL, DATA_UTILS_CALL]
    assert loader == "zipimporter"
    assert str(archive) in ours


def test_threads_never_see_a_module_before_its_hook(python):
    script = """
import effyolo_ultra, threading, time
def slow(module):
    time.sleep(0.05)
    module.PATCHED = True
    calls.append(module.__name__)
fake.patch_tasks = fake.patch_data_utils = slow
seen, start = [], threading.Barrier(8)
def work(name):
    start.wait()
    seen.append(hasattr(importlib.import_module(name), "PATCHED"))
names = ["ultralytics.nn.tasks", "ultralytics.data.utils"] * 4
threads = [threading.Thread(target=work, args=(name,)) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    assert python(script, "[seen, sorted(calls)]") == [[True] * 8, [DATA_UTILS, TASKS]]


def test_imported_while_the_module_is_half_done(python, tmp_path):
    tasks = tmp_path / "ultralytics/nn/tasks.py"
    tasks.write_text("import effyolo_ultra, colorsys\n" + tasks.read_text())
    script = "import ultralytics.nn.tasks\nbefore = list(calls)\nimport quopri"
    assert python(script, "[before, calls]") == [[], [TASKS_CALL]]


def test_install_while_our_own_loader_is_at_work(python, tmp_path):
    tasks = tmp_path / "ultralytics/nn/tasks.py"
    tasks.write_text("from effyolo_ultra._autoload import install\ninstall()\nimport colorsys\n" + tasks.read_text())
    assert python("import effyolo_ultra, ultralytics.nn.tasks, quopri") == [TASKS_CALL]


def test_imported_while_a_module_is_half_done_that_then_fails(python, tmp_path):
    tasks = tmp_path / "ultralytics/nn/tasks.py"
    good = tasks.read_text()
    tasks.write_text("import effyolo_ultra\n1 / 0\n" + good)
    script = f"""
try:
    import ultralytics.nn.tasks
except ZeroDivisionError:
    failed = list(calls)
open({str(tasks)!r}, "w").write({good!r})
importlib.invalidate_caches()
import quopri
between = list(calls)
import ultralytics.nn.tasks
"""
    result = python(script, "[failed, between, calls]", PYTHONDONTWRITEBYTECODE="1")
    assert result == [[], [], [TASKS_CALL]]


def test_a_fault_in_the_body_is_theirs(python, tmp_path):
    tasks = tmp_path / "ultralytics/nn/tasks.py"
    tasks.write_text("1 / 0\n" + tasks.read_text())
    script = """
import effyolo_ultra
try:
    import ultralytics.nn.tasks
except ZeroDivisionError as error:
    fault = str(error)
"""
    assert python(script, "[fault, calls, effyolo_ultra._autoload.hooked]") == ["division by zero", [], {}]


FAULTS = [
    pytest.param("fake.patch_tasks = lambda module: module.no_such_name", ["AttributeError"], id="fault in the hook"),
    pytest.param("del fake.patch_tasks", ["AttributeError"], id="no such hook"),
    pytest.param(
        "sys.modules[fake.__name__] = None",
        ["ImportError", "ModuleNotFoundError"],
        id="our own module cannot be imported",
    ),
]


@pytest.mark.parametrize("fault, error", FAULTS)
def test_a_fault_of_ours_is_one_warning(python, fault, error):
    script = f"""
import warnings
{fault}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import effyolo_ultra, ultralytics.nn.tasks
    effyolo_ultra._autoload.install()
found = [[w.category.__name__, str(w.message)] for w in caught]
"""
    found, complete, hooked = python(script, "[found, ultralytics.nn.tasks.COMPLETE, effyolo_ultra._autoload.hooked]")
    [(category, message)] = found
    assert category == "RuntimeWarning"
    assert complete is True
    for word in (TASKS, hooked[TASKS], "EFFYOLO_ULTRA_NO_AUTOLOAD=1"):
        assert word in message
    assert hooked[TASKS].split(":")[0] in error


@pytest.mark.parametrize("fault", [pytest.param(p.values[0], id=p.id) for p in FAULTS])
def test_a_fault_of_ours_where_warnings_are_errors(python, fault):
    script = f"{fault}\nimport effyolo_ultra, ultralytics.nn.tasks"
    report = "ultralytics.nn.tasks.COMPLETE"
    assert python(script, report, options=["-W", "error"], stderr="RuntimeWarning: effyolo_ultra could not") is True


@pytest.mark.parametrize("value", ["1", "true", "yes", "ON", "2", "anything"])
@pytest.mark.parametrize(
    "script", ["import effyolo_ultra, ultralytics.data.utils", "import ultralytics.data.utils, effyolo_ultra"]
)
def test_opt_out(python, script, value):
    report = "[ours(), calls, effyolo_ultra._autoload.hooked]"
    assert python(script, report, EFFYOLO_ULTRA_NO_AUTOLOAD=value) == [[], [], {}]


@pytest.mark.parametrize("value", ["", "0", "false", "False", "no", "NO", "off", " off "])
def test_values_that_are_no_opt_out(python, value):
    script = "import effyolo_ultra, ultralytics.nn.tasks"
    assert python(script, EFFYOLO_ULTRA_NO_AUTOLOAD=value) == [TASKS_CALL]


def test_opt_out_after_the_start(python):
    script = """
import effyolo_ultra, os
os.environ["EFFYOLO_ULTRA_NO_AUTOLOAD"] = "1"
import ultralytics.nn.tasks
"""
    assert python(script) == []


def test_explicit_registration_works_under_the_opt_out(python):
    script = "fake.register = lambda: calls.append('register')\nimport effyolo_ultra\neffyolo_ultra.register()"
    assert python(script, "[ours(), calls]", EFFYOLO_ULTRA_NO_AUTOLOAD="1") == [[], ["register"]]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ultralytics") is None, reason="Ultralytics is not installed")
@pytest.mark.parametrize("first", [TASKS, DATA_UTILS, "ultralytics"])
def test_the_real_ultralytics(first, tmp_path):
    script = f"""{RECORD.replace("COMPLETE", "__file__")}
import effyolo_ultra, {first}
from ultralytics import YOLO
import ultralytics.data.utils
print(json.dumps(sorted(calls)))
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EFFYOLO_")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "PYTHONPATH": str(ROOT), "YOLO_CONFIG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == sorted([TASKS_CALL, DATA_UTILS_CALL])
