"""`python -m benchmarks.kills [--write]`: kills and full disks, as tables in docs/reliability.md; some 15 minutes.

A Unix only. The full disks need the right to mount one.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.kills import training, writers
from benchmarks.page import write_between
from benchmarks.processes.folder import write_folder


def of_trainings(folder: Path, number: int, seed: int) -> str:
    """Kill trainings, and return a table of what was seen."""
    write_folder(folder)
    rows = training.kill_at_random(folder, number, seed)
    table = "".join(
        f"| at a random moment: {name} | {times} |\n" for name, times in rows.items() if times or "half" in name
    )
    for name, model, times in (("", training.MODEL, 5), (", of a stock network", training.STOCK, 2)):
        killed, whole = training.kill_in_writing(folder, model, times, seed)
        table += f"| at a random byte of `last.pt`{name}: killed | {killed} |\n"
        table += f"| at a random byte of `last.pt`{name}: half last.pt | {killed - whole} |\n"
    return "| trainings | times |\n| --- | ---: |\n" + table


def of_writers(folder: Path, number: int, seed: int, disk: bool) -> str:
    """Kill whatever writes, and return a table of what was under the final name then."""
    table = (
        "| what | kills | nothing, or the old one | the new one | half a one |\n| --- | ---: | ---: | ---: | ---: |\n"
    )
    for i, writer in enumerate(writers.prepare(folder)):
        place = folder / f"place{i}"
        place.mkdir()
        seen = writers.kill(writer, place, number, seed)
        table += f"| {writer.name} | {number} | {seen['old']} | {seen['new']} | {seen['half']} |\n"
        print(writer.name, seen, writers.fill(writer, place) if disk else "", flush=True)
    return table


def main() -> None:
    """Run all, and print or write the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20, help="of trainings, and of each thing that writes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["writers", "trainings"])
    parser.add_argument("--write", action="store_true", help="write the tables into docs/reliability.md")
    given = parser.parse_args()
    disk, began = os.geteuid() == 0, time.monotonic()
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        if given.only != "trainings":
            (Path(folder) / "writers").mkdir()
            tables["kills of writers"] = of_writers(Path(folder) / "writers", given.kills, given.seed, disk)
        if given.only != "writers":
            tables["kills of trainings"] = of_trainings(Path(folder), given.kills, given.seed)
            print(training.full_disk(Path(folder)) if disk else "", flush=True)
    print(*tables.values(), f"{time.monotonic() - began:.0f} s", sep="\n")
    if given.write:
        for name, table in tables.items():
            write_between("docs/reliability.md", name, table)


if __name__ == "__main__":
    main()
