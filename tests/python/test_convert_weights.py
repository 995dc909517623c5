"""Weights from and to the authors' checkpoints and timm."""

import argparse
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
from support import SMALL, SOURCE, cribo, small_batch, small_trainer

try:
    import convert_weights
    import safetensors.torch
    import torch
except ImportError:
    raise unittest.SkipTest("needs PyTorch and safetensors") from None


def vision_transformer():
    """timm's vit_small_patch16_224, if timm is there."""
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # a torchvision that belongs to another PyTorch
        raise unittest.SkipTest(f"needs timm: {error}") from None
    return timm.create_model("vit_small_patch16_224", num_classes=0).eval()


class Converting(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def authors_checkpoint(self) -> tuple:
        """A checkpoint as the authors' code writes it, and its networks as arrays."""
        with cribo.Model(**SMALL) as model:
            shapes = model.parameters()
        networks = [{name: torch.randn(shape) for name, shape in shapes.items()} for _ in range(2)]
        checkpoint = {
            "student": {"module." + name: values for name, values in networks[0].items()},
            "teacher": networks[1],
            "optimizer": {
                "state": {0: {"step": torch.tensor(7.0)}},
                "param_groups": [{"lr": 0.1, "params": [0]}],
            },
            "epoch": 3,
            "args": argparse.Namespace(arch="vit_small", patch_size=8),
            "dino_loss": {"center": torch.zeros(1, 40)},
        }
        path = self.folder / "checkpoint.pth"
        torch.save(checkpoint, path)
        return path, networks

    def assert_model_is(self, path, prefix, expected):
        with cribo.Model(**SMALL) as model:
            model.load(path, prefix)
            found = model.state_dict()
        self.assertEqual(set(found), set(expected))
        for name, values in found.items():
            np.testing.assert_array_equal(values, expected[name].numpy(), name)

    def test_authors_checkpoint_is_loaded_by_the_library(self):
        source, (student, teacher) = self.authors_checkpoint()
        target = self.folder / "weights.safetensors"
        networks = convert_weights.from_authors(source, target)
        self.assert_model_is(target, "student.", student)
        self.assert_model_is(target, "teacher.", teacher)
        settings = convert_weights.settings_of(networks["teacher"])
        self.assertEqual({**settings, "heads": 3}, {**SMALL, "mlp_ratio": 4})

    def test_parallel_teacher_and_half_precision_are_taken(self):
        source, (_, teacher) = self.authors_checkpoint()
        torch.save({"teacher": {"module." + name: v.half() for name, v in teacher.items()}}, source)
        target = self.folder / "weights.safetensors"
        convert_weights.from_authors(source, target)
        self.assert_model_is(target, "teacher.", {name: v.half().float() for name, v in teacher.items()})

    def test_trainer_to_authors_and_back(self):
        first, second, third = (self.folder / name for name in ("a.safetensors", "b.pth", "c.safetensors"))
        with small_trainer() as trainer:
            trainer.step(small_batch())
            trainer.save_weights(first)
        convert_weights.to_authors(first, second)
        checkpoint = torch.load(second, weights_only=True)
        self.assertTrue(all(name.startswith("module.") for name in checkpoint["student"]))
        convert_weights.from_authors(second, third)
        before, after = (safetensors.torch.load_file(path) for path in (first, third))
        self.assertEqual(set(before), set(after))
        for name, values in before.items():
            self.assertTrue(torch.equal(values, after[name]), name)

    def test_code_in_a_checkpoint_is_not_executed(self):
        class Malicious:
            def __reduce__(self):
                return print, ("executed",)

        torch.save({"teacher": {}, "extra": Malicious()}, self.folder / "bad.pth")
        with self.assertRaisesRegex(Exception, "[Ww]eights.only"):
            convert_weights.from_authors(self.folder / "bad.pth", self.folder / "out")

    def test_command_line_converts_and_explains(self):
        source, (_, teacher) = self.authors_checkpoint()
        program = [sys.executable, str(SOURCE / "examples" / "python" / "convert_weights.py")]
        weights, backbone = self.folder / "weights.safetensors", self.folder / "vit.safetensors"
        for arguments in (["from-authors", source, weights], ["to-timm", weights, backbone]):
            subprocess.run([*program, *map(str, arguments)], check=True, capture_output=True)
        names = {name.removeprefix("backbone.") for name in teacher if name.startswith("backbone.")}
        self.assertEqual(set(safetensors.torch.load_file(backbone)), names)
        refused = subprocess.run(
            [*program, "to-timm", str(backbone), str(weights)], capture_output=True, text=True
        )
        self.assertEqual(refused.returncode, 1)
        self.assertRegex(refused.stderr, "^convert_weights: there is neither teacher.backbone.cls_token")

    def test_timm_gives_the_same_features(self):
        network = vision_transformer()
        weights = self.folder / "weights.safetensors"
        pixels = torch.randn(2, 3, 224, 224)
        with cribo.Model(prototypes=0, object_prototypes=0, seed=3) as model, torch.no_grad():
            model.save(weights)
            found = model.features(pixels)
            network.load_state_dict(convert_weights.to_timm(weights, self.folder / "vit.safetensors"))
            tokens = network.forward_features(pixels)
        np.testing.assert_allclose(found.cls, tokens[:, 0].numpy(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(found.dense, tokens[:, 1:].numpy(), rtol=0, atol=1e-4)


if __name__ == "__main__":
    unittest.main()
