"""Training over several ranks from Python: threads, and processes joined by torch.distributed or mpi4py."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import numpy as np
from support import cribo

try:
    import torch.distributed
except ImportError:
    torch = None

BATCH, STEPS = 4, 3
SETTINGS = {
    "image_size": 16,
    "patch_size": 4,
    "width": 24,
    "depth": 2,
    "heads": 2,
    "head_hidden": 24,
    "head_bottleneck": 8,
    "prototypes": 12,
    "object_prototypes": 10,
    "clusters": 3,
    "bank_images": 8,
    "batch_size": BATCH,
    "micro_batch": 1,
    "shards": BATCH,
    "total_steps": 10,
    "steps_per_epoch": 1,
    "freeze_last_layer_epochs": 0,
    "cross_image_epochs": 0,
    "warmup_epochs": 0,
}


def share(step: int, rank: int, size: int) -> cribo.Batch:
    """A rank's images of a batch."""
    random = np.random.default_rng(step)
    views = random.normal(size=(2, BATCH, 3, 16, 16)).astype(np.float32)
    crops = np.tile(np.array([0, 0, 16, 16, 0], np.float64), (BATCH, 1))
    part = slice(BATCH * rank // size, BATCH * (rank + 1) // size)
    return cribo.Batch(views[0, part], views[1, part], crops[part], crops[part])


def train(path: Path, communicator: "cribo.Communicator | None" = None) -> None:
    """Some steps, then a checkpoint."""
    rank, size = (communicator.rank, communicator.size) if communicator else (0, 1)
    with cribo.Trainer(threads=1, communicator=communicator, **SETTINGS) as trainer:
        for step in range(STEPS):
            trainer.step(share(step, rank, size))
        trainer.save(path)


OBJECTIVE = dict(
    width=12, tokens=9, head_hidden=16, head_bottleneck=8, prototypes=12, object_prototypes=10, clusters=3,
    bank_images=8, batch_size=BATCH, micro_batch=1, shards=BATCH, total_steps=10, steps_per_epoch=1,
    freeze_last_layer_epochs=0, cross_image_epochs=0, warmup_epochs=0,
)  # fmt: skip


def follow(path: Path, communicator: "cribo.Communicator | None" = None) -> list:
    """Some steps of an objective on tokens of no network, then a checkpoint: the gradients of the tokens."""
    rank, size = (communicator.rank, communicator.size) if communicator else (0, 1)
    part, found = slice(BATCH * rank // size, BATCH * (rank + 1) // size), []
    with cribo.Objective(threads=1, communicator=communicator, **OBJECTIVE) as objective:
        for step in range(STEPS):
            random = np.random.default_rng(step)
            dense = random.normal(size=(2, BATCH, 2, 9, 12)).astype(np.float32)[:, part]
            vectors = random.normal(size=(2, BATCH, 2, 12)).astype(np.float32)[:, part]
            places = random.normal(size=(BATCH, 2, 9, 2)).astype(np.float32)[part]
            objective.teach(dense[0], vectors[0], places)
            learned = objective.learn(dense[1], vectors[1])
            report = objective.update()
            found.append((learned.loss, report.loss, report.cross_image_loss))
            found.append((learned.dense_gradient, learned.global_gradient))
        objective.save(path)
    return found


def mpi_launcher() -> list[str]:
    """The command that starts processes of mpi4py's MPI; none without mpi4py or the command."""
    version = "from mpi4py import MPI; print(MPI.Get_library_version())"
    program = "import mpi4py; mpi4py.rc.initialize = False; " + version
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if found.returncode:
        return []
    open_mpi = "Open MPI" in found.stdout
    command = shutil.which("mpirun.openmpi" if open_mpi else "mpirun.mpich") or shutil.which("mpirun")
    return [command, *(["--oversubscribe"] if open_mpi else [])] if command else []


class Pipes(cribo.Communicator):
    """Two ranks of one process, whose transfers are kept in lists; written as a user would."""

    def __init__(self, rank: int, lines: dict, deadline: float = 0):
        super().__init__(rank, 2, deadline)
        self.lines = lines

    def send(self, peer: int, data: np.ndarray) -> object:
        self.lines.setdefault((self.rank, peer), []).append(data.copy())
        return None

    def receive(self, peer: int, data: np.ndarray) -> object:
        return peer, data

    def ended(self, request: object) -> bool:
        if request is None:
            return True
        peer, data = request
        line = self.lines.get((peer, self.rank))
        if not line:
            return False
        data[:] = line.pop(0)
        return True


class Ranks(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.one = Path(self.folder.name, "one")
        train(self.one)

    def run_threads(self, communicators: list) -> Path:
        path, failures = Path(self.folder.name, "several"), []

        def run(communicator: cribo.Communicator) -> None:
            try:
                train(path, communicator)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=run, args=(communicator,)) for communicator in communicators]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        return path

    def test_threads_write_the_bytes_of_one_rank(self) -> None:
        for size in (2, 4):
            group = cribo.ThreadGroup(size)
            path = self.run_threads([group.communicator(rank, 60) for rank in range(size)])
            self.assertEqual(path.read_bytes(), self.one.read_bytes())
            group.close()

    def test_objectives_of_threads_compute_what_one_does(self) -> None:
        expected = follow(self.one)
        for size in (2, 4):
            group, found = cribo.ThreadGroup(size), [[] for _ in range(size)]
            path = Path(self.folder.name, "several")

            def run(rank: int, group=group, found=found, path=path) -> None:
                found[rank] = follow(path, group.communicator(rank, 60))

            threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(path.read_bytes(), self.one.read_bytes())
            for step in range(STEPS):
                for rank in range(size):
                    self.assertEqual(found[rank][2 * step], expected[2 * step])
                for array in range(2):
                    parts = [found[rank][2 * step + 1][array] for rank in range(size)]
                    np.testing.assert_array_equal(np.concatenate(parts), expected[2 * step + 1][array])
            group.close()

    def test_ranks_with_other_settings_raise(self) -> None:
        group, raised = cribo.ThreadGroup(2), {}

        def run(rank: int) -> None:
            try:
                cribo.Objective(communicator=group.communicator(rank, 60), **{**OBJECTIVE, "seed": rank})
            except cribo.InvalidArgument as error:
                raised[rank] = str(error)

        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(raised), 2)
        for text in raised.values():
            self.assertIn("seed = 0 on rank 0, but 1 on rank 1", text)
        group.close()

    def test_a_communicator_in_python_writes_the_bytes_of_one_rank(self) -> None:
        lines: dict = {}
        path = self.run_threads([Pipes(rank, lines, 60) for rank in range(2)])
        self.assertEqual(path.read_bytes(), self.one.read_bytes())

    def test_an_exception_in_a_communicator_ends_the_call(self) -> None:
        class Broken(Pipes):
            def receive(self, peer: int, data: np.ndarray) -> object:
                raise ConnectionError("no line")

        broken = Broken(0, {}, 1)
        with self.assertRaises(cribo.SystemError_):
            cribo.Trainer(threads=1, communicator=broken, **SETTINGS)
        self.assertIsInstance(broken.raised, ConnectionError)

    def test_a_rank_alone_times_out(self) -> None:
        with self.assertRaisesRegex(cribo.TimedOut, "rank 1 did not answer within 0.2 seconds"):
            cribo.Trainer(threads=1, communicator=Pipes(0, {}, 0.2), **SETTINGS)

    @unittest.skipUnless(torch and torch.distributed.is_available(), "needs torch.distributed")
    def test_processes_over_gloo_write_the_bytes_of_one_rank(self) -> None:
        path, meeting = Path(self.folder.name, "gloo"), Path(self.folder.name, "meeting")
        ranks = [
            subprocess.Popen([sys.executable, "-B", __file__, str(rank), "2", str(meeting), str(path)])
            for rank in range(2)
        ]
        self.assertEqual([rank.wait(300) for rank in ranks], [0, 0])
        self.assertEqual(path.read_bytes(), self.one.read_bytes())
        objective = Path(self.folder.name, "gloo-objective")
        follow(self.one)
        self.assertEqual(objective.read_bytes(), self.one.read_bytes())

    @unittest.skipUnless(mpi_launcher(), "needs mpi4py and the mpirun of its MPI")
    def test_processes_over_mpi_write_the_bytes_of_one_rank(self) -> None:
        path = Path(self.folder.name, "mpi")
        as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        ranks = [*mpi_launcher(), "-n", "2", sys.executable, "-B", __file__, str(path)]
        subprocess.run(ranks, env={**os.environ, **as_root}, timeout=300, check=True)
        self.assertEqual(path.read_bytes(), self.one.read_bytes())


def over_mpi() -> None:
    """One of the processes of the test above."""
    from mpi4py import MPI

    train(Path(sys.argv[1]), cribo.MpiCommunicator(MPI.COMM_WORLD, deadline=120))


def over_gloo() -> None:
    """One of the processes of the test over gloo."""
    rank, size, meeting, path = sys.argv[1:]
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(size)
    )
    communicator = cribo.TorchCommunicator(deadline=120)
    train(Path(path), communicator)
    follow(Path(f"{path}-objective"), communicator)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    if len(sys.argv) == 5:
        over_gloo()
    elif len(sys.argv) == 2 and os.path.isabs(sys.argv[1]):
        over_mpi()
    else:
        unittest.main()
