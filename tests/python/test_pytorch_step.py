"""The benchmark against PyTorch at tiny sizes: both sides compute the same, and a difference is noticed."""

import os
import subprocess
import sys
import unittest

from support import SOURCE, cribo

try:
    import torch  # noqa: F401
except ImportError:
    raise unittest.SkipTest("needs PyTorch") from None

BENCHMARK = SOURCE / "tests" / "benchmarks" / "pytorch_step.py"
sys.path.insert(0, str(BENCHMARK.parent))

import pytorch_step  # noqa: E402


def run(*arguments: str, program: str = "pytorch_step.py") -> list[str]:
    """The lines that a benchmark prints."""
    command = [sys.executable, "-B", str(BENCHMARK.parent / program), "--tiny", "--threads=1", *arguments]
    environment = {**os.environ, "CRIBO_LIBRARY": cribo.library.native._name}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return done.stdout.splitlines()


class Benchmark(unittest.TestCase):
    def test_sides_agree_and_take_turns(self):
        lines = run("--against=eager", "--pairs=2", "--warm-up=1")
        self.assertIn("all losses agree to 0.0001 in 3 steps", lines)
        rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
        self.assertEqual(
            rows[2:],
            [
                "whole step, ms",
                "slowest step / fastest",
                "processor time, ms",
                *pytorch_step.PHASES.values(),
                "peak memory, MiB",
            ],
        )

    def test_better_formulas_and_slices_agree_too(self):
        lines = run(
            "--against=eager", "--check", "--check-steps=4", "--lean", "--torch-micro-batch=3", "--bank=9"
        )
        self.assertEqual(lines[-2], "all losses agree to 0.0001 in 4 steps")

    def test_both_take_turns_in_bf16(self):
        lines = run("--against=eager", "--pairs=1", "--warm-up=1", "--precision=bf16")
        self.assertIn("all losses agree to 0.0001 in 3 steps", lines)
        self.assertIn("bf16", lines[0])

    def test_no_bank_has_no_cross_image_loss(self):
        lines = run("--against=eager", "--check", "--bank=0")
        losses = [line.split("losses ")[1].split(",")[0].split() for line in lines if "losses " in line]
        self.assertEqual({found[2] for found in losses[:4]}, {"0.00000"})

    def test_adapting_with_frozen_blocks_agrees_and_takes_turns(self):
        lines = run("--pairs=1", "--warm-up=1", program="pytorch_adapt.py")
        self.assertIn("all losses agree to 0.0001 in 3 steps", lines)
        self.assertIn("2 of 3 blocks frozen", lines[0])
        self.assertIn("| | libcribo | PyTorch plain | ratio | PyTorch shared | ratio |", lines)

    def test_adapting_the_whole_network_and_the_published_clustering_agree(self):
        lines = run("--check", "--frozen-blocks=0", "--published", program="pytorch_adapt.py")
        self.assertEqual(lines[-2], "all losses agree to 0.0001 in 3 steps")

    def test_cache_of_frozen_blocks_is_measured(self):
        lines = run("--pairs=1", program="trunk_cache.py")
        self.assertRegex(lines[1], r"^step \d+ ms of processor time, the frozen blocks \d+ ms of it: .*%$")
        self.assertRegex(lines[-1], r"^float32: 3264 bytes a view, \d+ MB/s, .* ms to read a batch$")

    def test_other_losses_are_noticed(self):
        def outcome(loss):
            return pytorch_step.Outcome((1.0, 2.0, loss), 3.0, 0.5, {})

        pytorch_step.compare("eager", 0, outcome(3.0), outcome(3.0002))
        for wrong in (3.0004, float("nan")):
            with self.assertRaisesRegex(pytorch_step.Disagreement, "step 0: the cross-image loss is 3.0"):
                pytorch_step.compare("eager", 0, outcome(3.0), outcome(wrong))


if __name__ == "__main__":
    unittest.main()
