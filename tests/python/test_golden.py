"""Clustering, bank, loss and whole steps through Python against the data of the authors' code."""

import unittest

import numpy as np
from support import Golden, cribo

CLUSTERING = [
    "clustering_empty_clusters",
    "clustering_low_overlap",
    "clustering_n196_d384_k64",
    "clustering_n196_d64_k32",
    "clustering_n49_d32_k8",
    "clustering_same_crop",
]


def compare(actual, expected, tolerance):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


class Clustering(unittest.TestCase):
    def check(self, data: Golden, variant: str, run: str):
        meta = data.metadata
        soft = variant.startswith("soft")
        images = slice(None) if run == "batch" else slice(int(run[5:]), int(run[5:]) + 1)
        n, k, d = meta["tokens_per_view"], meta["clusters"], meta["dim"]
        tokens = data["tokens"][images].reshape(-1, 2, n, d)
        positions = data["positions"][images].reshape(-1, 2, n, 2)
        with cribo.Clusterer(
            len(tokens),
            n,
            d,
            clusters=k,
            position_weight=meta["pos_alpha"],
            sinkhorn_lambda=meta["sinkhorn_lambda"],
            sinkhorn_iterations=meta["sinkhorn_iterations"],
            cluster_iterations=meta["n_iter"],
            update_marginal=variant.endswith("updatec"),
            hard_assignment=not soft,
            batch_cost=run == "batch",
        ) as clusterer:
            found = clusterer.run(tokens, positions, data["init_index"][images])
        expected = f"{variant}.{run}."
        np.testing.assert_array_equal(found.labels.reshape(-1, 2 * n), data[expected + "labels"])
        np.testing.assert_array_equal(found.valid.ravel(), data[expected + "valid"])
        compare(found.assignment.reshape(-1, 2 * n, k), data[expected + "assignment"], 3e-4 if soft else 1e-6)
        for view in (0, 1):
            objects = found.objects[:, view][found.valid]
            compare(objects, data[expected + f"centroids_v{view + 1}"], 5e-4 if soft else 1e-5)

    def test_clusterer_all_variants_match_authors(self):
        runs = 0
        for name in CLUSTERING:
            data = Golden(name)
            for tensor in data.names:
                if tensor.endswith(".assignment"):
                    variant, run, _ = tensor.split(".")
                    with self.subTest(file=name, variant=variant, run=run):
                        self.check(data, variant, run)
                    runs += 1
        self.assertGreater(runs, 30)


class Bank(unittest.TestCase):
    def check(self, name: str):
        data = Golden(name)
        meta = data.metadata
        bank = cribo.MemoryBank(
            bank_images=meta["queue_size"], objects_per_image=meta["clusters"], width=meta["dim"]
        )
        with bank:
            bank.import_(*data["initial.centroids_queue"], data["initial.cpv_queue"])
            for call in ("call0.", "call1.", "call2."):
                objects = [
                    data[call + part] for part in ("centroids_v1", "centroids_v2", "centroids_per_view")
                ]
                found = bank.query(*objects)
                for ours, theirs in (("index", "index"), ("match", "mask")):
                    for view in "12":
                        np.testing.assert_array_equal(
                            getattr(found, ours + view), data[call + theirs + view], f"{call}{ours}{view}"
                        )
                np.testing.assert_array_equal(found.neighbours1, data[call + "nn"][0])
                np.testing.assert_array_equal(found.neighbours2, data[call + "nn2"][1])
                bank.push(*objects)
                content = bank.export()
                self.assertEqual(bank.count(), (len(content.ids), len(content.view1)))
                np.testing.assert_array_equal(content.objects_per_image, data[call + "after_cpv_queue"])
                after = data[call + "after_centroids_queue"][:, : len(content.view1)]
                np.testing.assert_array_equal(np.stack([content.view1, content.view2]), after)

    def test_bank_overflowing_matches_authors(self):
        self.check("bank_overflow")

    def test_bank_large_batches_match_authors(self):
        self.check("bank_large_batch")


class Loss(unittest.TestCase):
    def check(self, data: Golden, case: str, authors: bool):
        meta, kind = data.metadata, "official" if authors else "paper"
        views = {
            name: data[name] for name in ("student_cls", "teacher_cls", "student_objects", "teacher_objects")
        }
        views = {name: logits.reshape(2, -1, logits.shape[-1]) for name, logits in views.items()}
        loss = cribo.Loss(
            prototypes=views["student_cls"].shape[-1],
            object_prototypes=views["student_objects"].shape[-1],
            student_temperature=meta["student_temp"],
            object_student_temperature=meta["student_temp_c"],
            centre_momentum=meta["center_momentum"],
            authors_normalisation=authors,
        )
        with loss:
            loss.set_centres(data["center"], data["center_c"])
            neighbours = {}
            if meta[f"{case}.nn_enabled"]:
                neighbours = {"neighbours1": data["teacher_nn"][0], "neighbours2": data["teacher_nn2"][1]}
            found = loss.compute(
                **views,
                **neighbours,
                match1=data[f"{case}.mask1"],
                match2=data[f"{case}.mask2"],
                teacher_temperature=meta[f"{case}.teacher_temp"],
                object_teacher_temperature=meta[f"{case}.teacher_temp_c"],
            )
            loss.update_centres(views["teacher_cls"], views["teacher_objects"])
            centres = loss.centres()
        for ours, theirs in (("global", "d"), ("cross_view", "s"), ("cross_image", "nn")):
            expected = float(data[f"{case}.{kind}_{theirs}_loss"])
            self.assertAlmostEqual(
                getattr(found, ours + "_loss"), expected, delta=3e-6 * max(1, abs(expected))
            )
        for part in ("cls", "objects"):
            gradient = getattr(found, f"student_{part}_gradient")
            expected = data[f"{case}.{kind}_grad_student_{part}"]
            compare(gradient.reshape(expected.shape), expected, 2e-5)
        compare(centres[0], data[f"{case}.center_after"], 1e-6)
        compare(centres[1], data[f"{case}.center_c_after"], 1e-6)

    def test_losses_all_cases_match_authors_and_paper(self):
        for name in ("loss_small", "loss_large_logits"):
            data = Golden(name)
            for case in ("epoch0_partial", "all", "partial", "none", "first_empty", "second_empty"):
                for authors in (False, True):
                    with self.subTest(file=name, case=case, authors=authors):
                        self.check(data, case, authors)


if __name__ == "__main__":
    unittest.main()
