"""Versions of what this package needs, against what its metadata asks for, and what is optional."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from effyolo_ultra import __version__
from effyolo_ultra.doctor.finding import Finding

NAME = "effyolo-ultra"
# What is installed only by those who need it: package -> what for.
OPTIONAL = {
    "onnx": "export to ONNX",
    "onnxruntime": "running ONNX files",
    "openvino": "export to OpenVINO and running its files",
    "torch-pruning": "effyolo prune",
    "grad-cam": "effyolo features --cam",
}


def look() -> Iterator[Finding]:
    """Yield the findings."""
    yield Finding("versions", "effyolo_ultra", "ok", __version__)
    try:
        distribution = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        yield Finding(
            "versions",
            "installation",
            "warning",
            f"{NAME} is not installed here, only importable, so its requirements are not known",
            "pip install . in its folder; without that, `yolo` does not know the modules by itself",
        )
        return
    yield python(distribution.metadata.get("Requires-Python") or "")
    yield from requirements(distribution.requires or [])
    for package, purpose in OPTIONAL.items():
        found = installed(package)
        text = found or f"not installed; needed for {purpose}"
        yield Finding("versions", package, "ok" if found else "note", text, "" if found else f"pip install {package}")


def python(wanted: str) -> Finding:
    """Return the finding on Python."""
    found = platform.python_version()
    fits = SpecifierSet(wanted).contains(found, prereleases=True)
    advice = "" if fits else f"make an environment with Python {wanted}"
    return Finding("versions", "python", "ok" if fits else "problem", f"{found} (supported: {wanted})", advice)


def requirements(lines: Iterable[str]) -> Iterator[Finding]:
    """Yield a finding for each package that a distribution requires."""
    for requirement in map(Requirement, lines):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = installed(requirement.name)
        wanted = str(requirement.specifier) or "any version"
        advice = f"pip install '{requirement.name}{requirement.specifier}'"
        if found is None:
            yield Finding("versions", requirement.name, "problem", f"not installed (supported: {wanted})", advice)
        elif requirement.specifier.contains(found, prereleases=True):
            yield Finding("versions", requirement.name, "ok", f"{found} (supported: {wanted})")
        else:
            yield Finding("versions", requirement.name, "problem", f"{found} is not supported: {wanted}", advice)


def installed(package: str) -> str | None:
    """Return the version of an installed package, None if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
