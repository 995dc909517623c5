"""The code of docs/python.md and docs/pytorch.md runs as it is printed."""

import contextlib
import io
import os
import re
import tempfile
import unittest
from pathlib import Path

from support import SOURCE


def run(code: str) -> list[str]:
    """The output lines of code that runs in a separate folder, and the files that it has written."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
        os.chdir(folder)
        try:
            exec(compile(code, "documentation", "exec"), {})
            files = sorted(path.name for path in Path(".").iterdir())
        finally:
            os.chdir(before)
    return [*printed.getvalue().splitlines(), *files]


class Documentation(unittest.TestCase):
    def test_session_runs(self):
        text = (SOURCE / "docs" / "python.md").read_text()
        session = re.search(r"## A session\n\n```python\n(.*?)```", text, re.DOTALL)[1]
        lines = run(session)
        self.assertEqual(len(lines), 22)
        self.assertEqual(lines[-2], re.search(r"# (\(1, 192\).*)", session)[1])
        self.assertEqual(lines[-1], "weights.safetensors")

    def test_pytorch_page_runs(self):
        try:
            import torch
        except ImportError:
            self.skipTest("needs PyTorch")
        torch.manual_seed(0)
        text = (SOURCE / "docs" / "pytorch.md").read_text()
        blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        self.assertEqual(len(blocks), 5)
        lines = run("\n".join(blocks))
        self.assertEqual([line.split()[0] for line in lines], list("012345"))


if __name__ == "__main__":
    unittest.main()
