"""libcribo inside PyTorch: no copies, and losses and gradients equal to plain PyTorch and to the trainer."""

import contextlib
import io
import unittest

import numpy as np
from support import SMALL, Golden, cribo, small_batch, small_trainer

try:
    import torch
    import torch_cribo
    from torch.nn import functional as F
except ImportError:
    raise unittest.SkipTest("needs PyTorch") from None


def plain_clusters(tokens, positions, seeds, weight=1.0, sharpness=20.0, scalings=5, rounds=5):
    """Hard clustering of an image's tokens [2N, D] in plain PyTorch, cost normalised per image: A [2N, K]."""
    tokens, positions = tokens.double(), positions.double()
    count, clusters = len(tokens), len(seeds)
    z = F.normalize(tokens, dim=-1)
    distances = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist")
    means, members = z[seeds], F.one_hot(seeds, count).T.double()
    marginal = torch.full((clusters,), 1 / clusters, dtype=torch.double)
    for _ in range(rounds):
        products = distances[:, :, None] * members
        nearest = torch.where(products == 0, torch.inf, products).min(1).values
        g = torch.where(nearest.isinf(), 0.0, nearest)
        g = torch.where(g == 0, g.mean(), g)
        cost = weight * g / g.max() - z @ means.T
        cost = (cost - cost.min()) / (cost.max() - cost.min())
        plan = torch.exp(-sharpness * cost)
        plan = plan / plan.sum()
        for _ in range(scalings):
            plan = plan / plan.sum(1, keepdim=True) / count
            plan = plan * marginal / plan.sum(0)
        members = F.one_hot(plan.argmax(1), clusters).double()
        marginal = (members.sum(0) + 0.01) / (members.sum(0) + 0.01).sum()
        means = F.normalize(members.T @ z, dim=-1)
    return members


def plain_loss(student, teacher, neighbours, matches, centres, temperature):
    """The paper's three losses in plain PyTorch; student and teacher: logits [2, B, P] and [2, R, P]."""

    def cross_entropy(target, logits):
        return -(target * F.log_softmax(logits / 0.1, -1)).sum(-1)

    def crossed(target, logits):
        return cross_entropy(target[0], logits[1]) + cross_entropy(target[1], logits[0])

    cls, objects = (F.softmax((t - c) / temperature, -1) for t, c in zip(teacher, centres))
    others = F.softmax((neighbours - centres[1]) / temperature, -1)
    image = 0
    for v in (0, 1):
        if matches[v].any():
            image = image + cross_entropy(others[v], student[1][1 - v])[matches[v]].mean()
    return crossed(cls, student[0]).mean(), crossed(objects, student[1]).mean(), image


class Tensors(unittest.TestCase):
    def test_tensor_is_read_without_a_copy(self):
        tokens = torch.randn(2, 2, 9, 6)
        taken = cribo.arrays.input_array("tokens", tokens, np.float32, ("B", 2, 9, 6))
        self.assertEqual(taken.ctypes.data, tokens.data_ptr())

    def test_tensor_is_written_into(self):
        with cribo.Clusterer(2, 9, 6, clusters=3) as clusterer:
            problem = torch.randn(2, 2, 9, 6), torch.rand(2, 2, 9, 2)
            objects, valid = torch.full((2, 2, 3, 6), torch.nan), torch.zeros(2, 3, dtype=torch.bool)
            clusterer.run(*problem, objects=objects, valid=valid)
            found = clusterer.run(*problem)
        np.testing.assert_array_equal(objects.numpy(), found.objects)
        np.testing.assert_array_equal(valid.numpy(), found.valid)

    def test_tensor_that_requires_grad_is_refused(self):
        with cribo.Clusterer(2, 9, 6, clusters=3) as clusterer:
            with self.assertRaisesRegex(TypeError, "tokens: Tensor.*grad"):
                clusterer.run(torch.randn(2, 2, 9, 6, requires_grad=True), torch.rand(2, 2, 9, 2))
            with self.assertRaisesRegex(TypeError, "tokens"):
                clusterer.run(torch.randn(2, 2, 9, 6, dtype=torch.bfloat16), torch.rand(2, 2, 9, 2))

    def test_pending_negation_is_resolved(self):
        values = torch.randn(2, 2, 9, 6)
        conjugate = torch.complex(torch.zeros(2, 2, 9, 6), -values).conj().imag
        for tensor in (torch._neg_view(-values), conjugate):
            self.assertTrue(tensor.is_neg())
            taken = cribo.arrays.input_array("tokens", tensor, np.float32, ("B", 2, 9, 6))
            np.testing.assert_array_equal(taken, values.numpy())
        with cribo.Clusterer(2, 9, 6, clusters=3) as clusterer:
            objects = torch._neg_view(torch.zeros(2, 2, 3, 6))
            with self.assertRaisesRegex(TypeError, "objects: .*is_neg"):
                clusterer.run(values, torch.rand(2, 2, 9, 2), objects=objects)

    def test_parameters_travel_both_ways(self):
        with cribo.Model(**SMALL) as model:
            values = {name: torch.randn(shape) for name, shape in model.parameters().items()}
            model.load_state_dict(values)
            for name, found in model.state_dict().items():
                np.testing.assert_array_equal(found, values[name].numpy())


class Plain(unittest.TestCase):
    def test_clusters_equal_plain_pytorch(self):
        data = Golden("clustering_n49_d32_k8")
        n = data.metadata["tokens_per_view"]
        tokens, positions = torch.tensor(data["tokens"]), torch.tensor(data["positions"])
        seeds = torch.tensor(data["init_index"])
        with cribo.Clusterer(4, n, 32, clusters=8) as clusterer:
            found = clusterer.run(tokens.view(4, 2, n, 32), positions.view(4, 2, n, 2), seeds)
        for image in range(4):
            members = plain_clusters(tokens[image], positions[image], seeds[image])
            np.testing.assert_array_equal(found.labels[image].ravel(), members.argmax(1).numpy())

    def test_pooled_objects_equal_the_clusterer_s(self):
        tokens = torch.randn(3, 2, 16, 12)
        with cribo.Clusterer(3, 16, 12, clusters=5) as clusterer:
            found = clusterer.run(tokens, torch.rand(3, 2, 16, 2))
        assignment, valid = torch.from_numpy(found.assignment), torch.from_numpy(found.valid)
        ours = torch_cribo.pool_objects(tokens, assignment, valid)
        theirs = np.stack([found.objects[:, v][found.valid] for v in (0, 1)])
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-6)

    def test_losses_and_gradients_equal_plain_pytorch(self):
        random = torch.Generator().manual_seed(0)
        for scale, rate in ((1, (0.5, 0.5)), (5, (1, 0)), (0.3, (0, 0))):
            teacher = [scale * torch.randn(2, rows, p, generator=random) for rows, p in ((4, 40), (7, 36))]
            student = [scale * torch.randn(2, rows, p, generator=random) for rows, p in ((4, 40), (7, 36))]
            centres = [torch.randn(p, generator=random) for p in (40, 36)]
            neighbours = scale * torch.randn(2, 7, 36, generator=random)
            matches = torch.rand(2, 7, generator=random) < torch.tensor(rate)[:, None]
            objective = torch_cribo.Objective(4, 9, 6, 40, 36, clusters=3, bank_images=4)
            objective.loss.set_centres(*centres)
            ours = [logits.clone().requires_grad_() for logits in student]
            total, parts = objective(*ours, *teacher, neighbours, matches, 0.05)
            (2 * total).backward()

            plain = [logits.double().requires_grad_() for logits in student]
            losses = plain_loss(
                plain, [t.double() for t in teacher], neighbours.double(), matches, centres, 0.05
            )
            (2 * sum(losses)).backward()
            for found, expected in zip(parts, losses):
                expected = float(torch.as_tensor(expected).detach())
                self.assertAlmostEqual(float(found), expected, delta=1e-5 * max(1, expected))
            self.assertAlmostEqual(total.item(), sum(losses).item(), delta=1e-4)
            for found, expected in zip(ours, plain):
                np.testing.assert_allclose(found.grad.numpy(), expected.grad.numpy(), rtol=0, atol=2e-5)
            moved = objective.loss.centres()
            for new, old, logits in zip(moved, centres, teacher):
                expected = 0.9 * old + 0.1 * logits.mean((0, 1))
                np.testing.assert_allclose(new, expected.numpy(), rtol=0, atol=1e-5)


def network_of(model: cribo.Model) -> "torch_cribo.Network":
    network = torch_cribo.Network(
        torch_cribo.VisionTransformer(32, 8, 48, 2, 3), torch_cribo.Heads(48, 32, 16, 40, 36)
    )
    network.load_state_dict({name: torch.from_numpy(values) for name, values in model.state_dict().items()})
    return network


class Loop(unittest.TestCase):
    def test_network_has_the_library_s_features(self):
        pixels = torch.randn(2, 3, 32, 32)
        with cribo.Model(**SMALL) as model, torch.no_grad():
            tokens = network_of(model).backbone(pixels)
            found = model.features(pixels)
        np.testing.assert_allclose(found.cls, tokens[:, 0].numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.dense, tokens[:, 1:].numpy(), rtol=0, atol=1e-5)

    def test_centres_of_patches_are_the_trainer_s(self):
        crops = [(3.0, 5.0, 20.0, 17.0, False), (0.0, 1.0, 30.0, 12.0, True)]
        positions = torch.stack([torch_cribo.patch_centres(crop, 32, 8) for crop in crops])
        positions = torch.stack([positions, positions.flip(0)], 1)
        with small_trainer() as by_crops, small_trainer() as by_positions:
            by_crops.teach(small_batch(images=2, crops1=crops, crops2=crops[::-1]))
            by_positions.teach(small_batch(images=2, crops1=None, crops2=None, positions=positions))
            np.testing.assert_array_equal(by_crops.targets().labels, by_positions.targets().labels)

    def test_first_step_equals_the_trainer_s(self):
        """The same weights, views, clusters and bank give the same losses and gradients of all parameters."""
        images, clusters, random = 4, 4, np.random.default_rng(5)
        settings = dict(drop_path=0, normed_last_layer=1, micro_batch=4, teacher_temperature_start=0.07)
        settings.update(object_teacher_temperature_start=0.07, freeze_last_layer_epochs=0)
        views = torch.from_numpy(random.standard_normal((images, 2, 3, 32, 32)).astype(np.float32))
        positions = torch.from_numpy(random.uniform(0, 50, (images, 2, 16, 2)).astype(np.float32))
        seeds = np.stack([random.permutation(32)[:clusters] for _ in range(images)])
        vectors = random.standard_normal((2, 20, 48)).astype(np.float32)
        with small_trainer(**settings) as trainer:
            trainer.memory_bank.import_(*vectors, [4] * 5)
            batch = cribo.Batch(views[:, 0], views[:, 1], positions=positions, seed_tokens=seeds)
            student, teacher = network_of(trainer.student), network_of(trainer.teacher)
            trainer.teach(batch)
            trainer.learn(batch)
            expected = {name: trainer.gradient(name) for name in trainer.student.parameters()}
            report = trainer.update()

        objective = torch_cribo.Objective(images, 16, 48, 40, 36, clusters=clusters, bank_images=8)
        objective.bank.import_(*vectors, [4] * 5)
        run = objective.clusterer.run
        objective.clusterer.run = lambda *arguments, **wanted: run(*arguments, seed_tokens=seeds, **wanted)
        total, parts = torch_cribo.training_loss(student, teacher, objective, views, positions, 0)
        total.backward()
        self.assertGreater(report.matched_share, 0)
        for found, part in zip(parts, ("global_loss", "cross_view_loss", "cross_image_loss")):
            self.assertAlmostEqual(float(found), getattr(report, part), delta=1e-4)
        for name, parameter in student.named_parameters():
            if parameter.requires_grad:
                scale = max(1e-6, float(np.abs(expected[name]).max()))
                error = np.abs(parameter.grad.numpy() - expected[name]).max()
                self.assertLess(error, 1e-3 * scale, name)

    def test_teacher_follows_slowly(self):
        teacher, student = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        expected = 0.9 * teacher.weight.detach() + 0.1 * student.weight.detach()
        torch_cribo.follow(teacher, student, 0.9)
        np.testing.assert_allclose(teacher.weight.detach().numpy(), expected.numpy(), rtol=1e-5)

    def test_example_trains(self):
        pictures = torch_cribo.random_pictures(8, 48, np.random.default_rng(0))
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            losses = torch_cribo.train(pictures, steps=4, images=4, side=32)
        self.assertEqual(len(losses), 4)
        self.assertTrue(np.isfinite(losses).all())
        self.assertRegex(printed.getvalue(), r"step 3: loss .* cross-image [1-9]")


if __name__ == "__main__":
    unittest.main()
