"""The command that compares `cribo evaluate` with NumPy, on small pictures and random weights."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import SMALL, SOURCE, cribo, make_pairs

try:
    import PIL
except ImportError:
    PIL = None

COMMAND = SOURCE / "tests" / "evaluation" / "simple_protocol.py"
PROGRAM = Path(os.environ["CRIBO_LIBRARY"]).parents[1] / "examples" / "program" / "cribo"


@unittest.skipUnless(PIL, "needs Pillow")
@unittest.skipUnless(PROGRAM.exists(), "the program is not built")
class SimpleProtocol(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.weights = self.folder / "weights.safetensors"
        make_pairs(self.folder / "data", [f"a{number}" for number in range(9)], void=True)
        make_pairs(self.folder / "test", [f"b{number}" for number in range(3)], void=True)
        with cribo.Model(**SMALL, threads=1) as model:
            model.save(self.weights)

    def compare(self, *arguments, program=PROGRAM):
        command = [sys.executable, "-B", COMMAND, self.weights, *arguments, "--cribo", program]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)

    def test_both_have_the_same_scores(self):
        for sets in (["data"], ["data", "test"]):
            for size in (32, 64):
                done = self.compare(*(self.folder / name for name in sets), "--size", size)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                lines = done.stdout.splitlines()
                self.assertEqual([line.split()[0] for line in lines[1:4]], ["mIoU", "dark", "bright"])
                self.assertIn(f"size {size}: the largest difference is", lines[-1])
                self.assertLess(float(lines[1].split()[1]), 100)

    def test_another_score_of_the_program_is_noticed(self):
        wrong = self.folder / "cribo"
        wrong.write_text(
            f"#!{sys.executable}\nimport json, subprocess, sys\n"
            f'status = subprocess.call(["{PROGRAM}", *sys.argv[1:]])\n'
            'if sys.argv[1] == "evaluate":\n'
            '    path = sys.argv[sys.argv.index("--json") + 1]\n'
            "    scores = json.load(open(path))\n"
            '    scores["retrieval"]["iou"]["dark"] += 2e-4\n'
            '    json.dump(scores, open(path, "w"))\n'
            "sys.exit(status)\n"
        )
        wrong.chmod(0o755)
        done = self.compare(self.folder / "data", "--size", 32, program=wrong)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("the largest difference is 2.0e-04", done.stdout)


if __name__ == "__main__":
    unittest.main()
