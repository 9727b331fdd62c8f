"""The documentation: the site builds without a warning, and what its pages say is so."""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from ultralytics.nn.tasks import guess_model_task, parse_model, yaml_model_load

import effyolo_ultra
from effyolo_ultra.cli import build_parser
from effyolo_ultra.nn import BiFPN, BiFPN_Add, BiFPN_Concat, TimmBackbone
from effyolo_ultra.shapes import make_shapes
from effyolo_ultra.user_modules import register_module

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))}
PACKAGE = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "effyolo_ultra").rglob("*.py"))]


# --- the site ----------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What the links of a page lead to, what they could lead to, and its text outside of code."""

    def __init__(self, html: str):
        super().__init__()
        self.links, self.ids, self.text, self._skip = [], set(), "", 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]
        self._skip += tag in ("code", "pre", "script", "style")

    def handle_endtag(self, tag):
        self._skip -= tag in ("code", "pre", "script", "style")

    def handle_data(self, data):
        if not self._skip:
            self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages by path. Building fails at a warning."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html") if path.name != "404.html"}


def test_every_page_is_there(site):
    named = {"index" if path.parent.parent.name.startswith("pytest") else path.parent.name for path in site}
    assert len(site) == len(PAGES) and {name.removesuffix(".md") for name in PAGES} - named <= {"index"}


def test_links_lead_somewhere(site):
    dead = []
    for path, page in site.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            file = Path(os.path.normpath(path.parent / target)) if target else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or (anchor and file in site and anchor not in site[file].ids | {"__skip"}):
                dead.append(f"{path.parent.name}: {link}")
    assert not dead


def test_tables_and_code_of_a_page_are_in_it(site):
    for path in site:
        source = PAGES.get(f"{path.parent.name}.md")  # not of the home page, which has neither
        if source is None or "--8<--" in source or ":::" in source:
            continue
        html, prose = path.read_text(encoding="utf-8"), re.sub(r"```.*?```", "", source, flags=re.DOTALL)
        assert html.count("<table>") == len(re.findall(r"^\| ?:?---", prose, re.MULTILINE)), path.parent.name
        assert len(re.findall(r"<pre[ >]", html)) == source.count("```") // 2, path.parent.name
        assert html.count("<img") == len(re.findall(r"!\[", prose)), path.parent.name


def test_no_markdown_is_left_in_a_page(site):
    left = {
        path.parent.name: found
        for path, page in site.items()
        if (
            found := re.findall(
                r"```|\| ?---|<!--|--8<--|\*\*\w[^*\n]*\*\*|^\* .*|\]\(.*|^#+ .*", page.text, re.MULTILINE
            )
        )
    }
    assert not left


# --- what the pages say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [TimmBackbone, BiFPN, BiFPN_Add, BiFPN_Concat], ids=lambda cls: cls.__name__)
def test_options_are_those_of_the_code(cls):
    table = "\n".join(PAGES.values()).split(f"<!-- options of: {cls.__name__} -->\n")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in table.splitlines()[2:]]
    given = {name.strip("|` "): default.strip("`") for name, default, *_ in rows}
    options = [p for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert sorted(given) == sorted(p.name for p in options)
    for parameter in options:
        default = given[parameter.name]
        if default == "the model's own":
            assert parameter.default is None
            continue
        value = yaml.safe_load(default)
        value = float(value) if isinstance(parameter.default, float) else value
        assert (tuple(value) if isinstance(value, list) else value) == parameter.default, parameter.name


@pytest.mark.parametrize(
    "strides, text", re.findall(r"<!-- build: ([\d, ]+) -->\n```yaml\n(.*?)```", "\n".join(PAGES.values()), re.DOTALL)
)
def test_yaml_builds(strides, text, model_yaml):
    import torch

    d = yaml_model_load(model_yaml(text, "mine.yaml"))
    # Without memory; the strides of a head are those of the layers that it takes.
    with torch.device("meta"):
        layers, saved = parse_model(d, 3, verbose=False)
    x, given, size = torch.empty(1, 3, 256, 256, device="meta"), {}, 256
    assert guess_model_task(d) in ("detect", "segment")
    for layer in layers[:-1]:
        sources = [layer.f] if isinstance(layer.f, int) else layer.f
        inputs = [x if source == -1 else given[source] for source in sources]
        x = layer.eval()(inputs[0] if isinstance(layer.f, int) else inputs)
        if layer.i in saved:
            given[layer.i] = x
    assert [size // given[source].shape[-1] for source in layers[-1].f] == [int(s) for s in strides.split(",")]


SECTION = PAGES["recipes.md"].split("\n## Segmentation, poses, oriented boxes\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("row", re.findall(r"`(\[\[.*?\]\])`", SECTION))
def test_head_to_put_in_builds(row, model_yaml):
    import torch

    text = re.search(r"```yaml\n(.*?)```", SECTION, re.DOTALL)[1].rsplit("  - ", 1)[0]
    file = model_yaml(f"{re.search('`(kpt_shape: .*?)`', SECTION)[1]}\n{text}  - {row}\n", "mine.yaml")
    with torch.device("meta"):
        layers, _ = parse_model(yaml_model_load(file), 3, verbose=False)
    assert type(layers[-1]).__name__ in row


def test_every_public_function_is_on_the_page_of_the_api():
    shown = re.findall(r"^::: (\S+)", PAGES["api.md"], re.MULTILINE)
    assert {name.replace(":", ".") for name in effyolo_ultra._LAZY.values() if ":" in name} <= {*shown}


def subcommands():
    [commands] = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return commands.choices.items()


@pytest.mark.parametrize("name, parser", subcommands(), ids=[name for name, _ in subcommands()])
def test_every_subcommand_has_its_section_and_options(name, parser):
    section = PAGES["command.md"].split(f"\n## effyolo {name}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| `-")]
    given = {option: line for line in table for option in re.findall(r"`(--?[\w-]+)", line.split(" | ")[0])}
    actions = [action for action in parser._actions if action.option_strings and action.dest != "help"]
    assert {*given} == {option for action in actions for option in action.option_strings}
    for action in actions:
        assert not action.default or f"{action.default}" in given[action.option_strings[-1]], action.dest


def test_options_of_functions_are_those_of_the_code():
    table = PAGES["own_modules.md"].split("| option of `register_module` | default | meaning |\n")[1].split("\n\n")[0]
    given = dict(re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", table, re.MULTILINE))
    options = inspect.signature(register_module).parameters
    assert {*given, "cls", "channels"} == {*options} and '`"same"` (default)' in PAGES["own_modules.md"]
    assert all(ast.literal_eval(given[name]) == options[name].default for name in ("inputs", "pyramid", "repeats"))
    shown = re.search(r"`make_shapes\(path, (.*?)\)`", PAGES["recipes.md"])[1]
    defaults = [p for p in inspect.signature(make_shapes).parameters.values() if p.name != "path"]
    assert shown.replace('"', "'") == ", ".join(f"{p.name}={p.default!r}" for p in defaults)


def templates() -> list[str]:
    """Return every text in the source, with a gap where a value is put in."""
    found = []
    for source in PACKAGE:
        for part in ast.walk(ast.parse(source)):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                found.append(part.value)
            elif isinstance(part, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else "\0" for v in part.values))
    return found


MESSAGES = re.findall(r"<!-- message -->\n```text\n(.*?)\n```", PAGES["troubleshooting.md"], re.DOTALL)


@pytest.mark.parametrize("message", MESSAGES)
def test_message_is_in_the_source(message):
    texts = templates()
    fragments = [part for part in (part.strip(" '()[],;.:?") for part in message.split("...")) if len(part) > 3]
    assert fragments
    for fragment in fragments:
        assert any(fragment in text for text in texts), fragment


def test_message_without_this_package(run_python):
    code = "from ultralytics import YOLO; YOLO(__import__('sys').argv[1])"
    done = run_python(code, str(ROOT / "models" / "yolov5-effb0-pan.yaml"), EFFYOLO_ULTRA_NO_AUTOLOAD="1")
    message = done.stderr.strip().splitlines()[-1]
    assert message == "KeyError: 'EfficientNetBackbone'" and message in PAGES["troubleshooting.md"]


def test_wrapped_functions_are_those_of_the_page():
    import ultralytics.data.utils
    import ultralytics.engine.trainer
    import ultralytics.nn.tasks
    import ultralytics.utils.checks

    found = {}
    for module in (ultralytics.utils.checks, ultralytics.nn.tasks, ultralytics.data.utils, ultralytics.engine.trainer):
        own = [v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == module.__name__]
        for owner in (module, *own):
            place = module.__name__ if owner is module else f"{module.__name__}.{owner.__name__}"
            for name, value in vars(owner).items():
                if hasattr(value, "wrapped_by_effyolo_ultra"):
                    found.setdefault(id(value), f"{place}.{name}")  # other modules import it by name
    table = PAGES["how.md"].split("<!-- wrapped -->\n")[1]
    assert set(re.findall(r"^\| `(.+?)`", table, re.MULTILINE)) == set(found.values())


# --- pictures ----------------------------------------------------------------------------------------------------


def test_pictures_are_those_of_the_modules(tmp_path):
    from benchmarks.module_pictures import FOLDER, PICTURES

    assert sorted(path.stem for path in FOLDER.glob("*.svg")) == sorted(PICTURES)
    for name, draw in PICTURES.items():
        first, second = tmp_path / f"{name}.svg", tmp_path / "again" / f"{name}.svg"
        second.parent.mkdir(exist_ok=True)
        sheet = draw()
        sheet.save(first)
        sheet.save(second)
        assert first.read_bytes() == second.read_bytes(), name
        # The outlines of letters are those of the installed matplotlib; the words are in comments.
        assert words(first) == words(FOLDER / f"{name}.svg"), f"python -m benchmarks.module_pictures {name}"


def words(path: Path) -> list[str]:
    return re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"), re.DOTALL)
