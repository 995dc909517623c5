"""cribo.Objective on NumPy arrays: against the trainer, in chunks, and its state."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
from support import cribo, small_batch, small_trainer

SMALL = {
    "width": 12,
    "tokens": 9,
    "batch_size": 4,
    "micro_batch": 1,
    "clusters": 3,
    "bank_images": 8,
    "head_hidden": 32,
    "head_bottleneck": 16,
    "prototypes": 20,
    "object_prototypes": 24,
    "cross_image_epochs": 0,
    "freeze_last_layer_epochs": 0,
    "warmup_epochs": 0,
    "total_steps": 20,
    "steps_per_epoch": 1,
}


def problem(seed=0, images=4):
    """Dense tokens, global vectors and positions of two views."""
    random = np.random.default_rng(seed)
    dense = random.standard_normal((images, 2, 9, 12)).astype(np.float32)
    vectors = random.standard_normal((images, 2, 12)).astype(np.float32)
    return dense, vectors, random.uniform(0, 50, (images, 2, 9, 2)).astype(np.float32)


def step(objective, seed):
    dense, vectors, positions = problem(seed)
    objective.teach(dense, vectors, positions, ids=np.arange(4) + 4 * seed)
    learned = objective.learn(0.9 * dense + 0.1, 0.9 * vectors)
    return learned, objective.update()


class Steps(unittest.TestCase):
    def setUp(self):
        self.objective = cribo.Objective(**SMALL)
        self.addCleanup(self.objective.close)

    def test_losses_are_those_of_the_report(self):
        for seed in range(3):
            learned, report = step(self.objective, seed)
            self.assertAlmostEqual(learned.loss, sum(learned[1:4]), places=12)
            self.assertEqual(
                learned[:4],
                (report.loss, report.global_loss, report.cross_view_loss, report.cross_image_loss),
            )
        self.assertGreater(report.cross_image_loss, 0)
        self.assertEqual((report.step, self.objective.step_count()), (2, 3))
        self.assertEqual(self.objective.memory_bank.count()[0], 8)

    def test_chunks_give_the_gradients_of_the_whole(self):
        dense, vectors, positions = problem(7)
        self.objective.teach(dense, vectors, positions)
        whole = self.objective.learn(dense, vectors)
        heads = {name: self.objective.gradient(name) for name in self.objective.parameters()}
        first = self.objective.learn(dense[:1], vectors[:1])
        last = self.objective.learn(dense[1:], vectors[1:], 1, global_gradient=False)
        self.assertIsNone(last.global_gradient)
        self.assertAlmostEqual(last.loss, whole.loss, places=10)
        self.assertLess(first.loss, last.loss)
        np.testing.assert_array_equal(
            np.concatenate([first.dense_gradient, last.dense_gradient]), whole.dense_gradient
        )
        for name, gradient in heads.items():
            np.testing.assert_array_equal(self.objective.gradient(name), gradient, name)

    def test_gradient_is_that_of_the_loss(self):
        dense, vectors, positions = problem(8)
        direction = np.random.default_rng(0).standard_normal(dense.shape).astype(np.float32)
        self.objective.teach(dense, vectors, positions)
        found = self.objective.learn(dense, vectors)
        ahead = self.objective.learn(dense + 1e-2 * direction, vectors).loss
        behind = self.objective.learn(dense - 1e-2 * direction, vectors).loss
        slope = (found.dense_gradient * direction).sum()
        self.assertAlmostEqual((ahead - behind) / 2e-2, slope, delta=2e-3 * abs(slope) + 1e-4)

    def test_strided_tokens_are_taken(self):
        dense, vectors, positions = problem(9)
        tokens = np.concatenate([vectors[:, :, None], dense], 2)  # [CLS] before the others
        for arrays in ((dense, vectors), (tokens[:, :, 1:], tokens[:, :, 0])):
            self.objective.teach(*arrays, positions)
            losses = self.objective.learn(*arrays)[:4]
            self.assertEqual(losses, getattr(self, "expected", losses))
            self.expected = losses

    def test_wrong_arrays_are_named(self):
        dense, vectors, positions = problem()
        with self.assertRaisesRegex(ValueError, r"dense has shape \[4, 2, 8, 12\], but \[B, 2, 9, 12\]"):
            self.objective.teach(dense[:, :, :8], vectors, positions)
        with self.assertRaisesRegex(ValueError, "positions has shape"):
            self.objective.teach(dense, vectors, positions[:, :1])
        self.objective.teach(dense, vectors, positions)
        with self.assertRaisesRegex(ValueError, r"global_vectors has shape \[3, 2, 12\], but \[4, 2, 12\]"):
            self.objective.learn(dense, vectors[:3])
        with self.assertRaisesRegex(ValueError, "dense_gradient must not overlap dense"):
            self.objective.learn(dense, vectors, dense_gradient=dense)

    def test_calls_out_of_turn_are_refused(self):
        dense, vectors, positions = problem()
        with self.assertRaises(cribo.WrongState):
            self.objective.learn(dense, vectors)
        self.objective.teach(dense, vectors, positions)
        with self.assertRaises(cribo.WrongState):
            self.objective.update()
        self.objective.learn(dense, vectors)
        self.objective.forget()
        with self.assertRaises(cribo.WrongState):
            self.objective.update()

    def test_schedule_may_be_replaced_for_a_step(self):
        values = self.objective.schedule()
        self.assertEqual(values, self.objective.schedule(0))
        self.assertNotEqual(values.ema_momentum, self.objective.schedule(19).ema_momentum)
        dense, vectors, positions = problem()
        self.objective.teach(dense, vectors, positions, values=values._replace(teacher_temperature=0.5))
        self.objective.learn(dense, vectors)
        self.assertEqual(self.objective.update().teacher_temperature, 0.5)

    def test_gradients_of_heads_may_be_replaced(self):
        dense, vectors, positions = problem()
        name = "head.mlp.0.bias"
        before = self.objective.read(name)
        self.objective.teach(dense, vectors, positions)
        self.objective.learn(dense, vectors)
        self.objective.add_gradient(name, np.ones_like(before))
        self.objective.set_gradient(name, np.zeros_like(before))
        self.objective.update()
        np.testing.assert_array_equal(self.objective.read(name), before)
        self.assertEqual(self.objective.moments(name).updates, 1)

    def test_targets_are_those_of_the_clusterer(self):
        dense, vectors, positions = problem(3)
        seeds = np.tile(np.arange(3), (4, 1))
        self.objective.teach(dense, vectors, positions, seeds)
        with cribo.Clusterer(4, 9, 12, clusters=3) as clusterer:
            found = clusterer.run(dense, positions, seeds)
        targets = self.objective.targets()
        np.testing.assert_array_equal(targets.labels, found.labels)
        np.testing.assert_array_equal(targets.valid, found.valid)


class State(unittest.TestCase):
    def test_saved_objective_goes_on_with_the_same_bits(self):
        with (
            cribo.Objective(**SMALL) as one,
            cribo.Objective(**SMALL) as other,
            tempfile.TemporaryDirectory() as folder,
        ):
            for seed in range(3):
                step(one, seed)
            one.save(Path(folder, "objective"), metadata={"seed": "3"})
            other.load(Path(folder, "objective"))
            self.assertEqual(cribo.checkpoint_metadata(Path(folder, "objective"), "seed"), "3")
            for seed in range(3, 5):
                ours, theirs = step(one, seed), step(other, seed)
                self.assertEqual(ours[0].loss, theirs[0].loss)
                np.testing.assert_array_equal(ours[0].dense_gradient, theirs[0].dense_gradient)
            for ours, theirs in zip(one.centres(), other.centres()):
                np.testing.assert_array_equal(ours, theirs)

    def test_heads_are_read_and_written(self):
        with cribo.Objective(**SMALL) as one, cribo.Objective(**SMALL, seed=1) as other:
            step(one, 0)
            for network in ("student", "teacher"):
                other.load_state_dict(one.state_dict(network), network)
                for name, values in other.state_dict(network).items():
                    np.testing.assert_array_equal(values, one.read(name, network), name)
            with self.assertRaisesRegex(ValueError, 'network = \'both\' must be "student" or "teacher"'):
                one.read("head.mlp.0.bias", "both")

    def test_presets_come_first(self):
        with cribo.Objective("authors", **SMALL) as objective:
            self.assertEqual(objective.settings["authors_normalisation"], 1)
            self.assertEqual(objective.settings["width"], 12)

    def test_settings_of_all_handles_are_read_and_changed(self):
        with (
            cribo.Objective(**SMALL) as objective,
            cribo.Clusterer(1, 9, 4, clusters=2) as clusterer,
            cribo.Loss(prototypes=4, object_prototypes=4) as loss,
            cribo.Probe(width=4) as probe,
        ):
            objective.set(learning_rate=0.125, global_weight=2)
            self.assertEqual(objective.settings["global_weight"], 2)
            clusterer.set(position_weight=2, seed=3)
            self.assertEqual((clusterer.settings["position_weight"], clusterer.settings["seed"]), (2, 3))
            loss.set(centre_momentum=0.5)
            self.assertEqual(loss.settings["centre_momentum"], 0.5)
            probe.set(iterations=7)
            self.assertEqual(probe.settings["iterations"], 7)
            self.assertEqual(objective.memory_bank.settings["width"], SMALL["width"])
            for handle in (objective, clusterer, loss, probe):
                with self.assertRaisesRegex(cribo.InvalidArgument, "cannot change while the handle lives"):
                    handle.set(**{next(iter(handle.settings)): 1})


class Crops(unittest.TestCase):
    def test_positions_are_the_trainer_s(self):
        crops = [(3.0, 5.0, 20.0, 17.0, 0), (0.0, 1.0, 30.0, 12.0, 1)]
        places = np.stack([cribo.crop_positions(crop, 4, 4) for crop in crops])
        positions = np.stack([places, places[::-1]], 1)
        with small_trainer() as by_crops, small_trainer() as by_positions:
            by_crops.teach(small_batch(images=2, crops1=crops, crops2=crops[::-1]))
            by_positions.teach(small_batch(images=2, crops1=None, crops2=None, positions=positions))
            np.testing.assert_array_equal(by_crops.targets().labels, by_positions.targets().labels)

    def test_positions_are_the_centres_of_cells(self):
        places = cribo.crop_positions((10, 20, 40, 60, 1), 3, 2)
        x, y = np.meshgrid([39.5, 19.5], [29.5, 49.5, 69.5])
        np.testing.assert_allclose(places, np.stack([x, y], -1).reshape(-1, 2))


if __name__ == "__main__":
    unittest.main()
