"""Files in memory and open files, in place of paths."""

import io
import tempfile
import unittest
from pathlib import Path

import numpy as np
from support import cribo, small_batch, small_trainer

SMALL = dict(image_size=16, patch_size=8, width=24, depth=1, heads=2, prototypes=0, object_prototypes=0)


class Narrow(io.RawIOBase):
    """Takes and gives a few bytes at a time, as a file without a buffer may."""

    def __init__(self, data: bytes = b""):
        self.inner = io.BytesIO(data)

    def write(self, data):
        return self.inner.write(data[:1000])

    def read(self, size=-1):
        return self.inner.read(min(size, 777))

    def seek(self, offset, whence=io.SEEK_SET):
        return self.inner.seek(offset, whence)

    def tell(self):
        return self.inner.tell()


class Broken(io.BytesIO):
    def write(self, data):
        raise RuntimeError("the drawer is stuck")

    def read(self, size=-1):
        raise RuntimeError("the drawer is empty")


class Memory(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "file")

    def check_same(self, save):
        """A file object gets the bytes of the file."""
        save(self.path)
        for target in (io.BytesIO(), Narrow()):
            save(target)
            kept = target.inner if isinstance(target, Narrow) else target
            self.assertEqual(kept.getvalue(), self.path.read_bytes())
        with open(self.path.with_suffix(".other"), "wb") as file:
            save(file)
        self.assertEqual(self.path.with_suffix(".other").read_bytes(), self.path.read_bytes())

    def test_everything_that_is_saved(self):
        with small_trainer() as trainer:
            trainer.step(small_batch())
            with trainer.snapshot() as snapshot:
                for save in (
                    lambda file: trainer.save(file, metadata={"position": "5"}),
                    trainer.save_weights,
                    snapshot.save,
                    snapshot.save_weights,
                    lambda file: trainer.student.save(file, "a."),
                    lambda file: trainer.student.save(file, heads=False, plain_names=True),
                    lambda file: trainer.student.export(file, "timm"),
                    lambda file: trainer.memory_bank.save(file, "b."),
                ):
                    self.check_same(save)

    def test_a_run_goes_on_from_memory(self):
        with small_trainer() as trainer:
            trainer.step(small_batch())
            trainer.set(learning_rate=0.5)
            kept = io.BytesIO()
            trainer.save(kept, metadata={"position": "5"})
            for source in (kept, Narrow(kept.getvalue()), io.BytesIO(b"before" + kept.getvalue())):
                source.seek(6 if source.read(6) == b"before" else 0)
                begin = source.tell()
                settings = cribo.checkpoint_settings(source)
                source.seek(begin)
                self.assertEqual(settings, trainer.settings)
                self.assertEqual(cribo.checkpoint_metadata(source, "position"), "5")
                source.seek(begin)
                with cribo.Trainer(**settings) as other:
                    other.load(source)
                    again = other.step(small_batch()).loss
            self.assertEqual(trainer.step(small_batch()).loss, again)

    def test_models_are_opened_and_banks_are_loaded(self):
        with cribo.Model(**SMALL) as model:
            kept = io.BytesIO()
            model.save(kept)
            for read in ("open", "load"):
                kept.seek(0)
                other = cribo.Model.open(kept) if read == "open" else cribo.Model(**SMALL, seed=5)
                if read == "load":
                    other.load(kept)
                with other:
                    for name, values in model.state_dict().items():
                        np.testing.assert_array_equal(other.read(name), values)
            kept.seek(0)
            self.assertEqual(cribo.weights_info(kept).kind, "model 1")
        with small_trainer() as trainer, small_trainer() as other:
            trainer.step(small_batch())
            kept = io.BytesIO()
            trainer.memory_bank.save(kept)
            kept.seek(0)
            other.memory_bank.load(kept)
            for ours, theirs in zip(trainer.memory_bank.export(), other.memory_bank.export()):
                np.testing.assert_array_equal(ours, theirs)

    def test_exceptions_of_the_file_come_back(self):
        with small_trainer() as trainer:
            kept = io.BytesIO()
            trainer.save(kept)
            with self.assertRaisesRegex(RuntimeError, "stuck"):
                trainer.save(Broken())
            with self.assertRaisesRegex(RuntimeError, "empty"):
                trainer.load(Broken(kept.getvalue()))
            with self.assertRaisesRegex(RuntimeError, "empty"):
                cribo.checkpoint_settings(Broken(kept.getvalue()))
            with self.assertRaisesRegex(cribo.Corrupt, "reader"):
                trainer.load(io.BytesIO(kept.getvalue()[:1000]))
            with self.assertRaises(TypeError):
                trainer.save(5)
            trainer.step(small_batch())


if __name__ == "__main__":
    unittest.main()
