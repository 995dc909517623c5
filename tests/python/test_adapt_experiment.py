"""The experiment on adapting, with pictures and a transformer small enough for seconds."""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from support import PROGRAM, SMALL, SOURCE, cribo, make_drives

sys.path.insert(0, str(SOURCE / "examples" / "python"))

import adapt_experiment  # noqa: E402

try:
    import PIL
except ImportError:
    PIL = None


def run(*arguments):
    """The experiment's output."""
    with mock.patch.object(sys, "argv", ["adapt_experiment.py", *map(str, arguments)]):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            adapt_experiment.main()
    return output.getvalue()


class Adapting(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.weights = self.folder / "weights.safetensors"
        make_drives(self.folder / "data")
        with cribo.Model(**SMALL, threads=1) as model:
            model.save(self.weights)

    @unittest.skipUnless(PROGRAM.exists(), "the program is not built")
    def test_leaves_out_one_drive_after_the_other_and_tabulates(self):
        small = ["head-hidden=32", "prototypes=64", "object-prototypes=64", "clusters=4"]
        options = ["--out", self.folder / "out", "--cribo", PROGRAM, "--arms", "b", "d", "--seeds", 1, 2]
        options += [
            "--steps",
            1,
            "--train-size",
            32,
            "--sizes",
            32,
            "--jobs",
            2,
            *(f"--set={text}" for text in small),
        ]
        said = run("run", self.folder / "data", self.weights, *options)
        self.assertEqual(said.count("done:"), 2 + 2 * 2 * 2)
        trained = sorted(path.name for path in (self.folder / "out" / "east-train" / "images").iterdir())
        self.assertEqual(trained, [f"west_{number}.png" for number in range(4)])
        rows = [line.split() for line in run("table", self.folder / "out").splitlines()[1:]]
        self.assertEqual(
            [row[:6] for row in rows[:3]],
            [
                ["east", "32", "0", "a", "weights", "1"],
                ["east", "32", "1", "b", "student", "2"],
                ["east", "32", "1", "d", "student", "2"],
            ],
        )
        self.assertTrue(all(0 <= float(row[6]) <= 100 for row in rows))

    @unittest.skipUnless(PIL, "needs Pillow")
    def test_counts_matched_objects_of_one_class(self):
        options = ["--drive", "west", "--clusters", 4, "--size", 32]
        said = run("matches", self.folder / "data", self.weights, *options)
        self.assertRegex(said, r"^\d+ objects, .* % pass the cycle test; the same class: .* % by chance$")


if __name__ == "__main__":
    unittest.main()
