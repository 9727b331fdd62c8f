"""Puts the two start-up files beside the package; everything else is in setup.cfg."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

STARTUP_FILES = ["startup/effyolo_ultra.pth", "startup/effyolo_ultra.start"]


class BuildPyWithStartupFiles(build_py):
    """A `build_py` that also writes the start-up files to the root of site-packages.

    `data_files` or an `install` subclass would do for a wheel, but neither reaches an editable install.
    """

    def run(self):
        """Build the package, then copy the start-up files."""
        super().run()
        root = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        for source in STARTUP_FILES:
            self.copy_file(source, str(Path(root) / Path(source).name))

    def get_source_files(self):
        """Name the start-up files too, so that the sdist holds them."""
        return [*super().get_source_files(), *STARTUP_FILES]


setup(cmdclass={"build_py": BuildPyWithStartupFiles})
