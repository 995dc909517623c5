"""The experiment from scratch, with pictures and transformers small enough for seconds."""

import contextlib
import importlib.util
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
from support import PROGRAM, SOURCE, cribo, make_drives, make_pairs

sys.path.insert(0, str(SOURCE / "examples" / "python"))

import photo_experiment  # noqa: E402
from photo_experiment import enlarged, floors_of, mean_iou, shares_of  # noqa: E402

LABELS = all(importlib.util.find_spec(name) for name in ("PIL", "torch", "safetensors"))
SMALL = """image-size=32 width=32 depth=1 heads=2 head-hidden=32 head-bottleneck=16 prototypes=64
object-prototypes=64 clusters=4 batch-size=2 micro-batch=2""".split()


def run(*arguments):
    """The experiment's output."""
    with mock.patch.object(sys, "argv", ["photo_experiment.py", *map(str, arguments)]):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            photo_experiment.main()
    return output.getvalue()


class Floors(unittest.TestCase):
    def setUp(self):
        rng = np.random.default_rng(0)
        self.maps = rng.choice([0, 1, 2, 255], (2, 8, 8)).astype(np.uint8)
        self.other = rng.integers(0, 3, (2, 8, 8))

    def test_mean_iou_is_the_librarys(self):
        confusion = cribo.Confusion(3)
        confusion.add(self.maps.astype(np.int32), self.other.astype(np.int32))
        self.assertAlmostEqual(mean_iou(self.maps, self.other), 100 * confusion.scores().mean_iou, places=4)
        self.assertEqual(mean_iou(self.maps, np.where(self.maps < 255, self.maps, 0)), 100)

    def test_enlarged_shares_are_those_of_the_librarys_retrieval(self):
        """Patches that find themselves get their own shares, so the library must label the same pixels."""
        rng = np.random.default_rng(1)
        maps = np.repeat(np.repeat(rng.integers(0, 3, (2, 8, 8)), 2, 1), 2, 2).astype(np.int32)
        features = np.eye(32, dtype=np.float32).reshape(2, 4, 4, 32)
        with cribo.Probe(width=32, classes=3, memory_patches=32, neighbours=1) as probe:
            probe.add(features, maps)
            found = probe.predict(features, 16, 16).labels
        ours = enlarged(shares_of(maps, 4, 3), 16)
        self.assertGreater((ours == found).mean(), 0.99)  # classes with equal shares are a matter of rounding

    @unittest.skipUnless(importlib.util.find_spec("PIL"), "needs Pillow")
    def test_floors_of_halves(self):
        """Two classes in halves: place alone is good, the shares of patches are better."""
        with tempfile.TemporaryDirectory() as folder:
            make_drives(Path(folder))
            found = floors_of(Path(folder), Path(folder), 32, 8)
        self.assertTrue(0 < found["constant"] < 50 < found["place"] < found["shares"] < 100, found)


@unittest.skipUnless(PROGRAM.exists(), "the program is not built")
class FromScratch(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.out = self.folder / "out"
        make_drives(self.folder / "data")

    def train(self, *more, arms=("plain", "wider:width=48")):
        options = ["--out", self.out, "--cribo", PROGRAM, "--sizes", 32, "--cpu-seconds", 0.05]
        options += ["--arms", *arms]
        options += [f"--set={text}" for text in SMALL]
        options += [f"--labels=--{text}" for text in ("size=32", "width=32", "depth=1", "batch=2")]
        return run("run", self.folder / "data", *options, *more)

    def rows(self):
        """The table's cells."""
        lines = run("table", self.out).splitlines()[2:]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    def test_gives_every_arm_the_same_time_and_tabulates_the_floors(self):
        said = self.train("--seeds", 1, 2)
        self.assertEqual(said.count("done:"), 2 * 2 * 3)
        rows = {(row[0], row[2], row[3]): row for row in self.rows()}
        for drive, runs in (("east", "2"), ("west", "2"), ("all", "4")):
            for arm in ("plain", "wider"):
                for network in ("teacher", "student"):
                    self.assertEqual(rows[drive, arm, network][4], runs)
                    self.assertGreaterEqual(int(rows[drive, arm, network][5]), 1)
                    self.assertTrue(0 < float(rows[drive, arm, network][11].split()[0]) <= 1.001)
            untrained = rows[drive, "untrained", "teacher"]
            self.assertEqual(untrained[8], "0.00 ± 0.00")
            self.assertRegex(untrained[7], r"^\d+\.\d\d ± \d+\.\d\d$")
            self.assertIn((drive, "colour + HOG", ""), rows)
        settings = (self.out / "runs" / "east,wider,1" / "config.json").read_text()
        self.assertRegex(settings, r'"width": ?"?48')

    def test_does_not_repeat_finished_runs_and_adds_others(self):
        self.train("--seeds", 1, "--drives", "east", arms=["plain"])
        log = self.out / "runs" / "east,plain,1.log"
        before = log.read_bytes(), self.rows()
        self.train("--seeds", 1, "--drives", "east", arms=["plain"])
        self.assertEqual((log.read_bytes(), self.rows()), before)
        self.train("--seeds", 1, 2, "--drives", "east", arms=["plain"])
        self.assertEqual(log.read_bytes(), before[0])
        self.assertEqual([row[4] for row in self.rows() if row[2] == "plain"], ["2", "2"])

    def test_trains_on_scenes_and_scores_others(self):
        make_pairs(self.folder / "test", ["000000", "000001"])
        self.train("--seeds", 1, "--scenes", self.folder / "test", arms=["plain"])
        self.assertEqual({row[0] for row in self.rows()}, {"scenes"})
        scored = list((self.out / "scenes-test" / "images").iterdir())
        self.assertEqual(sorted(path.name for path in scored), ["000000.png", "000001.png"])

    def test_rejects_an_unknown_arm(self):
        with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit):
            self.train(arms=["nonsense"])
        self.assertIn("nonsense: no such arm", said.getvalue())

    @unittest.skipUnless(LABELS, "needs Pillow, PyTorch and safetensors")
    def test_labels_bring_more_than_an_untrained_network(self):
        self.train("--seeds", 1, "--cpu-seconds", 2, arms=["labels"])
        rows = {row[2]: row for row in self.rows() if row[0] == "all"}
        self.assertGreater(float(rows["labels"][7].split()[0]), 50)
        self.assertEqual(rows["one class"][4], "2")


if __name__ == "__main__":
    unittest.main()
