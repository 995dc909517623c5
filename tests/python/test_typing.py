"""Types for the program's type checker: settings by name, and the file that is generated for it."""

import runpy
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import SOURCE, cribo

PACKAGE = SOURCE / "examples" / "python" / "cribo"


class Generated(unittest.TestCase):
    def test_settings_types_are_those_of_the_library(self):
        text = runpy.run_path(str(SOURCE / "tests" / "python" / "update"))["settings_types"](cribo)
        current = (PACKAGE / "setting_types.py").read_text()
        self.assertEqual(current, text, "run tests/python/update BUILD-FOLDER")

    def test_installed_files_are_those_of_the_package(self):
        listed = (PACKAGE.parent / "meson.build").read_text()
        for path in PACKAGE.glob("*.*"):
            self.assertIn(f"'cribo/{path.name}'", listed)
        headers = (SOURCE / "include" / "meson.build").read_text()
        for path in (SOURCE / "include" / "cribo").glob("*.h"):
            self.assertIn(f"'cribo/{path.name}'", headers)


class Public(unittest.TestCase):
    def test_all_names_are_there(self):
        self.assertEqual(len(set(cribo.__all__)), len(cribo.__all__))
        for name in cribo.__all__:
            self.assertTrue(hasattr(cribo, name), name)

    def test_public_names_are_listed(self):
        modules = {path.stem for path in PACKAGE.glob("*.py")}
        names = {name for name in vars(cribo) if not name.startswith("_")} - modules
        self.assertEqual(names - set(cribo.__all__), set())

    def test_help_lists_settings(self):
        for cls, kind in ((cribo.Trainer, "trainer"), (cribo.Probe, "probe")):
            for setting in cribo.settings(kind):
                self.assertIn(f"    {setting.name} ({setting.initial:.10g}): ", cls.__doc__)


class Checked(unittest.TestCase):
    def check(self, program: str) -> str:
        """The messages of mypy --strict about a program."""
        try:
            import mypy  # noqa: F401
        except ImportError:
            self.skipTest("needs mypy")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "program.py")
            file.write_text("import cribo\n" + program)
            command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder, str(file)]
            environment = {"MYPYPATH": str(PACKAGE.parent), "PATH": "/usr/bin:/bin"}
            found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        self.assertEqual(found.stderr, "")
        return found.stdout

    def test_programs_pass(self):
        program = """with cribo.Trainer("tiny", precision="bf16", threads=2, drop_path=0) as trainer:
    print(trainer.step(cribo.Batch([1], [2])).loss, trainer.student.features([3]).cls)
    trainer.set(learning_rate=1e-3, clip_norm=2)
    rate: float = trainer.settings["learning_rate"]
cribo.Model(precision=1, width=48)
preset: cribo.Preset = "adapt"
print(cribo.Objective(preset, "authors").settings, cribo.Trainer.memory_bytes(preset))
cribo.Trainer(**cribo.checkpoint_settings("run.cribo"))
try:
    pass
except cribo.IOError_ as error:
    print(error.errno)
"""
        self.assertRegex(self.check(program), "^Success")

    def test_misspelt_settings_fail(self):
        program = """cribo.Model(precison="bf16")
cribo.Trainer("tiny", precision="bf15")
cribo.Clusterer(1, 2, 3, clusters="four")
cribo.Loss().set(momentum=0.5)
cribo.Trainer("adopt")
print(cribo.Probe().settings["temprature"])
"""
        found = self.check(program)
        self.assertIn('Unexpected keyword argument "precison" for "Model"', found)
        self.assertIn("program.py:3: error: Argument", found)
        self.assertIn("program.py:4: error: Argument", found)
        self.assertIn('Unexpected keyword argument "momentum" for "set" of "Loss"', found)
        self.assertRegex(found, 'program.py:6: error: Argument 1 to "Trainer" .*\'adopt\'')
        self.assertIn('TypedDict "ProbeSettings" has no key "temprature"', found)


if __name__ == "__main__":
    unittest.main()
