"""Arrays in and out: what is taken as it is, what is copied, what is refused, and in which words."""

import array
import unittest

import numpy as np
from support import SMALL, cribo, small_batch, small_trainer

N, D, K = 9, 6, 3


def problem(images=2):
    random = np.random.default_rng(1)
    tokens = random.standard_normal((images, 2, N, D)).astype(np.float32)
    positions = random.uniform(0, 100, (images, 2, N, 2)).astype(np.float32)
    return tokens, positions


class Interface:
    """Something that is no array but offers __array_interface__."""

    def __init__(self, values):
        self._values = values

    @property
    def __array_interface__(self):
        return self._values.__array_interface__


class Capsule:
    """Something that is no array but offers __dlpack__."""

    def __init__(self, values):
        self._values = values

    def __dlpack__(self, **arguments):
        return self._values.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


class Inputs(unittest.TestCase):
    def setUp(self):
        self.clusterer = cribo.Clusterer(2, N, D, clusters=K)
        self.addCleanup(self.clusterer.close)

    def test_contiguous_input_is_not_copied(self):
        tokens, _ = problem()
        for value in (tokens, Interface(tokens), Capsule(tokens)):
            taken = cribo.arrays.input_array("tokens", value, np.float32, ("B", 2, N, D))
            self.assertEqual(taken.ctypes.data, tokens.ctypes.data)

    def test_strided_input_gives_the_same(self):
        tokens, positions = problem()
        wide = np.zeros((2, 2, N, 2 * D), np.float32)
        wide[..., ::2] = tokens
        expected = self.clusterer.run(tokens, positions)
        found = self.clusterer.run(wide[..., ::2], np.asfortranarray(positions))
        np.testing.assert_array_equal(found.objects, expected.objects)

    def test_read_only_input_is_taken(self):
        tokens, positions = problem()
        tokens.flags.writeable = False
        self.clusterer.run(tokens, positions)

    def test_lists_are_converted(self):
        tokens, positions = problem()
        seeds = [[0, 4, 9], [1, 2, 3]]
        found = self.clusterer.run(tokens.tolist(), positions.tolist(), seeds)
        expected = self.clusterer.run(tokens, positions, np.array(seeds))
        np.testing.assert_array_equal(found.labels, expected.labels)

    def test_buffers_are_taken(self):
        with cribo.MemoryBank(bank_images=2, width=2) as bank:
            bank.push([[1.0, 2.0]], [[3.0, 4.0]], array.array("q", [1]))
            self.assertEqual(bank.count(), (1, 1))

    def test_wrong_dtype_is_named(self):
        tokens, positions = problem()
        with self.assertRaisesRegex(TypeError, "tokens has dtype float64, but float32 is expected"):
            self.clusterer.run(tokens.astype(np.float64), positions)
        with self.assertRaisesRegex(TypeError, "seed_tokens has dtype float64"):
            self.clusterer.run(tokens, positions, [[0.5, 1.0, 2.0]] * 2)
        with self.assertRaisesRegex(TypeError, "tokens has dtype >f4"):
            self.clusterer.run(tokens.astype(">f4"), positions)
        with self.assertRaisesRegex(TypeError, "tokens"):
            self.clusterer.run("tokens", positions)
        with self.assertRaisesRegex(TypeError, "positions"):
            self.clusterer.run(tokens, object())

    def test_whole_numbers_of_any_integer_dtype_are_converted(self):
        tokens, positions = problem()
        expected = self.clusterer.run(tokens, positions, np.array([[0, 4, 8], [1, 2, 3]]))
        for dtype in (np.int8, np.uint8, np.int32, np.uint64, ">i4"):
            found = self.clusterer.run(tokens, positions, np.array([[0, 4, 8], [1, 2, 3]], dtype))
            np.testing.assert_array_equal(found.labels, expected.labels)
        with cribo.MemoryBank(bank_images=2, width=2) as bank:
            bank.push([[1.0, 2.0]], [[3.0, 4.0]], np.array([1], np.int32), ids=np.array([7], np.int32))
            self.assertEqual(bank.export().ids, [7])
            with self.assertRaisesRegex(ValueError, f"ids has {2**63} ... {2**63}, but int64"):
                bank.push([[1.0, 2.0]], [[3.0, 4.0]], [1], ids=np.array([2**63], np.uint64))
        with cribo.Probe(width=2, classes=3) as probe:
            probe.add(np.zeros((1, 1, 1, 2), np.float32), np.array([[[2]]], np.uint8))
            self.assertEqual(probe.count(), 1)
            with self.assertRaisesRegex(ValueError, "labels has .* but int32 is expected"):
                probe.add(np.zeros((1, 1, 1, 2), np.float32), np.array([[[2**40]]]))

    def test_masked_arrays_are_refused(self):
        tokens, positions = problem()
        masked = np.ma.masked_greater(tokens, 1)
        with self.assertRaisesRegex(TypeError, r"tokens is a masked array.*filled\(\)"):
            self.clusterer.run(masked, positions)
        with self.assertRaisesRegex(TypeError, "objects is a masked array"):
            objects = np.ma.zeros((2, 2, K, D), np.float32)
            self.clusterer.run(tokens, positions, objects=objects)

    def test_unaligned_input_is_copied(self):
        tokens, positions = problem()
        expected = self.clusterer.run(tokens, positions)
        memory = np.zeros(tokens.nbytes + 1, np.uint8)
        shifted = memory[1:].view(np.float32).reshape(tokens.shape)
        shifted[...] = tokens
        self.assertNotEqual(shifted.ctypes.data % 4, 0)
        taken = cribo.arrays.input_array("tokens", shifted, np.float32, tokens.shape)
        self.assertEqual(taken.ctypes.data % 4, 0)
        np.testing.assert_array_equal(self.clusterer.run(shifted, positions).objects, expected.objects)
        crops = np.zeros(8 * 5 * 4 + 1, np.uint8)[1:].view(cribo.CROP)
        taken = cribo.arrays.input_array("crops1", crops, cribo.CROP, (4,))
        self.assertEqual(taken.ctypes.data % 8, 0)

    def test_wrong_shape_is_named(self):
        tokens, positions = problem()
        message = r"tokens has shape \[2, 2, 9, 5\], but \[B, 2, 9, 6\] is expected"
        with self.assertRaisesRegex(ValueError, message):
            self.clusterer.run(tokens[..., :5], positions)
        with self.assertRaisesRegex(ValueError, r"positions has shape \[1, 2, 9, 2\], but \[2, 2, 9, 2\]"):
            self.clusterer.run(tokens, positions[:1])
        with self.assertRaisesRegex(ValueError, r"seed_tokens has shape \[2, 4\], but \[2, 3\]"):
            self.clusterer.run(tokens, positions, np.zeros((2, 4), np.int64))

    def test_batch_of_the_trainer_is_checked(self):
        wrong = {
            "view1": np.zeros((4, 3, 32, 16), np.float32),
            "view2": np.zeros((4, 3, 32, 32), np.uint8),
            "crops1": [(0, 0, 32, 32)] * 4,
            "crops2": [("a",) * 5] * 4,
            "ids": [1, 2, 3],
            "seed_tokens": np.tile(np.arange(5), (4, 1)),
            "mean": (0.5, 0.5),
        }
        with small_trainer() as trainer:
            for name, value in wrong.items():
                with self.subTest(name), self.assertRaisesRegex((TypeError, ValueError), name):
                    trainer.step(small_batch(**{name: value}))
            with self.assertRaisesRegex(
                ValueError, r"positions has shape \[4, 2, 9, 2\], but \[4, 2, 16, 2\]"
            ):
                places = np.zeros((4, 2, 9, 2), np.float32)
                trainer.step(small_batch(crops1=None, crops2=None, positions=places))
            self.assertEqual(trainer.step_count(), 0)


class Outputs(unittest.TestCase):
    def setUp(self):
        self.clusterer = cribo.Clusterer(2, N, D, clusters=K)
        self.addCleanup(self.clusterer.close)

    def test_given_arrays_are_written_into(self):
        expected = self.clusterer.run(*problem())
        objects = np.full((2, 2, K, D), np.nan, np.float32)
        valid = np.full((2, K), 7, np.uint8)
        found = self.clusterer.run(*problem(), objects=objects, valid=valid, assignment=False)
        self.assertIs(found.objects, objects)
        self.assertIsNone(found.assignment)
        np.testing.assert_array_equal(objects, expected.objects)
        np.testing.assert_array_equal(valid, expected.valid)

    def test_each_output_alone_is_the_same(self):
        random = np.random.default_rng(2)
        vectors = random.standard_normal((4, 10, D)).astype(np.float32)
        bank = cribo.MemoryBank(bank_images=4, objects_per_image=5, width=D)
        bank.push(vectors[0], vectors[1], [5, 5])
        model = cribo.Model(**SMALL)
        pixels = random.standard_normal((1, 3, 32, 32)).astype(np.float32)
        calls = [
            lambda **wanted: self.clusterer.run(*problem(), **wanted),
            lambda **wanted: bank.query(vectors[2], vectors[3], [5, 5], **wanted),
            lambda **wanted: model.features(pixels, **wanted),
        ]
        for call in calls:
            names = call()._fields
            whole = call(**dict.fromkeys(names, True))
            for name in names:
                alone = call(**{other: other == name for other in names})
                np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name), name)
                self.assertEqual([n for n in names if getattr(alone, n) is not None], [name])
        bank.close()
        model.close()

    def test_given_protocols_are_written_into(self):
        expected = self.clusterer.run(*problem())
        lends = np.from_dlpack(np.zeros(1)).flags.writeable  # not before NumPy 2.1
        for protocol in (Interface, Capsule) if lends else (Interface,):
            objects = np.full((2, 2, K, D), np.nan, np.float32)
            self.clusterer.run(*problem(), objects=protocol(objects))
            np.testing.assert_array_equal(objects, expected.objects)

    def test_copies_are_not_written_into(self):
        class Copying:
            def __dlpack__(self, **arguments):
                raise BufferError("not today")

            def __array__(self, *arguments, **options):
                return np.zeros((2, 2, K, D), np.float32)

        with self.assertRaisesRegex(TypeError, "objects: Copying .* not shared"):
            self.clusterer.run(*problem(), objects=Copying())

    def test_unaligned_output_is_refused(self):
        objects = np.zeros(2 * 2 * K * D * 4 + 1, np.uint8)[1:].view(np.float32).reshape(2, 2, K, D)
        with self.assertRaisesRegex(ValueError, "objects must be aligned"):
            self.clusterer.run(*problem(), objects=objects)

    def test_output_over_an_input_is_refused(self):
        tokens, positions = problem()
        memory = tokens.reshape(-1)[: 2 * 2 * K * D].reshape(2, 2, K, D)
        for objects in (memory, Interface(memory), Capsule(memory)):
            with self.assertRaisesRegex(ValueError, "objects must not overlap tokens|must be writable"):
                self.clusterer.run(tokens, positions, objects=objects)
        seeds = np.tile(np.arange(K), (2, 1))
        valid = seeds.view(np.uint8).reshape(-1)[: 2 * K].reshape(2, K)
        with self.assertRaisesRegex(ValueError, "valid must not overlap seed_tokens"):
            self.clusterer.run(tokens, positions, seeds, valid=valid)

    def test_outputs_over_each_other_are_refused(self):
        vectors = np.ones((2, 4, D), np.float32)
        index, near = np.zeros(4, np.int64), np.zeros((4, D), np.float32)
        with cribo.MemoryBank(bank_images=4, objects_per_image=2, width=D) as bank:
            bank.push(*vectors, [2, 2])
            with self.assertRaisesRegex(ValueError, "index2 must not overlap index1"):
                bank.query(*vectors, [2, 2], index1=index, index2=index)
            with self.assertRaisesRegex(ValueError, "neighbours1 must not overlap view2"):
                bank.query(*vectors, [2, 2], neighbours1=vectors[1], neighbours2=near)
            bank.query(*vectors, [2, 2], neighbours1=near)  # beside each other is fine

    def test_unfit_arrays_are_refused(self):
        for objects, error, message in (
            (np.zeros((2, 2, K, D)), TypeError, "objects has dtype float64"),
            (np.zeros((2, 2, D, K), np.float32), ValueError, "objects has shape"),
            (np.zeros((2, 2, D, K), np.float32).swapaxes(2, 3), ValueError, "objects must be contiguous"),
            (np.broadcast_to(np.float32(0), (2, 2, K, D)), ValueError, "objects must be"),
            (bytes(2 * 2 * K * D * 4), TypeError, "objects"),
        ):
            with self.assertRaisesRegex(error, message):
                self.clusterer.run(*problem(), objects=objects)
        read_only = np.zeros((2, 2, K, D), np.float32)
        read_only.flags.writeable = False
        with self.assertRaisesRegex(ValueError, "objects must be writable"):
            self.clusterer.run(*problem(), objects=read_only)


class Errors(unittest.TestCase):
    def test_messages_are_the_library_s(self):
        tokens, positions = problem()
        tokens[1, 0, 2, 3] = np.nan
        with cribo.Clusterer(2, N, D, clusters=K) as clusterer:
            with self.assertRaisesRegex(cribo.InvalidArgument, "tokens.*nan.*not finite") as caught:
                clusterer.run(tokens, positions)
        self.assertIsInstance(caught.exception, ValueError)
        self.assertEqual(caught.exception.status, 1)

    def test_settings_are_checked(self):
        with self.assertRaisesRegex(cribo.InvalidArgument, 'no setting named "clustres"'):
            cribo.Clusterer(2, N, D, clustres=4)
        with self.assertRaisesRegex(cribo.InvalidArgument, "clusters = 0 must be in"):
            cribo.Clusterer(2, N, D, clusters=0)
        with self.assertRaisesRegex(cribo.InvalidArgument, "clusters = 2.5 must be a whole number"):
            cribo.Clusterer(2, N, D, clusters=2.5)
        with self.assertRaisesRegex(cribo.InvalidArgument, "position_weight"):
            cribo.Clusterer(2, N, D, clusters=3, position_weight=float("nan"))
        with self.assertRaisesRegex(cribo.InvalidArgument, 'clusters = "many" is not a number'):
            cribo.Clusterer(2, N, D, clusters="many")
        with self.assertRaisesRegex(TypeError, "clusters must be a number or a name, not list"):
            cribo.Clusterer(2, N, D, clusters=[4])
        with self.assertRaisesRegex(cribo.InvalidArgument, "preset"):
            cribo.Trainer("vits17")
        with self.assertRaisesRegex(TypeError, "width must be a whole number"):
            cribo.Clusterer(2, N, 6.5)
        with self.assertRaisesRegex(ValueError, "threads = -1"):
            cribo.Clusterer(2, N, D, clusters=3, threads=-1)

    def test_settings_are_listed(self):
        found = {setting.name: setting for setting in cribo.settings("clusterer")}
        self.assertEqual((found["clusters"].initial, found["clusters"].integer), (32, True))
        self.assertEqual(found["position_weight"].initial, 1.0)

    def test_numpy_scalars_are_settings(self):
        with cribo.Clusterer(2, N, D, clusters=np.int32(3), position_weight=np.float32(0.5)) as clusterer:
            self.assertEqual(clusterer.settings["clusters"], 3)
            self.assertEqual(clusterer.settings["position_weight"], 0.5)

    def test_memory_that_is_not_there(self):
        with self.assertRaises(cribo.OutOfMemory) as caught:
            cribo.Clusterer(2**24, 2**20, 2**10)
        self.assertIsInstance(caught.exception, MemoryError)

    def test_files_that_are_not_there(self):
        with cribo.Model(**SMALL) as model:
            with self.assertRaisesRegex(cribo.IOError_, "no-such-file") as caught:
                model.load("no-such-file.safetensors")
        self.assertIsInstance(caught.exception, OSError)

    def test_calls_out_of_turn(self):
        with small_trainer() as trainer:
            with self.assertRaisesRegex(cribo.WrongState, "teach"):
                trainer.learn(small_batch())
            with self.assertRaisesRegex(cribo.WrongState, "learn"):
                trainer.update()
            with self.assertRaises(cribo.WrongState):
                trainer.targets()

    def test_parameters_unknown_or_misshapen(self):
        with cribo.Model(**SMALL) as model:
            with self.assertRaisesRegex(cribo.InvalidArgument, "no_such"):
                model.read("no_such")
            with self.assertRaisesRegex(ValueError, "backbone.cls_token has shape"):
                model.write("backbone.cls_token", np.zeros(48, np.float32))
            with self.assertRaisesRegex(ValueError, "values has no backbone"):
                model.load_state_dict({})

    def test_random_numbers_are_a_function_of_their_key(self):
        values = cribo.random_uniform(1, 2, 3, 100)
        np.testing.assert_array_equal(values[:10], cribo.random_uniform(1, 2, 3, 10))
        self.assertTrue(((values >= 0) & (values < 1)).all())
        with self.assertRaisesRegex(ValueError, "seed = -1"):
            cribo.random_uniform(-1, 0, 0, 1)


if __name__ == "__main__":
    unittest.main()
