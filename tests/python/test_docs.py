"""The session of docs/python.md runs as it is printed."""

import contextlib
import io
import os
import re
import tempfile
import unittest
from pathlib import Path

from support import SOURCE


class Documentation(unittest.TestCase):
    def test_session_runs(self):
        text = (SOURCE / "docs" / "python.md").read_text()
        session = re.search(r"## A session\n\n```python\n(.*?)```", text, re.DOTALL)[1]
        before = os.getcwd()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
            os.chdir(folder)
            try:
                exec(compile(session, "docs/python.md", "exec"), {})
                self.assertTrue(Path("weights.safetensors").is_file())
            finally:
                os.chdir(before)
        lines = printed.getvalue().splitlines()
        self.assertEqual(len(lines), 21)
        self.assertEqual(lines[-1], re.search(r"# (\(1, 192\).*)", session)[1])


if __name__ == "__main__":
    unittest.main()
