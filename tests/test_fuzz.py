"""Files with mistakes: what benchmarks/fuzz.py tries by the thousand, a few of them, and what it has found."""

import pytest

from benchmarks import fuzz
from benchmarks.fuzz_outcome import outcome


def test_damaged_files():
    assert fuzz.main(["--examples", "25", "--seed", "0"]) == 0


NECK = "yolov5-effb0-bifpn.yaml"
TOP = "nc: 80"
UPSAMPLE = "[-1, 1, nn.Upsample, [None, 2, nearest]]"
CONV = "[-1, 1, Conv, [256, 3, 2]]"
C3 = "[-1, 3, C3, [256, False]]"
# What was written, what stands there instead, and the end of the message; a row that cannot be built or run is named.
FOUND = {
    "sizes of a concatenation": (UPSAMPLE, "[-1, 1, nn.Upsample, [None, 9, nearest]]", "row 6", "Expected size 72"),
    "an arg in the wrong place": (UPSAMPLE, "[-1, 1, nn.Upsample, [None, 2, {n: 1}]]", "row 5", "NotImplementedError"),
    "text for a number": (CONV, "[-1, 1, Conv, [256, 3, 2, {a: i}]]", "row 12", "cannot take what 'from' gives it"),
    "text for channels": (CONV, "[-1, 1, Conv, [abc]]", "row 12", "Ultralytics cannot build this row: TypeError"),
    "no literal": (C3, "[-1, 3, C3, [256alse]]", "row 11", "SyntaxError"),
    "one layer for two": (C3, "[[-1, 2], 3, C3, [256]]", "row 11", "TypeError"),
    "more than a float holds": (CONV, f"[-1, 1, Conv, [{10**400}]]", "row 12", "must be at most 65536"),
    "as repeats": (C3, f"[-1, {10**400}, C3, [256]]", "row 11", "repeats must be at most 1000"),
    "no number": (CONV, "[-1, 1, Conv, [.nan]]", "row 12", "must be at most 65536"),
    "a network": (CONV, "[-1, 1, DetectionModel, []]", "row 12", "is no layer"),
    "no bins": (TOP, "nc: 80\nreg_max: 0", "row 18", "weight to be at least 1"),
    "too many bins": (TOP, "nc: 80\nreg_max: 1000000000", "yaml: 'reg_max'", "must be at most 65536"),
    "after the last row": (TOP, "nc: 80\npruned: [1]", "yaml: 'pruned'", "must be a mapping"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found(name, tmp_path):
    written, instead, where, message = FOUND[name]
    assert written in fuzz.TEXTS[NECK]
    kind, said = outcome(tmp_path / NECK, fuzz.TEXTS[NECK].replace(written, instead, 1))
    assert kind == "refused" and where in said and message in said
