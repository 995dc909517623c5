"""The experiment on adapting, with pictures and a transformer small enough for seconds."""

import contextlib
import importlib.util
import io
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from support import SMALL, SOURCE, cribo, make_drives, make_pairs

sys.path.insert(0, str(SOURCE / "examples" / "python"))

import adapt_experiment  # noqa: E402

try:
    import PIL
except ImportError:
    PIL = None

TIMM = importlib.util.find_spec("timm")
PROGRAM = Path(os.environ["CRIBO_LIBRARY"]).parents[1] / "examples" / "program" / "cribo"


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

    def train(self, *options):
        """Runs of one seed with a small head; what they say."""
        small = ["head-hidden=32", "prototypes=64", "object-prototypes=64", "clusters=4"]
        command = ["run", self.folder / "data", self.weights, "--out", self.folder / "out"]
        command += ["--cribo", PROGRAM, "--train-size", 32, "--sizes", 32, "--jobs", 2, *options]
        return run(*command, *(f"--set={text}" for text in small))

    def table(self):
        """The words of the table's lines, without the first."""
        return [line.split() for line in run("table", self.folder / "out").splitlines()[1:]]

    @unittest.skipUnless(PROGRAM.exists(), "the program is not built")
    def test_leaves_out_one_drive_after_the_other_and_tabulates(self):
        said = self.train("--arms", "b", "d", "--seeds", 1, 2, "--steps", 1)
        self.assertEqual(said.count("done:"), 2 + 2 * 2 * 2)
        trained = sorted(path.name for path in (self.folder / "out" / "east-train" / "images").iterdir())
        self.assertEqual(trained, [f"west_{number}.png" for number in range(4)])
        rows = self.table()
        self.assertEqual(
            [row[:6] for row in rows],
            [
                ["east", "32", "0", "a", "weights", "1"],
                ["east", "32", "1", "b", "student", "2"],
                ["east", "32", "1", "d", "student", "2"],
                ["west", "32", "0", "a", "weights", "1"],
                ["west", "32", "1", "b", "student", "2"],
                ["west", "32", "1", "d", "student", "2"],
            ],
        )
        self.assertTrue(all(0 <= float(row[6]) <= 100 for row in rows))

    @unittest.skipUnless(PROGRAM.exists() and PIL and TIMM, "needs Pillow, timm, PyTorch and the program")
    def test_trains_a_published_network_with_labels(self):
        import timm
        from weights import files

        network = timm.create_model("test_vit", num_classes=0, dynamic_img_size=True)
        files.write(network.state_dict(), self.weights)
        self.train(
            "--arms", "l", "--seeds", 1, "--steps", 2, "--labels=--timm=test_vit", "--labels=--rate=1e-3"
        )
        self.assertEqual([row[3:6] for row in self.table() if row[3] == "l"], [["l", "weights", "1"]] * 2)
        trained = files.read(self.folder / "out" / "runs" / "east-l-2-1" / "weights.safetensors")
        changed = [name for name, values in network.state_dict().items() if not values.equal(trained[name])]
        self.assertIn("blocks.0.attn.qkv.weight", changed)
        self.assertIn("pos_embed", changed)

    @unittest.skipUnless(PROGRAM.exists() and PIL, "needs Pillow and the program")
    def test_counts_matched_objects_over_the_steps_of_a_run_on_scenes(self):
        make_pairs(self.folder / "test", [f"{number:06}" for number in range(8)])
        self.train(
            *("--scenes", self.folder / "test", "--arms", "d", "--seeds", 1, 2, "--steps", 5),
            *("--follow", 3, "--networks", "student", "teacher"),
            *("--set=batch-size=2", "--set=micro-batch=2"),  # an epoch ends, and is saved, at step 4
        )
        out = self.folder / "out"
        self.assertEqual(len(list((out / "scenes-train" / "images").iterdir())), 8)
        self.assertEqual(len(list((out / "scenes-test" / "images").iterdir())), 8)
        self.assertEqual(list(out.glob("runs/*/checkpoint-*")), [])
        rows = self.table()
        middle, end = (place for place, row in enumerate(rows) if not row)
        self.assertEqual([row[:2] for row in rows[:middle]], [["scenes", "32"]] * 3)
        self.assertEqual(
            [row[:6] for row in rows[middle + 3 : end]],
            [
                ["scenes", "0", "0", "a", "weights", "1"],
                ["scenes", "3", "5", "d", "student", "2"],
                ["scenes", "3", "5", "d", "teacher", "2"],
            ],
        )
        self.assertEqual(rows[middle + 3][6:], rows[0][6:])
        found = [row[:6] for row in rows[end + 3 :]]
        expected = [["scenes", "0", "a", "weights", "0", "1"]]
        for network in ("student", "teacher"):
            expected += [["scenes", "5", "d", network, str(step), "2"] for step in (3, 5)]
        self.assertEqual(found, expected)
        for row in rows[end + 3 :]:
            self.assertTrue(all(0 <= float(value) <= 100 for value in row[7::2]), row)
        first = json.loads((out / "matches" / "scenes-a-weights-0.json").read_text())
        later = json.loads((out / "matches" / "scenes-d-5-1-student-5.json").read_text())
        self.assertEqual(set(first), set(later))
        said = run("matches", out / "scenes-test", self.weights, "--size", 32)
        self.assertIn(f"{first['objects']} objects, {100 * first['passed']:.1f} % pass", said)

    @unittest.skipUnless(PIL, "needs Pillow")
    def test_counts_matched_objects_of_one_class(self):
        options = ["--drive", "west", "--clusters", 4, "--size", 32]
        said = run("matches", self.folder / "data", self.weights, *options)
        self.assertRegex(said, r"^\d+ objects, .* % pass the cycle test; the same class: .* % by chance$")


if __name__ == "__main__":
    unittest.main()
