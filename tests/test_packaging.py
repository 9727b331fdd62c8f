"""The distribution: what is in it, and that an installed copy is found by every process of its environment."""

from __future__ import annotations

import configparser
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from standin import DATA_UTILS, TASKS, write_standin

from effyolo_ultra import __version__

pytestmark = pytest.mark.xdist_group("packaging")  # one process builds and installs for all of them

ROOT = Path(__file__).resolve().parent.parent
STARTUP = ROOT / "startup"
YAML_FOLDERS = ["models", "datasets"]
# Beside the real YAML files, so that the checks do not lean on how many of those there are.
PROBES = [f"{folder}/{name}" for folder in YAML_FOLDERS for name in ("probe.yaml", "deep/probe.yaml")]


def clean_environment(**extra):
    """Return the environment without what could lead a fresh interpreter to this checkout or change its start."""
    unwanted = ("PYTHON", "EFFYOLO_", "PIP_TARGET", "PIP_USER", "PIP_PREFIX", "VIRTUAL_ENV")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    return {**clean, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}


def run(*command, cwd=None, **environment):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=clean_environment(**environment), capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


# --- without building anything -----------------------------------------------------------------------------------


def test_every_subpackage_is_listed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = config["options"]["packages"].split()
    # What setuptools.find_packages(include=["effyolo_ultra*"]) finds, but setuptools need not be installed.
    found = [".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "effyolo_ultra").rglob("__init__.py")]
    assert sorted(listed) == sorted([*found, *(f"effyolo_ultra.{folder}" for folder in YAML_FOLDERS)])


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in (ROOT / "effyolo_ultra").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_pth_is_one_import_line():
    text = (STARTUP / "effyolo_ultra.pth").read_text(encoding="ascii")
    assert text.count("\n") == 1 and text.endswith("\n")
    assert text.startswith("import ")  # site executes such lines alone and takes any other for a folder


def test_start_names_install():
    text = (STARTUP / "effyolo_ultra.start").read_text(encoding="ascii")
    [line] = text.splitlines()
    # As site resolves it, by PEP 829.
    from effyolo_ultra import _autoload

    assert pkgutil.resolve_name(line) is _autoload.install


@pytest.mark.parametrize("reachable", [True, False], ids=["package there", "package gone"])
def test_pth_as_site_reads_it(tmp_path, reachable):
    shutil.copy(STARTUP / "effyolo_ultra.pth", tmp_path)
    script = (
        f"import site, sys; sys.path[:0] = {[str(ROOT)] if reachable else []}; site.addsitedir({str(tmp_path)!r})\n"
        "print([type(finder).__module__ for finder in sys.meta_path].count('effyolo_ultra._autoload'))"
    )
    done = run(sys.executable, "-I", "-S", "-c", script)
    assert (done.stdout.strip(), done.stderr) == ("1" if reachable else "0", "")


# --- built and installed -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the files that a build takes, without what old builds left behind, and with the probes."""
    folder = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pt", "*.onnx")
    for name in ("effyolo_ultra", "startup", *YAML_FOLDERS):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for probe in PROBES:
        path = folder / probe
        path.parent.mkdir(exist_ok=True)
        path.write_text("probe: true\n")
    return folder


@pytest.fixture(scope="module")
def distributions(source, tmp_path_factory):
    """The wheel built from the tree, and the sdist."""
    out = tmp_path_factory.mktemp("dist")
    # From a copy: a build leaves files behind in the tree that it builds from.
    tree = shutil.copytree(source, out / "tree")
    run(sys.executable, "-m", "build", "--wheel", "--sdist", "--outdir", out, tree)
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def expected_files(source):
    """Return what a wheel has to hold besides its metadata."""
    code = [path.relative_to(source).as_posix() for path in (source / "effyolo_ultra").rglob("*.py")]
    yamls = [
        f"effyolo_ultra/{p.relative_to(source).as_posix()}" for f in YAML_FOLDERS for p in (source / f).rglob("*.yaml")
    ]
    recipes = [path.relative_to(source).as_posix() for path in (source / "effyolo_ultra" / "recipes").iterdir()]
    return {
        *code,
        *yamls,
        *recipes,
        "effyolo_ultra/py.typed",
        "effyolo_ultra/zoo.json",
        "effyolo_ultra.pth",
        "effyolo_ultra.start",
    }


@pytest.mark.slow
def test_wheel_content(source, distributions):
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        [metadata_name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = wheel.read(metadata_name).decode()
        licences = [name for name in wheel.namelist() if name.endswith("LICENSE")]
    assert names == expected_files(source)
    assert {f"effyolo_ultra/{probe}" for probe in PROBES} <= names
    assert len(licences) == 1
    lines = ["Name: effyolo-ultra", f"Version: {__version__}", "Requires-Python: >=3.9", "License: AGPL-3.0-or-later"]
    assert [
        line for line in lines if line not in metadata.replace("License-Expression:", "License:").splitlines()
    ] == []
    assert "\n# effyolo_ultra\n" in metadata  # the README


@pytest.mark.slow
def test_sdist_content(source, distributions):
    with tarfile.open(distributions["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    code = {name for name in expected_files(source) if name.endswith((".py", "py.typed", "zoo.json"))}
    yamls = {path.relative_to(source).as_posix() for f in YAML_FOLDERS for path in (source / f).rglob("*.yaml")}
    others = {"LICENSE", "README.md", "setup.py", "setup.cfg", "pyproject.toml"}
    assert code | yamls | others | {f"startup/{path.name}" for path in STARTUP.iterdir()} <= names


def in_child(module):
    return f"""
import json, multiprocessing, sys

def child(queue):
    import {module}
    ours = sys.modules.get("effyolo_ultra._autoload")
    queue.put(None if ours is None else sorted(ours.hooked))

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    print(json.dumps(queue.get(timeout=60)))
    process.join()
"""


def hooked(statement):
    """Return a script that runs `statement` and prints the names of the modules whose hook has run."""
    return (
        f"import json, sys; {statement}; ours = sys.modules.get('effyolo_ultra._autoload'); "
        "print(json.dumps(None if ours is None else sorted(ours.hooked)))"
    )


BOTH = sorted([TASKS, DATA_UTILS])
PROCESSES = [
    pytest.param(["-c", hooked("pass")], [], id="nothing imported"),
    pytest.param(["-c", hooked(f"import {TASKS}")], [TASKS], id="tasks"),
    pytest.param(["-c", hooked(f"import {TASKS}, {DATA_UTILS}")], BOTH, id="tasks first"),
    pytest.param(["-c", hooked(f"import {DATA_UTILS}, {TASKS}")], BOTH, id="data.utils first"),
    pytest.param(["-I", "-c", hooked(f"import {DATA_UTILS}")], BOTH, id="isolated mode"),
    pytest.param(["-m", "ultralytics.cfg.__init__"], BOTH, id="python -m ultralytics.cfg.__init__"),
    pytest.param(["spawn_tasks.py"], [TASKS], id="spawn, tasks"),
    pytest.param(["spawn_data_utils.py"], BOTH, id="spawn, data.utils"),
]


class Environment:
    """A fresh virtual environment with the stand-in for Ultralytics."""

    def __init__(self, folder):
        self.folder = folder
        run(sys.executable, "-m", "venv", folder / "venv")
        self.python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.site = Path(
            run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        )
        write_standin(self.site)
        (folder / "spawn_tasks.py").write_text(in_child(TASKS))
        (folder / "spawn_data_utils.py").write_text(in_child(DATA_UTILS))
        self.before = self.files()

    def files(self):
        """Return all that is in site-packages but bytecode of others."""
        names = {path.relative_to(self.site).as_posix() for path in self.site.rglob("*")}
        return {name for name in names if "effyolo" in name or "__pycache__" not in name}

    def pip(self, *arguments):
        run(self.python, "-m", "pip", "--quiet", *arguments)

    def output(self, *arguments, **environment):
        """Return the value printed as JSON; stderr is free, as a hook may well warn of what the stand-in lacks."""
        return json.loads(run(self.python, *arguments, cwd=self.folder, **environment).stdout)


@pytest.fixture(scope="module", params=["wheel", "editable", "sdist"])
def installed(request, source, distributions, tmp_path_factory):
    """An environment with the project installed in one of three forms."""
    environment = Environment(tmp_path_factory.mktemp(f"installed-{request.param}"))
    if request.param == "editable":
        tree = shutil.copytree(source, environment.folder / "tree")
        environment.pip("install", "--no-deps", "--editable", tree)
        environment.models = tree / "models"
    else:
        environment.pip("install", "--no-deps", distributions[request.param])
        environment.models = environment.site / "effyolo_ultra/models"
    return environment


@pytest.mark.slow
@pytest.mark.parametrize("arguments, expected", PROCESSES)
def test_hooks_run_in_every_process(installed, arguments, expected):
    assert installed.output(*arguments) == expected


@pytest.mark.slow
@pytest.mark.parametrize("arguments, expected", PROCESSES)
def test_no_hook_runs_under_the_opt_out(installed, arguments, expected):
    # The record is there (the start-up file did run), and it is empty.
    assert installed.output(*arguments, EFFYOLO_ULTRA_NO_AUTOLOAD="1") == []


@pytest.mark.slow
def test_yaml_folder(installed):
    script = (
        "import effyolo_ultra, json, pathlib; package = pathlib.Path(effyolo_ultra.__file__).parent\n"
        "folders = [f for f in (package / 'models', package.parent / 'models') if f.is_dir()]\n"
        "probes = sorted(p.relative_to(folders[0]).as_posix() for p in folders[0].rglob('probe.yaml'))\n"
        "print(json.dumps([str(folders[0]), probes]))"
    )
    folder, probes = installed.output("-c", script)
    assert Path(folder).resolve() == installed.models.resolve()
    assert probes == ["deep/probe.yaml", "probe.yaml"]


@pytest.mark.slow
def test_uninstall_leaves_nothing(installed):
    """Has to be the last of this module's tests on `installed`."""
    added = installed.files() - installed.before
    assert {"effyolo_ultra.pth", "effyolo_ultra.start"} <= added
    installed.pip("uninstall", "--yes", "effyolo-ultra")
    assert installed.files() - installed.before == set()
    done = run(installed.python, "-c", hooked(f"import {DATA_UTILS}"), cwd=installed.folder)
    assert (json.loads(done.stdout), done.stderr) == (None, "")
