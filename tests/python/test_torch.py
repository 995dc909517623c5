"""libcribo inside PyTorch: no copies, and losses and gradients equal to plain PyTorch and to the trainer."""

import unittest

import numpy as np
from support import SMALL, Golden, cribo

try:
    import torch
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

    def test_losses_and_gradients_equal_plain_pytorch(self):
        random = torch.Generator().manual_seed(0)
        for scale, rate in ((1, (0.5, 0.5)), (5, (1, 0)), (0.3, (0, 0))):
            teacher = [scale * torch.randn(2, rows, p, generator=random) for rows, p in ((4, 40), (7, 36))]
            student = [scale * torch.randn(2, rows, p, generator=random) for rows, p in ((4, 40), (7, 36))]
            centres = [torch.randn(p, generator=random) for p in (40, 36)]
            neighbours = scale * torch.randn(2, 7, 36, generator=random)
            matches = torch.rand(2, 7, generator=random) < torch.tensor(rate)[:, None]
            with cribo.Loss(prototypes=40, object_prototypes=36) as loss:
                loss.set_centres(*centres)
                found = loss.compute(student[0], teacher[0], student[1], teacher[1], *neighbours, *matches,
                    teacher_temperature=0.05, object_teacher_temperature=0.05)  # fmt: skip
                loss.update_centres(*teacher)
                moved = loss.centres()

            plain = [logits.double().requires_grad_() for logits in student]
            losses = plain_loss(
                plain, [t.double() for t in teacher], neighbours.double(), matches, centres, 0.05
            )
            sum(losses).backward()
            for part, expected in zip(found[:3], losses):
                expected = float(torch.as_tensor(expected).detach())
                self.assertAlmostEqual(part, expected, delta=1e-5 * max(1, expected))
            self.assertAlmostEqual(found.total, sum(losses).item(), delta=1e-4)
            for gradient, expected in zip(found[3:], plain):
                np.testing.assert_allclose(gradient, expected.grad.numpy(), rtol=0, atol=1e-5)
            for new, old, logits in zip(moved, centres, teacher):
                expected = 0.9 * old + 0.1 * logits.mean((0, 1))
                np.testing.assert_allclose(new, expected.numpy(), rtol=0, atol=1e-5)


if __name__ == "__main__":
    unittest.main()
