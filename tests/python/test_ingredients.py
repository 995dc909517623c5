"""Losses beside the paper's three, against PyTorch: the gradient of a whole trainer step with such a loss,
less that without it, is the one that automatic differentiation finds."""

import unittest

import numpy as np
from support import SMALL, small_batch, small_trainer

try:
    import torch
    from torch.nn import functional as F
    from torch_networks import VisionTransformer
except ImportError:
    raise unittest.SkipTest("needs PyTorch") from None

SETTINGS = {"drop_path": 0.0, "freeze_last_layer_epochs": 0, "threads": 1, "seed": 3}
NETWORK = (SMALL["image_size"], SMALL["patch_size"], SMALL["width"], SMALL["depth"], SMALL["heads"])


def network_of(model) -> VisionTransformer:
    """The transformer of a model, in double precision."""
    network = VisionTransformer(*NETWORK)
    names = network.state_dict()
    network.load_state_dict({name: torch.from_numpy(model.read(f"backbone.{name}")) for name in names})
    return network.double()


def gradients(trainer, batch) -> dict:
    """Gradients by name, of teach and learn."""
    trainer.teach(batch)
    trainer.learn(batch)
    return {name: trainer.gradient(name) for name in trainer.student.parameters()}


class Difference(unittest.TestCase):
    """Trainers that differ in one loss, after a step on another batch."""

    batch = small_batch(seed=1)

    def trained(self, **settings):
        """A trainer without the loss after one step; its student and teacher differ."""
        trainer = small_trainer(**SETTINGS, **settings)
        trainer.step(small_batch(seed=2))
        return trainer

    def copy(self, trainer, **settings):
        """A trainer with other settings and the same networks."""
        other = small_trainer(**SETTINGS, **settings)
        for mine, theirs in ((trainer.student, other.student), (trainer.teacher, other.teacher)):
            for name in mine.parameters():
                theirs.write(name, mine.read(name))
        return other

    def check(self, with_loss, without, expected, tolerance=2e-5):
        """`expected` has the gradients of the backbone in PyTorch, by name."""
        a, b = gradients(with_loss, self.batch), gradients(without, self.batch)
        largest = max(float(gradient.abs().max()) for gradient in expected.values())
        self.assertGreater(largest, 1e-3)
        for name, gradient in expected.items():
            found = a[f"backbone.{name}"].astype(np.float64) - b[f"backbone.{name}"]
            error = np.abs(found - gradient.numpy()).max()
            self.assertLess(error, tolerance * largest, name)


def koleo(x: torch.Tensor) -> torch.Tensor:
    """DINOv2's KoLeoLoss, without its epsilons."""
    x = F.normalize(x, dim=-1)
    cosines = (x @ x.T).fill_diagonal_(-2)
    return -(x - x[cosines.argmax(1)]).norm(dim=1).log().mean()


class KoLeo(Difference):
    def expected(self, network, targets, groups, cls_weight, object_weight):
        """The loss and the network's gradients, for lists of the images of each group."""
        views = [torch.from_numpy(view).double() for view in (self.batch.view1, self.batch.view2)]
        loss = torch.zeros((), dtype=torch.double)
        for v, view in enumerate(views):
            dense, cls = network(view)
            for group in groups:
                share = len(group) / len(view)
                if len(group) > 1:
                    loss = loss + share * cls_weight * koleo(cls[group])
                objects = [
                    dense[i, torch.from_numpy(targets.labels[i, v] == k)].mean(0)
                    for i in group
                    for k in np.flatnonzero(targets.valid[i])
                ]
                if len(objects) > 1:
                    loss = loss + share * object_weight * koleo(torch.stack(objects))
        loss.backward()
        return loss.item(), {name: p.grad for name, p in network.named_parameters()}

    def compare(self, groups, **settings):
        plain = self.trained(**settings)
        weights = {"koleo_weight": 2.0, "object_koleo_weight": 1.5}
        with_loss = self.copy(plain, **weights, **settings)
        without = self.copy(plain, **settings)
        with_loss.teach(self.batch)
        targets = with_loss.targets()
        loss, expected = self.expected(network_of(plain.student), targets, groups, *weights.values())
        self.check(with_loss, without, expected)
        self.assertAlmostEqual(with_loss.update().koleo_loss, loss, places=4)

    def test_one_micro_batch(self):
        self.compare([[0, 1, 2, 3]], micro_batch=4)

    def test_micro_batches(self):
        self.compare([[0, 1, 2, 3]], micro_batch=1)

    def test_groups(self):
        self.compare([[0, 1, 2], [3]], micro_batch=2, group_images=3)


ONLY = {"global_weight": 0.0, "cross_view_weight": 0.0, "cross_image_weight": 0.0}


class Gram(unittest.TestCase):
    def similarities(self, network, views):
        dense = F.normalize(torch.cat([network(view)[0] for view in views]), dim=-1)
        return dense @ dense.transpose(1, 2)

    def check(self, trainer, anchor, batch):
        """The loss is alone in the trainer, so its gradients are the trainer's."""
        views = [torch.from_numpy(view).double() for view in (batch.view1, batch.view2)]
        student = network_of(trainer.student)
        with torch.no_grad():
            target = self.similarities(anchor, views)
        loss = 2.5 * F.mse_loss(self.similarities(student, views), target)
        loss.backward()
        found = gradients(trainer, batch)
        largest = max(float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None)
        self.assertGreater(largest, 1e-4)
        for name, p in student.named_parameters():
            expected = np.zeros(p.shape) if p.grad is None else p.grad.numpy()
            self.assertLess(np.abs(found[f"backbone.{name}"] - expected).max(), 2e-5 * largest, name)
        self.assertAlmostEqual(trainer.update().gram_loss, loss.item(), places=6)

    def test_anchor_is_an_earlier_teacher(self):
        settings = {**SETTINGS, **ONLY, "gram_weight": 2.5, "micro_batch": 3, "ema_momentum": 0.5}
        trainer = small_trainer(**settings, learning_rate=0.1, warmup_epochs=0)
        for name in trainer.student.parameters():
            trainer.student.write(name, 1.5 * trainer.student.read(name))
        anchor = network_of(trainer.teacher)
        self.check(trainer, anchor, small_batch(seed=1))  # the teacher of the step
        self.check(trainer, anchor, small_batch(seed=2))  # that of the step before


def bottlenecks(model, x: torch.Tensor, parameters: dict) -> torch.Tensor:
    """The head's MLP on global vectors; `parameters` receives its leaves."""
    for i in (0, 2, 4):
        for part in ("weight", "bias"):
            name = f"head.mlp.{i}.{part}"
            parameters[name] = torch.from_numpy(model.read(name)).double().requires_grad_()
        x = F.linear(x, parameters[f"head.mlp.{i}.weight"], parameters[f"head.mlp.{i}.bias"])
        x = F.gelu(x) if i < 4 else F.normalize(x, dim=-1)
    return x


def logits(model, x: torch.Tensor, parameters: dict) -> torch.Tensor:
    """Of the [CLS] prototypes for bottlenecks."""
    for part in ("weight_g", "weight_v"):
        name = f"head.last_layer.{part}"
        parameters[name] = torch.from_numpy(model.read(name)).double().requires_grad_()
    v = F.normalize(parameters["head.last_layer.weight_v"], dim=-1)
    return x @ (parameters["head.last_layer.weight_g"].reshape(-1, 1) * v).T


class Resampled(VisionTransformer):
    """With DINO's positions of another size."""

    def tokens(self, pixels):
        patches = self.patch_embed(pixels)
        grid, side = round((self.pos_embed.shape[1] - 1) ** 0.5), round(patches.shape[1] ** 0.5)
        positions = self.pos_embed[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        positions = F.interpolate(positions, scale_factor=(side + 0.1) / grid, mode="bicubic")
        positions = torch.cat([self.pos_embed[:, :1], positions.flatten(2).transpose(1, 2)], 1)
        return self.norm(
            self.blocks(torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + positions)
        )


class LocalCrops(unittest.TestCase):
    def compare(self, **settings):
        crops, images = 3, 4
        settings = {
            **SETTINGS,
            **ONLY,
            "local_crops": crops,
            "local_size": 16,
            "local_weight": 1.7,
            **settings,
        }
        trainer = small_trainer(**settings, ema_momentum=0.5, learning_rate=0.1, warmup_epochs=0)
        local = np.random.default_rng(4).standard_normal((2, images, crops, 3, 16, 16)).astype(np.float32)
        trainer.step(small_batch(seed=2, local_views=local[0]))
        centre = torch.from_numpy(trainer.centres()[0]).double()
        batch = small_batch(seed=1, local_views=local[1])

        parameters, ignored = {}, {}
        network = Resampled(*NETWORK)
        network.load_state_dict(network_of(trainer.student).state_dict())
        _, cls = network.double()(torch.from_numpy(local[1]).double().flatten(0, 1))
        student = F.log_softmax(
            logits(trainer.student, bottlenecks(trainer.student, cls, parameters), parameters) / 0.1, -1
        )
        teacher, loss = network_of(trainer.teacher), torch.zeros((), dtype=torch.double)
        temperature = 0.04
        for view in (batch.view1, batch.view2):
            with torch.no_grad():
                _, cls = teacher(torch.from_numpy(view).double())
                found = logits(trainer.teacher, bottlenecks(trainer.teacher, cls, ignored), ignored)
                target = F.softmax((found - centre) / temperature, -1)
            loss = loss - 1.7 / (images * crops) * (target.repeat_interleave(crops, 0) * student).sum()
        loss.backward()

        found = gradients(trainer, batch)
        parameters.update({f"backbone.{name}": p for name, p in network.named_parameters()})
        largest = max(float(p.grad.abs().max()) for p in parameters.values())
        self.assertGreater(largest, 1e-3)
        for name, p in parameters.items():
            error = np.abs(found[name] - p.grad.numpy().reshape(found[name].shape)).max()
            self.assertLess(error, 2e-5 * largest, name)
        report = trainer.update()
        self.assertEqual(report.teacher_temperature, temperature)
        self.assertAlmostEqual(report.local_loss, loss.item(), places=4)

    def test_micro_batches(self):
        self.compare(micro_batch=3, teacher_temperature=0.04)

    def test_one_micro_batch(self):
        self.compare(micro_batch=4, teacher_temperature=0.04)


if __name__ == "__main__":
    unittest.main()
