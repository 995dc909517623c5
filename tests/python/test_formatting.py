"""The C and C++ sources are as clang-format 19.1.7 with .clang-format lays them out."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import SOURCE

PATTERNS = ("*.c", "*.h", "*.cpp")
FOLDERS = ("lib", "include", "examples", "tests")
PROGRAM = Path(sys.executable).with_name("clang-format")  # of the same virtual environment


def misformatted(files, style):
    """The messages of clang-format about files that it would change."""
    command = [str(PROGRAM), f"--style=file:{style}", "--dry-run", "--Werror", *map(str, files)]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stderr if result.returncode else ""


@unittest.skipUnless(PROGRAM.exists(), "needs clang-format from PyPI")
class Formatting(unittest.TestCase):
    def test_version_is_the_pinned_one(self):
        version = subprocess.run([str(PROGRAM), "--version"], capture_output=True, text=True).stdout
        self.assertIn("19.1.7", version)

    def test_other_layout_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "example.c")
            path.write_text("int main(void)\n{\n  return 0;\n}\n")
            self.assertIn("example.c:2", misformatted([path], SOURCE / ".clang-format"))

    def test_sources_are_formatted(self):
        files = [
            path for folder in FOLDERS for kind in PATTERNS for path in sorted((SOURCE / folder).rglob(kind))
        ]
        self.assertGreater(len(files), 300)
        self.assertEqual(misformatted(files, SOURCE / ".clang-format"), "")


if __name__ == "__main__":
    unittest.main()
