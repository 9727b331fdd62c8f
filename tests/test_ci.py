"""The helper that takes the README's commands for CI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = """# Title

```bash
echo unmarked
```

<!-- ci: test -->

```bash
echo "one" \\
  two
echo three
```

<!-- ci: demo -->
```bash
echo demo
```

<!-- ci: twice -->
```bash
a
```
<!-- ci: twice -->
```bash
b
```

<!-- ci: far -->
Words between.
```bash
c
```
"""


def readme_block(tmp_path, *names):
    readme = tmp_path / "README.md"
    readme.write_text(README)
    return subprocess.run(
        [sys.executable, str(ROOT / ".ci/readme_block"), *names, str(readme)], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "name, block", [("test", 'echo "one" \\\n  two\necho three\n'), ("demo", "echo demo\n")], ids=["test", "demo"]
)
def test_block(tmp_path, name, block):
    done = readme_block(tmp_path, name)
    assert (done.returncode, done.stdout, done.stderr) == (0, block, "")


@pytest.mark.parametrize("name, found", [("twice", 2), ("far", 0), ("absent", 0), ("t.st", 0)])
def test_no_single_block(tmp_path, name, found):
    done = readme_block(tmp_path, name)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"README has {found} bash blocks directly after '<!-- ci: {name} -->'" in done.stderr
