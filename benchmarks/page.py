"""A table in a page, between the two comments that name it."""

from pathlib import Path

ROOT = Path(__file__).parent.parent


def rows_between(page: str, name: str) -> list[str]:
    """Return the lines of a table that stands between the comments of `write_between`, without its head."""
    rest = (ROOT / page).read_text(encoding="utf-8").split(f"<!-- {name}: ")[1].split("-->\n", 1)[1]
    return rest.split(f"<!-- end of {name} -->")[0].splitlines(keepends=True)[2:]


def write_between(page: str, name: str, text: str) -> None:
    """Replace what stands between `<!-- name: ... -->` and `<!-- end of name -->` in a page of this repository.

    In translations of the page, `README.zh-CN.md` of `README.md`, a table keeps its own first line.
    """
    path = ROOT / page
    for file in (path, *sorted(path.parent.glob(f"{path.stem}.*-*{path.suffix}"))):
        before, rest = file.read_text(encoding="utf-8").split(f"<!-- {name}: ")
        command, rest = rest.split("-->\n", 1)
        old, after = rest.split(f"<!-- end of {name} -->")
        new = text if file == path else f"{old.splitlines()[0]}\n{text.split(chr(10), 1)[1]}"
        file.write_text(f"{before}<!-- {name}: {command}-->\n{new}<!-- end of {name} -->{after}", encoding="utf-8")
