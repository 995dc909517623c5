"""A training step of libcribo against the same step in PyTorch: time of its phases, and peak memory.

    CRIBO_LIBRARY=BUILD/lib/libcribo.so.0 python tests/benchmarks/pytorch_step.py --bank 1000 --pairs 10
    ... --precision bf16           libcribo in bfloat16, and PyTorch where autocast has it
    ... --lean                     PyTorch with better formulas than the method's users have
    ... --check                    only shows that both compute the same
    ... --tiny                     sizes of a smoke test

Each side is a process of its own, with weights, views, patch centres, seed tokens and memory bank that are
the same. First both do --check-steps steps in float32, and their losses must agree to 1e-4 of their size.
Then they take turns, a step each, --pairs times; the table has medians, and medians of the ratios of steps
that stood side by side. docs/performance.md says more.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from step_problem import PHASES, RATES, Outcome, make_bank, make_problem

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "python"))

LOSSES = ("global", "cross-view", "cross-image")
# glibc keeps freed memory, where it would give large arrays back to the system and fault them in anew.
KEPT_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}
TOLERANCE = 1e-4  # of a loss, relative
TINY = dict(
    image=32, patch=8, width=48, depth=2, heads=3, hidden=64, bottleneck=16, prototypes=96, clusters=4
)


# ---- libcribo ------------------------------------------------------------------------------------


class Ours:
    """libcribo by its Python module."""

    def __init__(self, o: argparse.Namespace, weights: str):
        import cribo

        self.o = o
        self.begin("float32")
        np.savez(weights, **self.trainer.student.state_dict())
        problem = make_problem(o)
        self.batch = cribo.Batch(
            problem.view1, problem.view2, positions=problem.positions, seed_tokens=problem.seeds
        )

    def begin(self, precision: str) -> None:
        import cribo

        self.precision, self.trainer = precision, None
        self.trainer = cribo.Trainer(threads=self.o.threads, precision=precision, **self.settings(self.o))
        if self.o.bank:
            vectors, counts = make_bank(self.o)
            self.trainer.memory_bank.import_(*vectors, counts)

    @staticmethod
    def settings(o: argparse.Namespace) -> dict[str, Any]:
        r = RATES
        return dict(
            image_size=o.image, patch_size=o.patch, width=o.width, depth=o.depth, heads=o.heads, drop_path=0,
            head_hidden=o.hidden, head_bottleneck=o.bottleneck, prototypes=o.prototypes,
            object_prototypes=o.prototypes, clusters=o.clusters, batch_size=o.batch,
            micro_batch=o.micro_batch, recompute=o.recompute, bank_images=max(1, o.bank), cross_image_epochs=0 if o.bank else 1e9,
            position_weight=r.position_weight, position_weight_final=r.position_weight,
            sinkhorn_lambda=r.sharpness,
            student_temperature=r.student_temperature, object_student_temperature=r.student_temperature,
            teacher_temperature_start=r.teacher_temperature, teacher_temperature=r.teacher_temperature,
            object_teacher_temperature_start=r.teacher_temperature,
            object_teacher_temperature=r.teacher_temperature, centre_momentum=r.centre_momentum,
            learning_rate=r.learning_rate * 256 / o.batch,
            learning_rate_final=r.learning_rate,
            warmup_epochs=0, weight_decay=r.weight_decay, weight_decay_final=r.weight_decay,
            ema_momentum=r.momentum, ema_momentum_final=r.momentum, freeze_last_layer_epochs=0,
            steps_per_epoch=1,
        )  # fmt: skip

    def step(self, precision: str) -> Outcome:
        if precision != self.precision:
            self.begin(precision)
        start, used = time.perf_counter(), time.process_time()
        report = self.trainer.step(self.batch)
        ms = {
            "step": 1e3 * (time.perf_counter() - start),
            "cpu": 1e3 * (time.process_time() - used),
            "teacher": report.teach_ms - report.cluster_ms - report.match_ms,
            "cluster": report.cluster_ms,
            "match": report.match_ms,
            "learn": report.learn_ms,
            "update": report.update_ms,
        }
        losses = report.global_loss, report.cross_view_loss, report.cross_image_loss
        return Outcome(losses, report.objects_per_image, report.matched_share, ms)


# ---- Processes -----------------------------------------------------------------------------------


def peak_mib(reset: bool = False) -> float:
    """The most memory that this process had at once since the last reset."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def pytorch(o: argparse.Namespace, weights: str, compiled: bool) -> Any:
    """A pytorch_side.PyTorch, which only its own process loads."""
    from pytorch_side import PyTorch

    return PyTorch(o, weights, compiled)


def make_worker(side: str, o: argparse.Namespace, weights: str) -> Any:
    return Ours(o, weights) if side == "libcribo" else pytorch(o, weights, side == "compiled")


def serve(connection: Any, make: Any, side: str, o: argparse.Namespace, weights: str) -> None:
    """A side's process: answers "step" with an Outcome and "peak" and "reset" with MiB."""
    try:
        worker = make(side, o, weights)
        connection.send("ready")
        while True:
            verb, *arguments = connection.recv()
            if verb == "step":
                connection.send(worker.step(*arguments))
            elif verb == "end":
                return
            else:
                connection.send(peak_mib(verb == "reset"))
    except Exception:
        connection.send(RuntimeError(f"{side}:\n{traceback.format_exc()}"))


@contextlib.contextmanager
def environment(added: dict[str, str]) -> Iterator[None]:
    """Environment variables for processes that start meanwhile."""
    before = dict(os.environ)
    os.environ.update(added)
    yield
    os.environ.clear()
    os.environ.update(before)


class Side:
    """One implementation, a worker of `make`, in a separate process."""

    def __init__(self, name: str, o: argparse.Namespace, weights: str, make: Any = make_worker):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, make, name, o, weights), daemon=True)
        with environment(KEPT_MEMORY if name != "libcribo" and o.keep_memory else {}):
            self.process.start()
        theirs.close()
        self.answer()

    def answer(self) -> Any:
        found = self.connection.recv()
        if isinstance(found, Exception):
            raise found
        return found

    def ask(self, *question: Any) -> Any:
        self.connection.send(question)
        return self.answer()

    def end(self) -> None:
        self.connection.send(("end",))
        self.process.join()


# ---- The comparison ------------------------------------------------------------------------------


class Disagreement(Exception):
    """The two implementations do not compute the same."""


def compare(name: str, step: int, ours: Outcome, theirs: Outcome) -> None:
    """Raises where a loss of PyTorch is not ours."""
    for loss, a, b in zip(LOSSES, ours.losses, theirs.losses):
        if not abs(a - b) <= TOLERANCE * max(1.0, abs(a)):
            raise Disagreement(
                f"step {step}: the {loss} loss is {a:.6f} in libcribo, {b:.6f} in {name} PyTorch"
            )


def check(ours: Side, others: list[Side], steps: int) -> None:
    for step in range(steps):
        expected = ours.ask("step", "float32")
        print(
            f"step {step}, libcribo: losses {spoken(expected)}, {expected.objects:.1f} objects per image, "
            f"{100 * expected.matched:.0f} % matched"
        )
        for other in others:
            found = other.ask("step", "float32")
            print(f"step {step}, {other.name}: losses {spoken(found)}, {found.objects:.1f} objects per image")
            compare(other.name, step, expected, found)
    print(f"all losses agree to {TOLERANCE:g} in {steps} steps\n", flush=True)


def spoken(outcome: Outcome) -> str:
    return " ".join(f"{loss:.5f}" for loss in outcome.losses)


def measure(sides: list[Side], o: argparse.Namespace) -> tuple[dict[str, list[Outcome]], dict[str, float]]:
    """Steps in turn, every other round in the other order; outcomes and peak memory of the sides."""
    for side in sides:
        for _ in range(o.warm_up):
            side.ask("step", o.precision)
        side.ask("reset")
    outcomes: dict[str, list[Outcome]] = {side.name: [] for side in sides}
    for pair in range(o.pairs):
        for side in sides if pair % 2 == 0 else sides[::-1]:
            outcomes[side.name].append(side.ask("step", o.precision))
    return outcomes, {side.name: side.ask("peak") for side in sides}


def table(outcomes: dict[str, list[Outcome]], peaks: dict[str, float]) -> str:
    """Medians of the sides, and of PyTorch over libcribo."""
    others = [name for name in outcomes if name != "libcribo"]
    lines = ["| | libcribo |" + "".join(f" PyTorch {name} | ratio |" for name in others)]
    lines.append("| --- | ---: |" + " ---: | ---: |" * len(others))
    for phase, label in {"step": "whole step, ms", "cpu": "processor time, ms", **PHASES}.items():
        ms = {name: [outcome.ms[phase] for outcome in found] for name, found in outcomes.items()}
        cells = [f" {statistics.median(ms['libcribo']):.1f} |"]
        for name in others:
            ratios = [b / a if a > 0 else float("nan") for a, b in zip(ms["libcribo"], ms[name])]
            cells.append(f" {statistics.median(ms[name]):.1f} | {statistics.median(ratios):.2f} |")
        lines.append(f"| {label} |" + "".join(cells))
        if phase == "step":
            spread = {name: max(times) / min(times) for name, times in ms.items()}
            cells = "".join(f" {spread[name]:.2f} | |" for name in others)
            lines.append(f"| slowest step / fastest | {spread['libcribo']:.2f} |" + cells)
    cells = [f" {peaks['libcribo']:.0f} |"]
    cells += [f" {peaks[name]:.0f} | {peaks[name] / peaks['libcribo']:.2f} |" for name in others]
    lines.append("| peak memory, MiB |" + "".join(cells))
    return "\n".join(lines)


def machine(o: argparse.Namespace) -> str:
    """A description of the machine."""
    found = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    flags = found.get("flags", "").split()
    levels = [level for level in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if level in flags]
    numbers = f"family {found.get('cpu family')}, model {found.get('model')}"
    return (
        f"{found.get('model name', 'unknown CPU')} ({numbers}), "
        f"{os.cpu_count()} cores, {' '.join(levels)}; load {os.getloadavg()[0]:.1f}; "
        f"{o.threads} threads, {o.precision}, batch {o.batch}, bank {o.bank} images"
    )


def images_of_bank(text: str) -> int:
    return 25000 if text == "full" else int(text)


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--against", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    p.add_argument("--lean", action="store_true", help="PyTorch with better clustering and search formulas")
    p.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of both")
    p.add_argument("--check", action="store_true", help="compare the losses, time nothing")
    p.add_argument("--check-steps", type=int, default=3)
    p.add_argument("--pairs", type=int, default=10)
    p.add_argument("--warm-up", type=int, default=2, help="steps of each side before the pairs")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--bank", type=images_of_bank, default=1000, help="images, full: 25000, 0: none")
    p.add_argument("--micro-batch", type=int, default=4, help="of libcribo: images that go together")
    p.add_argument("--recompute", type=int, choices=(0, 1), default=0, help="libcribo's setting")
    p.add_argument("--torch-micro-batch", type=int, default=0, help="of PyTorch; 0: the whole batch")
    p.add_argument(
        "--keep-memory", type=int, choices=(0, 1), default=1, help="in PyTorch's malloc; 1: faster"
    )
    p.add_argument("--tiny", action="store_true", help="sizes of a smoke test")
    sizes = dict(
        image=224, patch=16, width=384, depth=12, heads=6, hidden=2048, bottleneck=256, prototypes=65536
    )
    for name, size in {**sizes, "clusters": 32}.items():
        p.add_argument(f"--{name}", type=int, default=size)
    if "--tiny" in (arguments if arguments is not None else sys.argv):
        p.set_defaults(batch=4, bank=20, **TINY)
    o = p.parse_args(arguments)
    o.torch_micro_batch = o.torch_micro_batch or o.batch
    return o


def compare_sides(o: argparse.Namespace, make: Any = make_worker) -> None:
    """Checks the sides, times them and prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "weights.npz")
        ours = Side("libcribo", o, weights, make)
        others = [Side(name, o, weights, make) for name in o.against]
    try:
        check(ours, others, o.check_steps)
        if not o.check:
            print(table(*measure([ours, *others], o)), flush=True)
    except Disagreement as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")
    for side in (ours, *others):
        side.end()


def main() -> None:
    o = options()
    os.environ["OMP_NUM_THREADS"] = str(o.threads)
    print(machine(o))
    compare_sides(o)


if __name__ == "__main__":
    main()
