"""Copies and pickles of handles: independent models, and refusals."""

import concurrent.futures
import copy
import pickle
import unittest

import numpy as np
from support import SMALL, cribo, small_batch, small_trainer

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda handle: pickle.loads(pickle.dumps(handle)),
}


class Memory(unittest.TestCase):
    def test_estimates_are_those_of_the_settings(self):
        training = {**SMALL, "clusters": 4, "batch_size": 4, "bank_images": 8, "steps_per_epoch": 1}
        small = cribo.Trainer.memory_bytes(**training, threads=1)
        large = cribo.Trainer.memory_bytes(**{**training, "bank_images": 1000}, threads=1)
        self.assertGreater(large - small, 992 * 4 * 8 * SMALL["width"])
        weights = cribo.Model.memory_bytes(**SMALL, threads=1)
        self.assertGreater(cribo.Model.memory_bytes((32, 32), **SMALL, threads=1), weights)
        self.assertGreater(cribo.Clusterer.memory_bytes(2, 16, 8, clusters=4, threads=1), 2 * 4 * 32 * 4)
        self.assertGreater(cribo.MemoryBank.memory_bytes(bank_images=10, width=8), 10 * 32 * 64)
        self.assertGreater(cribo.Objective.memory_bytes("vits16-coco", steps_per_epoch=1), 1 << 30)
        with self.assertRaisesRegex(cribo.InvalidArgument, "heads"):
            cribo.Model.memory_bytes(heads=5)
        self.assertGreaterEqual(cribo.memory_available(), 0)


class Models(unittest.TestCase):
    def assert_equal(self, one: cribo.Model, other: cribo.Model):
        ours, theirs = one.state_dict(), other.state_dict()
        self.assertEqual(set(ours), set(theirs))
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name], name)

    def test_copies_are_models_of_their_own(self):
        pixels = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
        for name, copied in COPIES.items():
            with self.subTest(name), cribo.Model(**SMALL, seed=3, threads=1) as model:
                with copied(model) as other:
                    self.assert_equal(model, other)
                    self.assertEqual(model.settings, other.settings)
                    self.assertEqual(other._hooks.runtime.threads, 1)
                    other.write("backbone.norm.bias", np.ones(48, np.float32))
                    self.assertFalse(model.read("backbone.norm.bias").any())
                model.features(pixels)  # the copy's end is not the model's

    def test_copy_of_a_trainer_s_model_outlives_the_trainer(self):
        for name, copied in COPIES.items():
            with self.subTest(name), small_trainer() as trainer:
                trainer.step(small_batch())
                teacher = copied(trainer.teacher)
                self.assert_equal(teacher, trainer.teacher)
                trainer.close()
                self.assertEqual(teacher.read("backbone.cls_token").shape, (1, 1, 48))
                teacher.close()


class Others(unittest.TestCase):
    def test_threads_share_the_weights(self):
        pixels = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
        with cribo.Model(**SMALL, threads=1) as model:
            expected = model.features(pixels)
            model.pack()
            shares = [model.share(threads=1) for _ in range(3)]
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                for found in pool.map(lambda share: share.features(pixels), shares):
                    np.testing.assert_array_equal(found.dense, expected.dense)
            with self.assertRaisesRegex(cribo.WrongState, "4 models share these weights"):
                model.write("backbone.norm.bias", np.ones(48, np.float32))
            for share in shares[:2]:
                share.close()
        np.testing.assert_array_equal(shares[2].features(pixels).dense, expected.dense)
        shares[2].write("backbone.norm.bias", np.ones(48, np.float32))
        shares[2].close()

    def test_other_handles_are_refused(self):
        with small_trainer() as trainer:
            handles = [
                trainer,
                trainer.memory_bank,
                trainer.snapshot(),
                cribo.Clusterer(1, 4, 2, clusters=2),
                cribo.MemoryBank(bank_images=2, width=2),
                cribo.Loss(prototypes=2, object_prototypes=2),
                cribo.Probe(width=2, classes=2),
            ]
            for handle in handles:
                for name, copied in COPIES.items():
                    with (
                        self.subTest(type(handle).__name__, by=name),
                        self.assertRaisesRegex(
                            TypeError, f"^a {type(handle).__name__} can be neither copied nor pickled$"
                        ),
                    ):
                        copied(handle)


if __name__ == "__main__":
    unittest.main()
