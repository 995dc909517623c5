"""Finding the library: in a fresh interpreter, from copies of the module."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import SOURCE, cribo

LIBRARY = cribo.library.native._name


class Finding(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.module = self.root / "examples" / "python"
        self.module.mkdir(parents=True)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SOURCE / "examples" / "python" / "cribo", self.module / "cribo", ignore=ignored)
        shutil.copytree(SOURCE / "include" / "cribo", self.module / "cribo" / "include")

    def run_import(self, **environment) -> subprocess.CompletedProcess:
        inherited = {name: value for name, value in os.environ.items() if name != "CRIBO_LIBRARY"}
        program = "import cribo; print(cribo.library.native._name)"
        return subprocess.run(
            [sys.executable, "-B", "-c", program],
            cwd=self.module,
            env={**inherited, **environment},
            capture_output=True,
            text=True,
        )

    def place(self, folder: Path, name: str = "libcribo.so.0") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(LIBRARY, folder / name))

    def assert_loaded(self, path: Path, **environment):
        found = self.run_import(**environment)
        self.assertEqual(found.stderr, "")
        self.assertEqual(Path(found.stdout.strip()).resolve(), path.resolve())

    def test_places_in_their_order(self):
        (self.root / "meson.build").touch()
        self.assert_loaded(self.place(self.root / "build-release" / "lib"))
        self.assert_loaded(self.place(self.module / ".cribo.mesonpy.libs", "libcribo.so.0.1.0"))
        self.assert_loaded(self.place(self.module))
        chosen = self.place(self.root / "elsewhere", "chosen.so")
        self.assert_loaded(chosen, CRIBO_LIBRARY=str(chosen))

    def test_missing_headers_are_named(self):
        shutil.rmtree(self.module / "cribo" / "include")
        self.place(self.module)
        self.assertRegex(self.run_import().stderr, "ImportError: .*copy include/cribo/.*/cribo/include")

    def test_system_s_path_is_searched_last(self):
        path = self.place(self.root / "system")
        found = self.run_import(LD_LIBRARY_PATH=str(path.parent))
        self.assertEqual(found.returncode, 0, found.stderr)
        self.assertIn(Path(found.stdout.strip()).name, ("libcribo.so.0", "libcribo.so"))

    def test_chosen_file_alone_is_looked_at(self):
        self.place(self.module)
        found = self.run_import(CRIBO_LIBRARY="/no/such/libcribo.so")
        self.assertRegex(found.stderr, r"ImportError: .*set CRIBO_LIBRARY[^\n]*\n  /no/such/libcribo.so: ")
        self.assertEqual(len(re.findall(r"^  \S+: ", found.stderr, re.MULTILINE)), 1)

    def ask_for_version(self, version: str):
        header = self.module / "cribo" / "include" / "base.h"
        text = header.read_text()
        for name, number in zip(("MAJOR", "MINOR", "PATCH"), version.split(".")):
            text = re.sub(rf"(#define CRIBO_VERSION_{name}) \d+", rf"\1 {number}", text)
        header.write_text(text)

    def test_every_place_is_listed(self):
        self.ask_for_version("9.0.0")
        (self.module / "libcribo.so.0").write_text("no library")
        found = self.run_import()
        self.assertRegex(found.stderr, r"python/libcribo.so.0: .*python/libcribo.so.0")
        self.assertRegex(found.stderr, r"\.cribo\.mesonpy\.libs/libcribo.so.0: ")

    def test_another_version_is_passed_over(self):
        self.ask_for_version("0.2.0")
        self.place(self.module)
        self.assertRegex(self.run_import().stderr, r"version 0\.1\.0, but this package needs 0\.2\.0")

    def test_threads_are_chosen_for_the_process(self):
        before = cribo.default_threads()
        self.assertEqual(before, cribo.build_info()["default_threads"])
        self.addCleanup(cribo.set_default_threads, 0)
        cribo.set_default_threads(before + 1)
        self.assertEqual(cribo.default_threads(), before + 1)
        with self.assertRaisesRegex(cribo.InvalidArgument, "threads = 257"):
            cribo.set_default_threads(257)

    def test_versions_that_fit(self):
        self.assertTrue(cribo.library.same_interface("0.1.7"))
        self.assertFalse(cribo.library.same_interface("0.2.0"))
        self.assertFalse(cribo.library.same_interface("1.1.0"))


if __name__ == "__main__":
    unittest.main()
