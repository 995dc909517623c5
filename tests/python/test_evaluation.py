"""Probes, scores and principal components through the module, against NumPy."""

import itertools
import json
import struct
import sys
import unittest

import numpy as np
from support import SOURCE, cribo

sys.path.insert(0, str(SOURCE / "tests" / "evaluation"))
import hummingbird  # noqa: E402

KINDS = {"F32": np.float32, "I64": np.int64, "U8": np.uint8}


def stored_case():
    """The tensors and the metadata of the case that tests/evaluation/make_protocol.py worked out."""
    data = (SOURCE / "tests" / "evaluation" / "protocol.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata, tensors = header.pop("__metadata__"), {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[begin:end], KINDS[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


class Retrieval(unittest.TestCase):
    def setUp(self):
        self.case, self.metadata = stored_case()
        self.probe = cribo.Probe(width=24, classes=5)
        self.addCleanup(self.probe.close)
        self.maps = {name: self.case[f"{name}.features"].reshape(-1, 6, 8, 24) for name in ("train", "test")}
        self.probe.add(self.maps["train"], self.case["train.labels"].astype(np.int32))

    def test_protocol_stored_is_met(self):
        truth = self.case["test.labels"].astype(np.int32)
        found = self.probe.predict(self.maps["test"], *truth.shape[1:], shares=True)
        np.testing.assert_array_equal(found.labels, self.case["predicted"])
        np.testing.assert_allclose(found.shares.reshape(-1, 5), self.case["shares"], atol=1e-4)
        confusion = cribo.Confusion(5)
        confusion.add(truth, found.labels)
        scores = confusion.scores()
        self.assertAlmostEqual(scores.mean_iou, float(self.metadata["mean_iou"]), places=9)
        np.testing.assert_allclose(scores.iou, self.case["iou"], atol=1e-6)
        self.assertEqual(scores.counted, np.sum(truth != 255))

    def test_search_finds_the_stored_neighbours(self):
        index, cosine = self.probe.search(self.maps["test"].reshape(-1, 24))
        np.testing.assert_array_equal(index, self.case["index"])
        np.testing.assert_allclose(cosine, self.case["cosine"], atol=1e-6)
        self.assertEqual(self.probe.count(), int(self.metadata["entries"]))

    def test_linear_layer_learns_the_memory(self):
        with self.assertRaises(cribo.WrongState):
            self.probe.predict(self.maps["test"], 24, 32, linear=True)
        loss = self.probe.fit()
        self.assertLess(loss, 0.9)
        report = self.probe.fit_report()
        self.assertEqual(report.loss, loss)
        self.assertEqual(report.reached, report.gradient <= 1e-6)
        self.assertGreater(report.iterations, 0)
        found = self.probe.predict(self.maps["train"], 24, 32, linear=True)
        truth = self.case["train.labels"]
        self.assertGreater(np.mean((found.labels == truth)[truth != 255]), 0.6)

    def test_labels_of_other_images_are_refused(self):
        with self.assertRaisesRegex(ValueError, "4 images"):
            self.probe.add(self.maps["train"], self.case["train.labels"].astype(np.int32)[:4])
        with self.assertRaisesRegex(cribo.InvalidArgument, "maps.height = 25"):
            self.probe.predict(self.maps["test"], 25, 32)


class Linear(unittest.TestCase):
    def test_layer_learns_what_tells_pixels_apart(self):
        random = np.random.default_rng(5)
        tokens = random.standard_normal((4, 6, 6, 8)).astype(np.float32)
        labels = np.repeat(np.repeat((tokens[..., 0] > 0).astype(np.int32), 4, 1), 4, 2)
        layer = cribo.LinearLayer(8, 2)
        self.assertAlmostEqual(layer.step(tokens, labels, 0.3), np.log(2), places=6)
        for _ in range(200):
            loss = layer.step(tokens, labels, 0.3)
        self.assertLess(loss, 0.4)
        self.assertGreater(np.mean(layer.predict(tokens, 24, 24) == labels), 0.8)


class Components(unittest.TestCase):
    def test_components_are_those_of_numpy(self):
        random = np.random.default_rng(3)
        x = (random.standard_normal((500, 30)) * np.linspace(3, 0.1, 30) + 7).astype(np.float32)
        found = cribo.principal_components(x, 4)
        values, vectors = np.linalg.eigh(np.cov(x.T.astype(np.float64)))
        for i in range(4):
            vector = vectors[:, -1 - i]
            vector = vector * np.sign(vector[np.abs(vector).argmax()])
            np.testing.assert_allclose(found.directions[i], vector, atol=1e-4)
            np.testing.assert_allclose(found.projected[:, i], (x - x.mean(0)) @ vector, atol=1e-3)
            self.assertAlmostEqual(found.variance[i] / values[-1 - i], 1, places=5)


def small_set(random, images, classes, present, side, patch, void):
    """Label maps of ellipses of a few classes, and tokens that separate them, but not well."""
    pixels = side * patch
    y, x = np.mgrid[:pixels, :pixels]
    labels = np.zeros((images, pixels, pixels), np.int32)
    for image in labels:
        for _ in range(5):
            centre, radius = random.uniform(0, pixels, 2), random.uniform(pixels / 8, pixels / 3, 2)
            distance = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2
            if void:
                image[distance < 1.2] = 255
            image[distance < 1] = random.choice(present)
    means = np.random.default_rng(8).normal(0, 0.6, (classes, 24))
    shares = hummingbird.shares(np.where(labels == 255, 0, labels), side, classes)
    tokens = shares @ means + random.normal(0, 0.8, (images, side * side, 24))
    return labels, (tokens * random.uniform(0.5, 3, tokens.shape[:2] + (1,))).astype(np.float32)


class Hummingbird(unittest.TestCase):
    """The public evaluator's protocol on tokens, held against NumPy: VOC-like (21 classes, 255 ignored) and
    ADE-like (151 classes, 0 remembered and predictable but no truth), one and two passes, all and bounded."""

    def run_case(self, classes, ignore, void, passes, bound):
        random = np.random.default_rng(100 * passes + classes)
        side, patch, images = 7, 8, 6
        present = random.choice(np.arange(1, classes), 7, replace=False)
        train, tokens = small_set(random, images * passes, classes, present, side, patch, void)
        test, queries = small_set(random, 3, classes, present, side, patch, void)
        draws = random.random((images * passes, side * side), np.float32)
        memory = hummingbird.remember(tokens, train, classes, draws, bound)
        predicted = hummingbird.predict(*memory, queries, side * patch)
        expected = hummingbird.mean_iou(test, predicted, classes, ignore)

        grid = [x.reshape(-1, side, side, 24) for x in (tokens, queries)]
        remembered = np.where(train == 255, 0, train).astype(np.int32)
        with cribo.Probe(width=24, classes=classes, ignore_label=-1) as probe:
            if bound is None:
                probe.add(grid[0], remembered)
            else:
                chosen = cribo.rare_patches(
                    remembered, side, side, classes, draws, bound // (images * passes)
                )
                probe.add_chosen(grid[0], remembered, chosen)
            self.assertEqual(probe.count(), len(memory[0]))
            found = probe.predict(grid[1], side * patch, side * patch).labels
        np.testing.assert_array_equal(found, predicted)
        confusion = cribo.Confusion(classes, ignore)
        confusion.add(test, found)
        matched = cribo.Confusion(classes)
        matched.matrix[:] = cribo.confusion_match(confusion.matrix).matched
        self.assertAlmostEqual(matched.scores().mean_iou_all, expected, delta=1e-9)
        self.assertGreater(expected, 0.01)

    def test_mean_iou_is_that_of_the_definition(self):
        for classes, ignore, void in ((21, 255, True), (151, 0, False)):
            for passes in (1, 2):
                for bound in (None, 120):
                    with self.subTest(classes=classes, passes=passes, bound=bound):
                        self.run_case(classes, ignore, void, passes, bound)


def greatest_total(score):
    """The greatest total of all one-to-one maps, by trying them."""
    rows, columns = score.shape
    if rows > columns:
        return greatest_total(score.T)
    return max(
        sum(score[r, c] for r, c in enumerate(chosen))
        for chosen in itertools.permutations(range(columns), rows)
    )


class Matching(unittest.TestCase):
    def test_assignment_is_the_best_of_all(self):
        random = np.random.default_rng(1)
        for shape in ((4, 4), (3, 6), (6, 3), (1, 5)):
            score = random.random(shape)
            column = cribo.assign(score)
            kept = column >= 0
            self.assertEqual(kept.sum(), min(shape))
            self.assertEqual(len(set(column[kept])), kept.sum())
            self.assertAlmostEqual(score[kept, column[kept]].sum(), greatest_total(score))

    def test_matched_confusion_adds_columns_up(self):
        counts = np.random.default_rng(2).integers(0, 50, (3, 5))
        for many in (False, True):
            found = cribo.confusion_match(counts, many_to_one=many, rest=1)
            for c in range(3):
                np.testing.assert_array_equal(found.matched[:, c], counts[:, found.class_of == c].sum(1))
            if many:
                np.testing.assert_array_equal(found.class_of, counts.argmax(0))

    def test_rare_patches_are_those_of_the_definition(self):
        random = np.random.default_rng(3)
        labels = random.choice(4, (3, 12, 8), p=[0.8, 0.1, 0.08, 0.02]).astype(np.int32)
        draws = random.random((3, 12), np.float32)
        index = cribo.rare_patches(labels, 6, 2, 4, draws, 5)
        patches = labels.reshape(3, 6, 2, 2, 4).transpose(0, 1, 3, 2, 4).reshape(3, 12, -1)
        occurs = np.stack([(patches == c).any(-1) for c in range(4)], -1)
        score = (occurs * occurs.sum(1, keepdims=True)).sum(-1) * draws
        np.testing.assert_array_equal(index, score.argsort(1, kind="stable")[:, :5])

    def test_k_means_ends_at_the_means_of_the_nearest_rows(self):
        x = np.random.default_rng(4).standard_normal((400, 7)).astype(np.float32)
        found = cribo.k_means(x, 9, iterations=1000)
        distance = ((x[:, None].astype(np.float64) - found.centres) ** 2).sum(-1)
        np.testing.assert_array_equal(found.labels, distance.argmin(1))
        self.assertAlmostEqual(found.inertia / distance.min(1).sum(), 1, places=5)
        for k in range(9):
            np.testing.assert_allclose(found.centres[k], x[found.labels == k].mean(0), atol=1e-4)
        np.testing.assert_array_equal(cribo.nearest_centres(x, found.centres).labels, found.labels)

    def test_view_retrieval_counts_patches_that_find_their_place(self):
        random = np.random.default_rng(5)
        shape = images, rows, columns, _ = 3, 4, 6, 5
        views = random.standard_normal((2, *shape)).astype(np.float32)
        crops = np.empty((2, images, 5))
        crops[..., :2] = random.uniform(0, 30, (2, images, 2))
        crops[..., 2:4] = random.uniform(30, 90, (2, images, 2))
        crops[..., 4] = random.integers(0, 2, (2, images))
        # Some patches of view 2 are near copies of those of view 1 at their place.
        right = {}
        for b, r, c in np.ndindex(images, rows, columns):
            x, y, width, height, flipped = crops[0, b]
            place = (
                x + ((columns - 1 - c if flipped else c) + 0.5) * width / columns,
                y + (r + 0.5) * height / rows,
            )
            x, y, width, height, flipped = crops[1, b]
            column = int(np.floor((place[0] - x) / width * columns))
            row = int(np.floor((place[1] - y) / height * rows))
            if 0 <= column < columns and 0 <= row < rows:
                right[b, r, c] = row, columns - 1 - column if flipped else column
                if random.random() < 0.7:
                    views[(1, b, *right[b, r, c])] = 3 * views[0, b, r, c]
        self.assertGreater(len(right), 30)
        unit = (views / np.linalg.norm(views, axis=-1, keepdims=True)).astype(np.float64)
        best = (unit[0].reshape(-1, 5) @ unit[1].reshape(-1, 5).T).argmax(1).reshape(images, rows, columns)
        for reach in (0, 1):
            found = sum(
                bool(b == q and abs(r - s) <= reach and abs(c - t) <= reach)
                for (b, *_), (r, c), (q, s, t) in (
                    (p, w, np.unravel_index(best[p], (images, rows, columns))) for p, w in right.items()
                )
            )
            score = cribo.view_retrieval(*views, *crops, reach=reach)
            self.assertEqual(score, (len(right), found))
            self.assertEqual(score.share, found / len(right))
        self.assertEqual(cribo.view_retrieval(*views, crops[0], crops[1] + [500, 0, 0, 0, 0]).share, 0)
        with self.assertRaisesRegex(ValueError, "view2"):
            cribo.view_retrieval(views[0], views[1, :2], *crops)


if __name__ == "__main__":
    unittest.main()
