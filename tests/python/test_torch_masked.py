"""The loss of masked patches against PyTorch in float64: losses and gradients of a step, and the centre."""

import unittest

import numpy as np
from support import cribo

try:
    import torch
    import torch_step as reference
except ImportError:
    raise unittest.SkipTest("needs PyTorch") from None

IMAGES = 4
SETTINGS = {
    "image_size": 32,
    "patch_size": 8,
    "width": 24,
    "depth": 2,
    "heads": 2,
    "mlp_ratio": 2,
    "drop_path": 0.0,
    "head_hidden": 20,
    "head_bottleneck": 8,
    "prototypes": 30,
    "object_prototypes": 26,
    "clusters": 4,
    "batch_size": IMAGES,
    "micro_batch": 3,
    "cross_image_weight": 0.0,
    "freeze_last_layer_epochs": 0,
    "warmup_epochs": 0,
    "teacher_temperature_epochs": 0,
    "learning_rate": 0.1,
    "total_steps": 8,
    "steps_per_epoch": 1,
    "masked_weight": 1.5,
    "masked_views": 0.7,
    "seed": 3,
}


def batch(number: int) -> cribo.Batch:
    random = np.random.default_rng(number)
    colours = random.normal(size=(IMAGES, 3, 4, 4)).repeat(8, axis=2).repeat(8, axis=3)
    views = [colours + 0.3 * random.normal(size=colours.shape) for _ in range(2)]
    row, column = np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij")
    positions = np.broadcast_to(np.stack([column.ravel(), row.ravel()], axis=1), (IMAGES, 2, 16, 2))
    return cribo.Batch(*(view.astype(np.float32) for view in views), positions=positions.astype(np.float32))


class Step:
    """The reference's losses of the step that a trainer has taught."""

    def __init__(self, trainer, made, masked_centre):
        self.settings = trainer.settings
        self.found = trainer.targets()
        self.student = reference.parameters_of(trainer.student, gradients=True)
        self.teacher = reference.parameters_of(trainer.teacher, gradients=False)
        pixels = np.stack([made.view1, made.view2], axis=1).reshape(-1, 3, 32, 32)
        pixels = torch.tensor(pixels, dtype=torch.float64)
        self.mask = torch.tensor(self.found.mask.reshape(2 * IMAGES, -1))
        self.seen = reference.tokens(self.teacher, self.settings, pixels)
        self.predicted = reference.tokens(self.student, self.settings, pixels, self.mask)
        self.centres = [torch.tensor(centre, dtype=torch.float64) for centre in trainer.centres()]
        self.masked_centre = masked_centre
        self.masked_logits = reference.logits(self.teacher, self.seen[:, 1:][self.mask], "last_layer")

    def _targets(self, teacher, centre, kind):
        temperature = self.settings["object_teacher_temperature" if kind else "teacher_temperature"]
        if self.settings["sinkhorn_centring"]:
            return reference.balanced(teacher, temperature, self.settings["sinkhorn_centring"])
        return torch.softmax((teacher - centre) / temperature, dim=-1)

    def masked(self):
        """1/B Σ over views of the mean over the view's masked patches."""
        targets = self._targets(self.masked_logits, self.masked_centre, 0)
        student = reference.logits(self.student, self.predicted[:, 1:][self.mask], "last_layer")
        entropies = reference.cross_entropy(targets, student, self.settings["student_temperature"])
        shares = 1 / self.mask.sum(dim=1, keepdim=True).clamp(min=1).expand_as(self.mask)[self.mask]
        return (entropies * shares).sum() / IMAGES * self.settings["masked_weight"]

    def cls(self):
        targets = self._targets(
            reference.logits(self.teacher, self.seen[:, 0], "last_layer"), self.centres[0], 0
        )
        student = reference.logits(self.student, self.predicted[:, 0], "last_layer")
        other = torch.arange(2 * IMAGES) ^ 1
        return (
            reference.cross_entropy(targets[other], student, self.settings["student_temperature"]).sum()
            / IMAGES
        )

    def _objects(self, tokens, view):
        rows = []
        for image, cluster in zip(*np.nonzero(self.found.valid)):
            members = torch.tensor(self.found.labels[image, view] == cluster)
            rows.append(tokens[2 * image + view, 1:][members].mean(dim=0))
        return torch.stack(rows)

    def objects(self):
        """The student's objects are means of the tokens of the view with masked patches."""
        layer, count = "last_layer_c", int(self.found.objects_per_image.sum())
        teacher = torch.cat([self._objects(self.seen, view) for view in range(2)])
        student = torch.cat([self._objects(self.predicted, view) for view in range(2)])
        targets = self._targets(reference.logits(self.teacher, teacher, layer), self.centres[1], 1)
        entropies = reference.cross_entropy(
            targets.roll(count, 0),
            reference.logits(self.student, student, layer),
            self.settings["object_student_temperature"],
        )
        return entropies.sum() / count


def compare_steps(test: unittest.TestCase, settings: dict) -> None:
    """Three steps of a trainer: losses, all gradients, and the centre of the masked patches."""
    trainer = cribo.Trainer(threads=2, **settings)
    centre = torch.zeros(SETTINGS["prototypes"], dtype=torch.float64)
    for number in range(3):
        made = batch(number)
        trainer.teach(made)
        step = Step(trainer, made, centre)
        test.assertTrue(step.mask.any() and not step.mask.all(dim=1).any())
        losses = [step.cls(), step.objects(), step.masked()]
        sum(losses).backward()
        trainer.learn(made)
        for name, parameter in step.student.items():
            found, expected = trainer.gradient(name), parameter.grad
            expected = np.zeros(found.shape) if expected is None else expected.numpy()
            scale = max(1e-3, float(np.abs(expected).max()))
            np.testing.assert_allclose(found, expected, atol=1e-4 * scale, rtol=0, err_msg=name)
        report = trainer.update()
        found = [report.global_loss, report.cross_view_loss, report.masked_loss]
        np.testing.assert_allclose(found, [loss.item() for loss in losses], rtol=1e-5)
        test.assertAlmostEqual(report.masked_share, float(step.mask.double().mean()))
        momentum = trainer.settings["centre_momentum"]
        centre = momentum * centre + (1 - momentum) * step.masked_logits.mean(dim=0)


class Masked(unittest.TestCase):
    def test_losses_and_gradients_are_those_of_pytorch(self):
        compare_steps(self, SETTINGS)

    def test_with_sinkhorn_centring(self):
        compare_steps(self, {**SETTINGS, "sinkhorn_centring": 3})


if __name__ == "__main__":
    unittest.main()
