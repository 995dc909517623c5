"""Weights to and from other programs' safetensors, read and written with the safetensors package."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
from support import SMALL, cribo, small_batch, small_trainer

try:
    import safetensors
    import safetensors.numpy
except ImportError:
    safetensors = None
try:
    import safetensors.torch
    import torch
except ImportError:
    torch = None


def assert_same(actual, expected):
    assert set(actual) == set(expected), set(actual) ^ set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(np.asarray(actual[name]), np.asarray(values), name)


class Weights(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "weights.safetensors")
        self.model = cribo.Model(**SMALL, seed=1)
        self.addCleanup(self.model.close)

    def test_saved_model_is_loaded_by_another(self):
        self.model.save(self.path, "teacher.")
        with cribo.Model(**SMALL, seed=2) as other:
            other.load(self.path, "teacher.")
            assert_same(other.state_dict(), self.model.state_dict())
            with self.assertRaisesRegex(cribo.InvalidArgument, "cls_token"):
                other.load(str(self.path), "student.")

    def test_backbone_is_loaded_at_another_size_without_heads(self):
        self.model.save(self.path)
        with cribo.Model(**{**SMALL, "image_size": 48, "prototypes": 7, "object_prototypes": 5}) as other:
            heads = {name: values for name, values in other.state_dict().items() if name.startswith("head.")}
            with self.assertRaises(cribo.InvalidArgument):
                other.load(self.path, heads=False)
            other.load(self.path, heads=False, resample_positions=True)
            found = other.state_dict()
        self.assertEqual(found["backbone.pos_embed"].shape, (1, 37, 48))
        self.assertTrue(found["backbone.pos_embed"].any())
        expected = {**self.model.state_dict(), **heads, "backbone.pos_embed": found["backbone.pos_embed"]}
        assert_same(found, expected)

    def test_parts_are_written_alone(self):
        backbone = self.path.with_name("backbone.safetensors")
        self.model.save(backbone, heads=False, plain_names=True)
        self.model.save(self.path, backbone=False)
        with cribo.Model(**SMALL, seed=2) as other:
            other.load(self.path, backbone=False)
            other.load(backbone, heads=False, plain_names=True)
            assert_same(other.state_dict(), self.model.state_dict())
        if safetensors:
            names = set(self.model.parameters())
            heads = {name for name in names if name.startswith("head.")}
            self.assertEqual(set(safetensors.numpy.load_file(self.path)), heads)
            plain = {name.removeprefix("backbone.") for name in names - heads}
            self.assertEqual(set(safetensors.numpy.load_file(backbone)), plain)

    def test_bank_is_saved_and_loaded(self):
        checkpoint = self.path.with_name("checkpoint")
        with (
            small_trainer() as trainer,
            cribo.MemoryBank(bank_images=8, objects_per_image=4, width=48) as bank,
        ):
            trainer.step(small_batch(ids=[3, 1, 4, 15]))
            content = trainer.memory_bank.export()
            trainer.memory_bank.save(self.path, "bank.")
            trainer.save(checkpoint)
            for file in (self.path, checkpoint):
                bank.import_(content.view1[:0], content.view2[:0], [])
                bank.load(file, "bank.")
                assert_same(bank.export()._asdict(), content._asdict())
            with self.assertRaisesRegex(cribo.InvalidArgument, "objects_per_image"):
                bank.load(self.path)
        self.assertGreater(len(content.view1), 0)
        self.assertEqual(list(content.ids), [3, 1, 4, 15])
        if safetensors:
            named = {"bank." + name: values for name, values in content._asdict().items()}
            assert_same(safetensors.numpy.load_file(self.path), named)

    def test_broken_file_is_corrupt(self):
        self.path.write_bytes(b"\x10\0\0\0\0\0\0\0 not a safetensors")
        with self.assertRaises(cribo.Corrupt):
            self.model.load(self.path)

    def test_paths_with_a_zero_are_refused(self):
        with self.assertRaisesRegex(ValueError, "path = .* has a zero in it"):
            self.model.save(str(self.path) + "\0.bak")
        self.assertFalse(self.path.exists())

    @unittest.skipUnless(safetensors, "needs safetensors")
    def test_saved_model_opens_in_safetensors(self):
        self.model.save(self.path)
        assert_same(safetensors.numpy.load_file(self.path), self.model.state_dict())

    @unittest.skipUnless(safetensors and torch, "needs safetensors and PyTorch")
    def test_saved_model_opens_in_pytorch(self):
        self.model.save(self.path, "module.")
        loaded = safetensors.torch.load_file(self.path)
        assert_same(loaded, {"module." + name: values for name, values in self.model.state_dict().items()})

    @unittest.skipUnless(safetensors, "needs safetensors")
    def test_saved_trainer_opens_in_safetensors(self):
        with small_trainer() as trainer:
            trainer.step(small_batch())
            trainer.save_weights(self.path)
            both = {"student." + name: values for name, values in trainer.student.state_dict().items()}
            both.update({"teacher." + name: values for name, values in trainer.teacher.state_dict().items()})
        assert_same(safetensors.numpy.load_file(self.path), both)
        with safetensors.safe_open(self.path, "np") as file:
            self.assertEqual(float(file.metadata()["batch_size"]), 4)

    @unittest.skipUnless(safetensors, "needs safetensors")
    def test_file_of_safetensors_is_loaded(self):
        random = np.random.default_rng(3)
        shapes = self.model.parameters()
        values = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        others = {"optimiser.step": np.zeros(1, np.int64), "half": np.zeros(3, np.float16)}
        safetensors.numpy.save_file({**{"net." + n: v for n, v in values.items()}, **others}, self.path)
        self.model.load(self.path, "net.")
        assert_same(self.model.state_dict(), values)

    @unittest.skipUnless(safetensors and torch, "needs safetensors and PyTorch")
    def test_file_of_pytorch_is_loaded(self):
        values = {name: torch.randn(shape) for name, shape in self.model.parameters().items()}
        safetensors.torch.save_file(values, self.path)
        self.model.load(self.path)
        assert_same(self.model.state_dict(), values)

    @unittest.skipUnless(safetensors, "needs safetensors")
    def test_misshapen_file_changes_nothing(self):
        before = self.model.state_dict()
        values = {name: np.ones(shape, np.float32) for name, shape in self.model.parameters().items()}
        values["head.last_layer_c.weight_g"] = np.ones((35, 1), np.float32)
        safetensors.numpy.save_file(values, self.path)
        with self.assertRaisesRegex(cribo.InvalidArgument, "head.last_layer_c.weight_g"):
            self.model.load(self.path)
        assert_same(self.model.state_dict(), before)


if __name__ == "__main__":
    unittest.main()
