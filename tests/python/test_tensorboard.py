"""The program's event files, read by TensorBoard itself."""

import json
import os
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import SMALL

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    raise unittest.SkipTest("needs tensorboard") from None

BUILD = Path(os.environ.get("CRIBO_LIBRARY", "")).resolve().parents[1]
PROGRAM, PICTURES = BUILD / "examples/program/cribo", BUILD / "tests/program/make_pictures"
TAGS = {
    "loss/all": "loss",
    "loss/cross_view": "cross_view_loss",
    "schedule/learning_rate": "learning_rate",
    "collapse/teacher_entropy": "teacher_entropy",
    "time/images_per_second": "images_per_second",
}


@unittest.skipUnless(PROGRAM.exists() and PICTURES.exists(), "needs the program and its tests")
class Events(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.pictures, self.run_folder = Path(folder.name) / "pictures", Path(folder.name) / "run"
        self.pictures.mkdir()
        subprocess.run([PICTURES, self.pictures, "12"], check=True)

    def pretrain(self, *arguments):
        settings = {**SMALL, "batch_size": 4, "total_steps": 12, "cross_image_steps": 3}
        options = [f"--{name}={value}" for name, value in settings.items()]
        subprocess.run(
            [PROGRAM, "pretrain", self.pictures, "-o", self.run_folder, "--quiet", "--save-every=5"]
            + [*options, *arguments],
            check=True,
        )

    def read(self):
        events = EventAccumulator(str(self.run_folder), size_guidance={"scalars": 0, "images": 0})
        events.Reload()
        return events

    def test_stopped_and_resumed_run_has_each_event_once(self):
        self.pretrain("--stop-after=8")
        board = self.run_folder / "events.out.tfevents.cribo"
        with board.open("ab") as file:
            file.write(b"torn")
        self.pretrain()
        log = [json.loads(line) for line in (self.run_folder / "log.jsonl").read_text().splitlines()]
        events = self.read()
        for tag, name in TAGS.items():
            scalars = events.Scalars(tag)
            self.assertEqual([scalar.step for scalar in scalars], list(range(1, 13)), tag)
            self.assertEqual([line["step"] for line in log], list(range(1, 13)))
            for scalar, line in zip(scalars, log, strict=True):
                self.assertAlmostEqual(scalar.value, line[name], delta=1e-6 * abs(line[name]), msg=tag)
        # Only in steps in which it takes part.
        self.assertEqual([scalar.step for scalar in events.Scalars("loss/cross_image")], list(range(4, 13)))

    def test_view_retrieval_is_that_of_the_log(self):
        self.pretrain()
        log = [json.loads(line) for line in (self.run_folder / "log.jsonl").read_text().splitlines()]
        scalars = self.read().Scalars("watch/view_retrieval_percent")
        self.assertEqual([scalar.step for scalar in scalars], [0, 12])
        self.assertEqual([line["view_retrieval_percent"] is None for line in log], [True] * 11 + [False])
        for scalar, name in zip(
            scalars, ("view_retrieval_start_percent", "view_retrieval_percent"), strict=True
        ):
            self.assertAlmostEqual(scalar.value, log[-1][name], places=4)
            self.assertTrue(0 <= scalar.value <= 100)

    def test_pictures_of_objects_are_there(self):
        self.pretrain()
        images = self.read().Images("objects")
        self.assertEqual([image.step for image in images], [0, 5, 10, 12])
        for image in images:
            self.assertEqual(image.encoded_image_string[:8], b"\x89PNG\r\n\x1a\n")
            width, height = struct.unpack(">II", image.encoded_image_string[16:24])
            self.assertEqual((width, height), (image.width, image.height))
        drawn = (self.run_folder / "clusters.png").read_bytes()
        self.assertEqual(images[-1].encoded_image_string, drawn)


if __name__ == "__main__":
    unittest.main()
