"""Writing a table into a page, between the two comments that name it."""

from pathlib import Path

ROOT = Path(__file__).parent.parent


def write_between(page: str, name: str, text: str) -> None:
    """Replace what stands between `<!-- name: ... -->` and `<!-- end of name -->` in a page of this repository."""
    path = ROOT / page
    before, rest = path.read_text(encoding="utf-8").split(f"<!-- {name}: ")
    command, rest = rest.split("-->\n", 1)
    after = rest.split(f"<!-- end of {name} -->")[1]
    marked = f"<!-- {name}: {command}-->\n{text}<!-- end of {name} -->"
    path.write_text(f"{before}{marked}{after}", encoding="utf-8")
