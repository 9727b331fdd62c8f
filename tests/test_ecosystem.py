"""What is around Ultralytics takes our models: the checks of docs/ecosystem.md whose packages are small."""

import re

import pytest

from benchmarks.ecosystem import PAGE, TITLES, run
from benchmarks.ecosystem_checks import CHECKS
from benchmarks.page import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("exports")]  # whose process has a network that finds boxes

MARKED = re.findall(r"<!-- (run|commands): ecosystem (\w+) -->", (ROOT / PAGE).read_text(encoding="utf-8"))
NAMES = [name for kind, name in MARKED if kind == "run"]


@pytest.fixture(scope="module")
def results(learned, tmp_path_factory):
    return run(NAMES, learned, tmp_path_factory.mktemp("ecosystem") / "checks")


@pytest.mark.parametrize("name", NAMES)
def test_works(results, name):
    assert results[name].get("seen"), results[name]


def test_page_has_every_check():
    assert list(TITLES) == list(CHECKS) == [name for _, name in MARKED]
