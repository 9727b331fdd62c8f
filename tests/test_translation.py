"""README.zh-CN.md says what README.md says: headings, commands, figures and links."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from benchmarks import page

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))


def blocks(text: str) -> list[str]:
    return re.findall(r"^```\w*\n.*?^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    return re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", prose(text), re.MULTILINE)]


def tables(text: str) -> list[list[str]]:
    """The rows of each table behind its first line, only code and numbers of them, which are not translated."""
    found = re.findall(r"(?:^\|.*\n)+", prose(text), re.MULTILINE)
    return [[" ".join(re.findall(r"`[^`]*`|\d[\d.]*", row)) for row in table.splitlines()[1:]] for table in found]


def columns(text: str) -> list[list[int]]:
    """The number of cells in each row of each table."""
    return [
        [row.count("|") for row in table.splitlines()]
        for table in re.findall(r"(?:^\|.*\n)+", prose(text), re.MULTILINE)
    ]


def links(text: str) -> list[str]:
    return sorted(link for link in re.findall(r"\]\(([^)]*)\)", prose(text)) if not link.startswith("README"))


def code(text: str) -> list[str]:
    """Every name in backquotes."""
    return sorted(set(re.findall(r"`([^`\n]+)`", prose(text))))


@pytest.mark.parametrize("part", [headings, blocks, tables, columns, links, code], ids=lambda part: part.__name__)
def test_same(part):
    english = part(ENGLISH)
    assert english and part(CHINESE) == english


def test_each_links_to_the_other():
    for text, other in ((ENGLISH, "README.zh-CN.md"), (CHINESE, "README.md")):
        assert f"]({other})" in "\n".join(text.splitlines()[:4])


def test_every_paragraph_is_translated():
    """No line of prose has English words alone."""
    lines = prose(re.sub(r"^\|.*\n|^<!--.*\n", "", CHINESE, flags=re.MULTILINE)).splitlines()
    plain = [re.sub(r"`[^`]*`|\]\([^)]*\)|^# effyolo_ultra$", "", line) for line in lines]
    assert not [line for line in plain if re.search(r"[A-Za-z]{3}", line) and not re.search(r"[一-鿿]", line)]


def test_a_table_is_written_into_both(tmp_path, monkeypatch):
    for name in ("README.md", "README.zh-CN.md"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(page, "ROOT", tmp_path)
    page.write_between("README.md", "speed table", "| model |\n| --- |\n| `x` |\n")
    english, chinese = ((tmp_path / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert "-->\n| model |\n| --- |\n| `x` |\n<!-- end of speed table -->" in english
    kept = CHINESE.split("<!-- speed table")[1].splitlines()[1]
    assert "模型" in kept and f"-->\n{kept}\n| --- |\n| `x` |\n<!-- end of speed table -->" in chinese
