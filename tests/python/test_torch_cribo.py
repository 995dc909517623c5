"""The plug-in for PyTorch: against the trainer; dtypes, autocast, compilation, processes, accumulation and
checkpointed activations."""

import contextlib
import copy
import io
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
from support import SMALL, cribo, small_trainer

try:
    import torch
    import torch_cribo
    import torch_train
    from torch.utils.checkpoint import checkpoint
    from torch_networks import ResNet, VisionTransformer
except ImportError:
    raise unittest.SkipTest("needs PyTorch") from None

SETTINGS = dict(
    width=48, tokens=16, batch_size=4, micro_batch=1, clusters=4, bank_images=8, head_hidden=32,
    head_bottleneck=16, prototypes=40, object_prototypes=36, cross_image_epochs=0,
    freeze_last_layer_epochs=0, warmup_epochs=0, total_steps=20, steps_per_epoch=1, learning_rate=0.1,
    threads=1,
)  # fmt: skip


def backbone(seed=0) -> VisionTransformer:
    torch.manual_seed(seed)
    return VisionTransformer(32, 8, 48, 2, 3)


def batch(seed=0, images=4):
    """Views, positions and ids."""
    random = torch.Generator().manual_seed(seed)
    views = torch.randn(images, 2, 3, 32, 32, generator=random)
    return views, 50 * torch.rand(images, 2, 16, 2, generator=random), torch.arange(images) + 10 * seed


class Run:
    """A student, its teacher and their objective, and steps without an optimiser of the network."""

    def __init__(self, network=None, **settings):
        self.student = network or backbone()
        self.teacher = torch_cribo.teacher_of(self.student)
        self.objective = torch_cribo.Objective(**{**SETTINGS, **settings})

    def teach(self, data, **more):
        views, positions, ids = data
        with torch.no_grad():
            self.objective.teach(*torch_cribo.both_views(self.teacher, views), positions, ids, **more)

    def learn(self, views, first=0):
        return self.objective.learn(*torch_cribo.both_views(self.student, views), first)

    def step(self, data):
        """The loss; gradients are added to the student's."""
        self.teach(data)
        loss = self.learn(data[0])
        loss.backward()
        self.objective.update()
        return loss.item()

    def gradients(self):
        return [p.grad.clone() for p in self.student.parameters()]

    def state(self):
        """The state after a step."""
        parts = self.objective.parts
        return [*parts.centres(), *parts.memory_bank.export(), *parts.state_dict().values()]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other))


class Equality(unittest.TestCase):
    def test_step_equals_the_trainer_s(self):
        """The same weights, views, clusters and bank give the same losses and gradients of all parameters."""
        random = np.random.default_rng(5)
        settings = dict(drop_path=0, micro_batch=4, freeze_last_layer_epochs=0)
        views, positions, _ = batch(5)
        seeds = np.stack([random.permutation(32)[:4] for _ in range(4)])
        vectors = random.standard_normal((2, 20, 48)).astype(np.float32)
        with small_trainer(**settings) as trainer:
            trainer.memory_bank.import_(*vectors, [4] * 5)
            values = {name: torch.from_numpy(v) for name, v in trainer.student.state_dict().items()}
            network = backbone()
            network.load_state_dict(
                {n.removeprefix("backbone."): v for n, v in values.items() if "backbone" in n}
            )
            data = cribo.Batch(views[:, 0], views[:, 1], positions=positions, seed_tokens=seeds)
            trainer.teach(data)
            trainer.learn(data)
            expected = {name: trainer.gradient(name) for name in trainer.student.parameters()}
            report = trainer.update()

        names = {setting.name for setting in cribo.settings("objective")}
        own = {name: value for name, value in trainer.settings.items() if name in names}
        run = Run(network, **own)
        parts = run.objective.parts
        for part in ("student", "teacher"):
            parts.load_state_dict(values, part)
        parts.memory_bank.import_(*vectors, [4] * 5)
        run.teach((views, positions, None), seed_tokens=seeds)
        loss = run.learn(views)
        loss.backward()
        found = {name: parts.gradient(name) for name in parts.parameters()}
        found.update({f"backbone.{name}": p.grad.numpy() for name, p in network.named_parameters()})
        self.assertEqual(set(found), set(expected))
        for name, gradient in expected.items():
            scale = max(1e-6, float(np.abs(gradient).max()))
            self.assertLess(np.abs(found[name] - gradient).max(), 1e-3 * scale, name)
        ours = run.objective.update()
        self.assertGreater(report.matched_share, 0)
        for name in ("loss", "global_loss", "cross_view_loss", "cross_image_loss", "matched_share"):
            self.assertAlmostEqual(getattr(ours, name), getattr(report, name), delta=1e-4)
        self.assertAlmostEqual(loss.item(), report.loss, delta=1e-4)

    def test_network_has_the_library_s_features(self):
        pixels = torch.randn(2, 3, 32, 32)
        network = backbone()
        with cribo.Model(**SMALL) as model, torch.no_grad():
            for name, values in network.state_dict().items():
                model.write("backbone." + name, values)
            dense, vectors = network(pixels)
            found = model.features(pixels)
        np.testing.assert_allclose(found.cls, vectors.numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.dense, dense.numpy(), rtol=0, atol=1e-5)

    def test_loss_may_be_weighted(self):
        one, other = Run(), Run()
        one.step(batch())
        other.teach(batch())
        (0.5 * other.learn(batch()[0])).backward()
        for a, b in zip(one.gradients(), other.gradients()):
            torch.testing.assert_close(0.5 * a, b)

    def test_teacher_follows_slowly(self):
        teacher, student = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
        with torch.no_grad():
            student.weight.fill_(3)
            student.running_mean.fill_(5)
        torch_cribo.follow(teacher, student, 0.9)
        np.testing.assert_allclose(teacher.weight.detach().numpy(), 1.2, rtol=1e-6)
        np.testing.assert_array_equal(teacher.running_mean.numpy(), 5)


class Precision(unittest.TestCase):
    def test_tokens_of_every_dtype_are_taken(self):
        expected = Run()
        expected.step(batch())
        for dtype, tolerance in ((torch.float64, 1e-4), (torch.bfloat16, 0.2), (torch.float16, 0.02)):
            with self.subTest(str(dtype)):
                run = Run(backbone().to(dtype))
                views, positions, ids = batch()
                run.teach((views.to(dtype), positions.to(dtype), ids))
                loss = run.learn(views.to(dtype))
                self.assertEqual(loss.dtype, torch.float32)
                loss.backward()
                for ours, theirs in zip(run.gradients(), expected.gradients()):
                    self.assertEqual(ours.dtype, dtype)
                    error = (ours.float() - theirs).norm() / theirs.norm()
                    self.assertLess(error, tolerance)

    def test_autocast_trains(self):
        expected = Run()
        loss = expected.step(batch())
        run = Run()
        with torch.autocast("cpu", torch.bfloat16):
            run.teach(batch())
            dense, vectors = torch_cribo.both_views(run.student, batch()[0])
            found = run.objective.learn(dense.bfloat16(), vectors.bfloat16())
        found.backward()
        self.assertAlmostEqual(found.item(), loss, delta=0.02 * loss)
        for ours, theirs in zip(run.gradients(), expected.gradients()):
            self.assertLess((ours - theirs).norm() / theirs.norm(), 0.15)

    def test_scaled_gradients_do_not_vanish(self):
        """A scale reaches gradients before they are rounded to the tokens' float16."""
        run = Run(learning_rate=0)
        views = batch()[0]
        run.teach(batch())
        dense, vectors = torch_cribo.both_views(run.student, views)
        exact = torch.autograd.grad(run.objective.learn(dense, vectors), dense, retain_graph=True)[0]
        half = dense.detach().half().requires_grad_()
        scale = torch.amp.GradScaler("cpu", init_scale=2.0**14)
        scale.scale(run.objective.learn(half, vectors.detach().half())).backward()
        found = half.grad.float() / 2.0**14
        self.assertLess((found - exact).norm() / exact.norm(), 0.02)


class Compiled(unittest.TestCase):
    def test_compiled_networks_and_steps_give_the_same(self):
        expected, run = Run(), Run()
        losses = [expected.step(batch(seed)) for seed in range(2)]
        student, run.student = run.student, torch.compile(run.student, backend="aot_eager")
        step = torch.compile(lambda data: run.learn(data[0]), backend="eager")
        for seed, loss in enumerate(losses):
            run.teach(batch(seed))
            found = step(batch(seed))
            found.backward()
            run.objective.update()
            self.assertAlmostEqual(found.item(), loss, delta=1e-5 * loss)
        for ours, theirs in zip((p.grad for p in student.parameters()), expected.gradients()):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
        torch._dynamo.reset()


class Accumulation(unittest.TestCase):
    def test_chunks_give_the_gradients_of_the_batch(self):
        whole, chunks = Run(), Run()
        for seed in range(3):
            views, positions, ids = batch(seed)
            loss = whole.step((views, positions, ids))
            chunks.teach((views, positions, ids), chunk=2)
            total = 0.0
            for first in (0, 2):
                part = chunks.learn(views[first : first + 2], first)
                part.backward()
                total += part.item()
            chunks.objective.update()
            self.assertAlmostEqual(total, loss, delta=1e-5)
        for ours, theirs in zip(chunks.gradients(), whole.gradients()):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)

    def test_bank_and_centres_move_once(self):
        run = Run()
        views, positions, ids = batch()
        before = run.state()
        run.teach((views, positions, ids), chunk=1)
        for first in range(4):
            run.learn(views[first : first + 1], first).backward()
            self.assertTrue(same(run.state(), before))
        run.objective.update()
        parts = run.objective.parts
        self.assertEqual((parts.memory_bank.count()[0], parts.step_count()), (4, 1))


class Checkpointed(unittest.TestCase):
    def test_functions_that_run_twice_count_once(self):
        expected = Run()
        losses = [expected.step(batch(seed)) for seed in range(2)]
        for reentrant in (False, True):
            with self.subTest(reentrant=reentrant):
                run = Run()
                calls = []

                def step(views, positions, ids, run=run, calls=calls):
                    calls.append(1)
                    run.teach((views, positions, ids))
                    return run.learn(views)

                for seed, loss in enumerate(losses):
                    views, positions, ids = batch(seed)
                    views.requires_grad_()
                    found = checkpoint(step, views, positions, ids, use_reentrant=reentrant)
                    found.backward()
                    run.objective.update()
                    self.assertAlmostEqual(found.item(), loss, delta=1e-6)
                self.assertEqual(len(calls), 4)  # each twice
                self.assertTrue(same(run.state(), expected.state()))
                for ours, theirs in zip(run.gradients(), expected.gradients()):
                    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


WORKER = """
import sys
sys.path[:0] = {paths!r}
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
import torch_cribo
from test_torch_cribo import Run, backbone, batch

rank, folder, chunk, divides = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method="file://" + folder + "/meet", rank=rank, world_size=2)
communicator = torch_cribo.cribo.TorchCommunicator(deadline=120) if divides else None
run = Run(shards=2, communicator=communicator)
teacher = run.teacher
student, run.student = run.student, DistributedDataParallel(run.student)
optimiser = torch.optim.SGD(student.parameters(), lr=0.1)
losses = []
for seed in range(3):
    views, positions, ids = batch(seed)
    # Divided: one half. Gathered: chunk after chunk, in each the images of process 0, then of process 1.
    own = torch.arange(4).reshape(-1, 2, 2 if divides else chunk)[:, rank].reshape(-1)
    run.teach((views[own], positions[own], ids[own]), chunk=chunk)
    optimiser.zero_grad()
    total = 0.0
    for first in range(0, 2, chunk):
        last = first + chunk == 2
        with run.student.no_sync() if not last else torch.enable_grad():
            loss = run.learn(views[own][first : first + chunk], first)
            loss.backward()
        total += loss.item()
    optimiser.step()
    report = run.objective.update()
    torch_cribo.follow(teacher, student, 0.9)
    losses.append(total)
parts = run.objective.parts
arrays = [*parts.centres(), *parts.state_dict().values()] if divides else run.state()
state = [torch.from_numpy(array) for array in arrays]
torch.save(dict(losses=losses, weights=student.state_dict(), state=state), folder + f"/rank{{rank}}.pth")
distributed.destroy_process_group()
"""


class Processes(unittest.TestCase):
    def test_two_processes_are_one_with_both_batches(self):
        expected = Run(shards=2)
        optimiser = torch.optim.SGD(expected.student.parameters(), lr=0.1)
        losses = []
        for seed in range(3):
            optimiser.zero_grad()
            losses.append(expected.step(batch(seed)))
            optimiser.step()
            torch_cribo.follow(expected.teacher, expected.student, 0.9)
        parts = expected.objective.parts
        divided = [*parts.centres(), *parts.state_dict().values()]
        for chunk, divides in ((2, False), (1, False), (2, True), (1, True)):
            with self.subTest(chunk=chunk, divides=divides), tempfile.TemporaryDirectory() as folder:
                program = Path(folder, "worker.py")
                program.write_text(WORKER.format(paths=sys.path))
                workers = [
                    subprocess.Popen(
                        [sys.executable, "-B", str(program), str(rank), folder, str(chunk), str(divides)],
                        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
                        stderr=subprocess.PIPE,
                        text=True,
                    )
                    for rank in range(2)
                ]
                for worker in workers:
                    _, errors = worker.communicate(timeout=240)
                    self.assertEqual(worker.returncode, 0, errors)
                found = [torch.load(f"{folder}/rank{rank}.pth", weights_only=True) for rank in range(2)]
                self.assertTrue(same(*(rank["state"] for rank in found)))
                for rank in found:
                    np.testing.assert_allclose(rank["losses"], losses, rtol=1e-5)
                    for name, values in expected.student.state_dict().items():
                        torch.testing.assert_close(rank["weights"][name], values, rtol=1e-4, atol=1e-5)
                    state = divided if divides else expected.state()
                    self.assertEqual(len(rank["state"]), len(state))
                    for ours, theirs in zip(rank["state"], state):
                        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-3, atol=1e-4)


class Examples(unittest.TestCase):
    def test_networks_train(self):
        pictures = torch_train.normalised(torch_train.random_pictures(8, 48, np.random.default_rng(0)))
        for name, network in torch_train.NETWORKS.items():
            with self.subTest(name), contextlib.redirect_stdout(io.StringIO()) as printed:
                torch.manual_seed(0)
                student = network()
                before = copy.deepcopy(student.state_dict())
                losses = torch_train.train(student, pictures, steps=4, images=4)
                self.assertEqual(len(losses), 4)
                self.assertTrue(np.isfinite(losses).all())
                self.assertRegex(printed.getvalue(), r"step 3: loss .* cross-image [1-9]")
                moved = [not torch.equal(v, before[n]) for n, v in student.state_dict().items()]
                self.assertTrue(all(moved))

    def test_dense_map_of_the_resnet_is_row_by_row(self):
        dense, vectors = ResNet(16)(torch.randn(2, 3, 64, 48))
        self.assertEqual(dense.shape, (2, 8 * 6, 16))
        torch.testing.assert_close(vectors, dense.mean(1))


if __name__ == "__main__":
    unittest.main()
