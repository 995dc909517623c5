"""Training through Python: whole runs of the authors' code, phases, targets, state by name."""

import gc
import gzip
import json
import tempfile
import threading
import unittest
import weakref
import zlib
from pathlib import Path

import numpy as np
from support import Golden, cribo, small_batch, small_trainer

try:
    import safetensors.numpy
except ImportError:
    safetensors = None


def golden_settings(data: Golden, mode: str) -> dict:
    meta, paper = data.metadata, mode == "paper"
    return {
        "image_size": meta["image"],
        "patch_size": meta["patch"],
        "width": meta["embed"],
        "depth": meta["depth"],
        "heads": meta["heads"],
        "drop_path": 0,
        "head_hidden": meta["hidden"],
        "head_bottleneck": meta["bottleneck"],
        "prototypes": meta["out"],
        "object_prototypes": meta["out_c"],
        "normed_last_layer": meta["norm_last_layer"],
        "clusters": meta["clusters"],
        "position_weight": meta["pos_alpha"][1],  # the authors' pair runs backwards
        "position_weight_final": meta["pos_alpha"][0],
        "batch_cost": not paper,
        "bank_images": meta["queue"],
        "object_student_temperature": meta["student_temp_c"],
        "teacher_temperature_start": meta["warmup_teacher_temp"],
        "teacher_temperature": meta["teacher_temp"],
        "object_teacher_temperature_start": meta["warmup_teacher_temp_c"],
        "object_teacher_temperature": meta["teacher_temp_c"],
        "teacher_temperature_epochs": meta["warmup_teacher_temp_epochs"],
        "authors_normalisation": not paper,
        "batch_size": meta["batch"],
        "micro_batch": 2,
        "learning_rate": meta["lr"],
        "learning_rate_final": meta["min_lr"],
        "warmup_epochs": meta["warmup_epochs"],
        "weight_decay": meta["weight_decay"],
        "weight_decay_final": meta["weight_decay_end"],
        "ema_momentum": meta["momentum_teacher"],
        "clip_norm": meta[f"{mode}.clip_grad"],
        "clip_per_tensor": 1,
        "freeze_last_layer_epochs": meta["freeze_last_layer"],
        "epochs": meta["total_epochs"],
        "steps_per_epoch": meta["per_epoch"],
    }


def golden_trainer(data: Golden, mode: str) -> cribo.Trainer:
    trainer = cribo.Trainer(**golden_settings(data, mode))
    for model, network in ((trainer.student, "student"), (trainer.teacher, "teacher")):
        network = network if data.metadata["teacher_differs"] else "student"
        model.load_state_dict({name: data[f"initial.{network}.{name}"] for name in model.parameters()})
    trainer.memory_bank.import_(*data["initial.centroids_queue"], data["initial.cpv_queue"])
    return trainer


class Trajectory(unittest.TestCase):
    def check_step(self, data: Golden, mode: str, trainer: cribo.Trainer, step: int):
        images, side = data.metadata["batch"], data.metadata["image"] // data.metadata["patch"]
        batch = cribo.Batch(
            data["images"][step, 0],
            data["images"][step, 1],
            positions=data["positions"][step].reshape(images, 2, side * side, 2),
            seed_tokens=data["init_index"][step],
        )
        trainer.teach(batch)
        found = trainer.targets()
        labels = data[f"{mode}.labels"][step]
        np.testing.assert_array_equal(found.labels.reshape(labels.shape), labels)
        np.testing.assert_array_equal(found.valid.ravel(), data[f"{mode}.valid"][step].ravel())
        for ours, theirs in (("index", "index"), ("match", "mask")):
            for view in "12":
                np.testing.assert_array_equal(
                    getattr(found, ours + view), data[f"{mode}.step{step}.{theirs}{view}"]
                )
        trainer.learn(batch)
        report = trainer.update()
        for ours, theirs in (("global", "d"), ("cross_view", "s"), ("cross_image", "nn")):
            expected = data[f"{mode}.{theirs}_loss"][step]
            self.assertAlmostEqual(getattr(report, ours + "_loss"), expected, delta=1e-5 * max(1, expected))

    def test_steps_match_authors(self):
        for name, mode in (
            ("trajectory_small", "official"),
            ("trajectory_small", "paper"),
            ("trajectory_main", "official"),
        ):
            data = Golden(name)
            with self.subTest(file=name, mode=mode), golden_trainer(data, mode) as trainer:
                for step in range(3):
                    self.check_step(data, mode, trainer, step)
                self.assertEqual(trainer.step_count(), 3)
                centre, object_centre = trainer.centres()
                np.testing.assert_allclose(centre, data[f"{mode}.center"][2], rtol=0, atol=1e-5)
                np.testing.assert_allclose(object_centre, data[f"{mode}.center_c"][2], rtol=0, atol=1e-5)


class Steps(unittest.TestCase):
    def test_phases_one_by_one_equal_a_step(self):
        with small_trainer() as whole, small_trainer() as parts:
            for seed in range(3):
                batch = small_batch(seed)
                first = whole.step(batch)
                parts.teach(batch)
                parts.learn(batch)
                second = parts.update()
                self.assertEqual(first.loss, second.loss)
                self.assertEqual(first.gradient_norm, second.gradient_norm)
            for name, values in whole.student.state_dict().items():
                np.testing.assert_array_equal(values, parts.student.read(name), name)

    def test_forgotten_step_changes_nothing(self):
        with small_trainer() as whole, small_trainer() as other:
            other.teach(small_batch(9))
            other.learn(small_batch(9))
            loss, *parts = other.losses()
            self.assertAlmostEqual(loss, sum(parts))
            other.forget()
            with self.assertRaises(cribo.WrongState):
                other.losses()
            self.assertEqual(whole.step(small_batch(1)).loss, other.step(small_batch(1)).loss)

    def test_threads_any_number_same_bits(self):
        losses = []
        for threads in (1, 3):
            with small_trainer(threads=threads) as trainer:
                losses.append([trainer.step(small_batch(seed)).loss for seed in range(3)])
        self.assertEqual(*losses)

    def test_bytes_equal_normalised_floats(self):
        pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
        mean, deviation = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
        floats = (pixels / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(deviation, (3, 1, 1))
        floats = floats.astype(np.float32)
        with small_trainer() as one, small_trainer() as two:
            first = one.step(small_batch(view1=pixels, view2=pixels, mean=mean, deviation=deviation))
            second = two.step(small_batch(view1=floats, view2=floats))
        self.assertAlmostEqual(first.loss, second.loss, places=5)

    def test_crops_structured_equal_rows(self):
        rows = np.array([(2, 3, 20, 24, 0), (0, 0, 32, 32, 1), (5, 1, 9, 30, 1), (1, 1, 8, 8, 0)])
        crops = np.array([tuple(row) for row in rows], cribo.CROP)
        with small_trainer() as one, small_trainer() as two:
            one.teach(small_batch(crops1=rows, crops2=rows[::-1]))
            two.teach(small_batch(crops1=crops, crops2=crops[::-1]))
            np.testing.assert_array_equal(one.targets().labels, two.targets().labels)

    def test_targets_of_a_smaller_batch_have_its_size(self):
        with small_trainer() as trainer:
            trainer.step(small_batch())
            trainer.teach(small_batch(images=2))
            found = trainer.targets()
        self.assertEqual(found.labels.shape, (2, 2, 16))
        self.assertEqual(len(found.index1), found.objects_per_image.sum())
        self.assertEqual(found.valid.sum(), found.objects_per_image.sum())

    def test_preset_then_settings_on_top(self):
        values = dict(
            prototypes=8, object_prototypes=8, head_hidden=8, head_bottleneck=8, bank_images=1, batch_size=1,
            steps_per_epoch=1,
        )  # fmt: skip
        with cribo.Trainer("tiny", "authors", depth=1, **values) as trainer:
            self.assertEqual(trainer.settings["width"], 192)
            self.assertEqual(trainer.settings["depth"], 1)
            self.assertEqual(trainer.settings["batch_cost"], 1)

    def test_settings_change_between_steps(self):
        with small_trainer() as trainer:
            trainer.step(small_batch())
            trainer.set(learning_rate=0.25, weight_decay=np.float32(0.5), clip_per_tensor=True)
            self.assertEqual(trainer.settings["learning_rate"], 0.25)
            self.assertEqual(trainer.settings["clip_per_tensor"], 1)
            self.assertAlmostEqual(trainer.step(small_batch()).weight_decay, 0.5, places=4)
            trainer.set(drop_path=0.75)
            self.assertEqual(trainer.student.settings["drop_path"], 0.75)

    def test_settings_that_cannot_change_leave_all_as_they_are(self):
        with small_trainer() as trainer:
            before = trainer.settings
            for name, value in {"batch_size": 3, "precision": "bf16", "learning_rate": -1}.items():
                with self.assertRaisesRegex(cribo.InvalidArgument, name):
                    trainer.set(**{"clip_norm": 5.0, name: value})
                self.assertEqual(trainer.settings, before)
            for value in ("fast", None, [1]):
                with self.assertRaisesRegex(TypeError, "learning_rate"):
                    trainer.set(clip_norm=5.0, learning_rate=value)
            trainer.teach(small_batch())
            with self.assertRaisesRegex(cribo.WrongState, "settings are changed"):
                trainer.set(clip_norm=5.0)
            trainer.forget()
            self.assertEqual(trainer.settings, before)
            again = trainer.step(small_batch())
        with small_trainer() as trainer:
            self.assertEqual(trainer.step(small_batch()).loss, again.loss)

    def test_gradient_and_moments_by_name(self):
        name = "backbone.patch_embed.proj.weight"
        with small_trainer() as trainer:
            trainer.teach(small_batch())
            trainer.learn(small_batch())
            gradient = trainer.gradient(name)
            trainer.update()
            moments = trainer.moments(name)
        self.assertEqual(gradient.shape, (48, 3, 8, 8))
        self.assertEqual(moments.updates, 1)
        np.testing.assert_allclose(moments.first, 0.1 * gradient, rtol=1e-5, atol=1e-12)

    def test_gradients_are_replaced_and_added_to(self):
        name = "backbone.norm.bias"
        with small_trainer() as trainer:
            trainer.teach(small_batch())
            with self.assertRaisesRegex(cribo.WrongState, "cribo_trainer_learn"):
                trainer.set_gradient(name, np.zeros(48, np.float32))
            trainer.learn(small_batch())
            gradient = trainer.gradient(name)
            trainer.add_gradient(name, gradient)
            np.testing.assert_array_equal(trainer.gradient(name), 2 * gradient)
            before = trainer.student.read(name)
            trainer.set_gradient(name, np.zeros(48, np.float32))
            with self.assertRaisesRegex(ValueError, "shape"):
                trainer.add_gradient(name, np.zeros(47, np.float32))
            trainer.update()
            np.testing.assert_array_equal(trainer.student.read(name), before)

    def test_sizes_are_those_of_the_arrays(self):
        with small_trainer() as trainer:
            trainer.step(small_batch())
            trainer.teach(small_batch())
            sizes, bank = trainer.sizes(), trainer.memory_bank.export()
            self.assertEqual(sizes.target_objects, trainer.targets().objects_per_image.sum())
            self.assertEqual((sizes.bank_images, sizes.bank_objects), (len(bank.ids), len(bank.view1)))
            self.assertEqual(sizes.prototypes, trainer.centres()[0].size)
            shapes = trainer.student.parameters().values()
            numbers = [int(np.prod(shape)) for shape in shapes]
            student = trainer.student.sizes()
            self.assertEqual(
                (student.parameters, student.parameter_numbers, student.largest_parameter),
                (len(numbers), sum(numbers), max(numbers)),
            )
            self.assertEqual(trainer.memory_bank.sizes().width, sizes.width)
        with cribo.Clusterer(3, 9, 4, clusters=2) as clusterer:
            self.assertEqual(clusterer.sizes()[:5], (3, 9, 4, 0, 2))

    def test_centres_written_are_read(self):
        with small_trainer() as trainer:
            centre = np.arange(40, dtype=np.float32)
            trainer.set_centres(centre)
            np.testing.assert_array_equal(trainer.centres()[0], centre)
            np.testing.assert_array_equal(trainer.centres()[1], np.zeros(36))


class Lifetimes(unittest.TestCase):
    def test_lent_handles_end_with_the_trainer(self):
        trainer = small_trainer()
        student, bank = trainer.student, trainer.memory_bank
        student.close()
        self.assertEqual(student.shape("backbone.cls_token"), (1, 1, 48))
        trainer.close()
        trainer.close()
        for call in (lambda: student.read("backbone.cls_token"), bank.count, trainer.step_count):
            with self.assertRaisesRegex(cribo.WrongState, "closed"):
                call()

    def test_lent_handles_keep_the_trainer(self):
        student = small_trainer().student
        gc.collect()
        self.assertTrue(np.isfinite(student.read("backbone.pos_embed")).all())

    def test_trainer_forgotten_is_freed_at_once(self):
        trainer = small_trainer()
        trainer.student.parameters()
        gone = weakref.ref(trainer)
        gc.disable()
        try:
            del trainer
            self.assertIsNone(gone())
        finally:
            gc.enable()


class Checkpoints(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "checkpoint"

    def test_run_goes_on_where_it_stopped(self):
        trainer, whole = small_trainer(threads=1), small_trainer(threads=2)
        for i in range(2):
            trainer.step(small_batch(i))
        trainer.save(self.path, level=6, metadata={"position": "image 17 \u00e9", "empty": ""})
        self.assertEqual(cribo.checkpoint_metadata(self.path, "position"), "image 17 \u00e9")
        self.assertEqual(cribo.checkpoint_metadata(self.path, "empty"), "")
        settings = cribo.checkpoint_settings(self.path)
        self.assertEqual(settings, trainer.settings)
        resumed = cribo.Trainer(**settings)
        resumed.load(self.path)
        resumed.step(small_batch(2))
        for i in range(3):
            whole.step(small_batch(i))
        for name in whole.student.parameters():
            np.testing.assert_array_equal(resumed.teacher.read(name), whole.teacher.read(name))
            np.testing.assert_array_equal(resumed.moments(name).second, whole.moments(name).second)

    def test_other_settings_are_refused_unless_named(self):
        small_trainer().save(self.path)
        other = small_trainer(learning_rate=0.5)
        with self.assertRaisesRegex(cribo.InvalidArgument, "learning_rate = .* in the file, but 0.5"):
            other.load(self.path)
        other.load(self.path, overrides=["epochs", "learning_rate"])
        with self.assertRaisesRegex(cribo.InvalidArgument, "key"):
            cribo.checkpoint_metadata(self.path, "position")

    @unittest.skipUnless(safetensors, "needs safetensors")
    def test_file_is_opened_by_gzip_and_safetensors(self):
        trainer = small_trainer()
        for i in range(2):
            trainer.step(small_batch(i))
        for level in (0, 1, 6):
            trainer.save(self.path, level=level, metadata={"position": "image 17"})
            with gzip.open(self.path) as file:
                content = file.read()
            tensors = safetensors.numpy.load(content)
            for name in trainer.student.parameters():
                np.testing.assert_array_equal(tensors["student." + name], trainer.student.read(name))
                np.testing.assert_array_equal(tensors["teacher." + name], trainer.teacher.read(name))
                np.testing.assert_array_equal(
                    tensors["optimiser.second." + name], trainer.moments(name).second
                )
            np.testing.assert_array_equal(tensors["centre"], trainer.centres()[0])
            self.assertEqual(tensors["bank.ids"].size, trainer.memory_bank.count()[0])
            self.check_sums(content, tensors, trainer)

    def check_sums(self, content: bytes, tensors: dict, trainer: cribo.Trainer):
        """The metadata are the settings, the step, the caller's strings; and every checksum is right."""
        length = int.from_bytes(content[:8], "little")
        header = content[8 : 8 + length]
        metadata = json.loads(header)["__metadata__"]
        for name, value in trainer.settings.items():
            self.assertEqual(float(metadata[name]), value)
        self.assertEqual(metadata["step"], "2")
        self.assertEqual(metadata["caller.position"], "image 17")
        digits = metadata["crc32"].encode()
        self.assertEqual(int(digits, 16), zlib.crc32(header.replace(digits, b"00000000", 1)))
        for name, tensor in tensors.items():
            self.assertEqual(int(metadata["crc32." + name], 16), zlib.crc32(tensor.tobytes()))

    def test_snapshot_saved_by_another_thread_is_the_save_of_its_moment(self):
        trainer, paths = small_trainer(), [self.path.with_suffix(f".{i}") for i in range(4)]
        trainer.step(small_batch(0))
        trainer.save(paths[0], metadata={"position": "1"})
        trainer.save_weights(paths[1])
        with trainer.snapshot() as snapshot:
            saver = threading.Thread(
                target=snapshot.save, args=(paths[2],), kwargs={"metadata": {"position": "1"}}
            )
            saver.start()
            trainer.step(small_batch(1))
            saver.join()
            trainer.close()
            snapshot.save_weights(paths[3])
        self.assertEqual(paths[0].read_bytes(), paths[2].read_bytes())
        self.assertEqual(paths[1].read_bytes(), paths[3].read_bytes())
        with self.assertRaises(cribo.WrongState):
            snapshot.save(self.path)


if __name__ == "__main__":
    unittest.main()
