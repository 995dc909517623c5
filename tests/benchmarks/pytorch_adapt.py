"""A step of adapting published weights with frozen blocks against the same step in PyTorch: time of its
phases, processor time and peak memory.

    CRIBO_LIBRARY=BUILD/lib/libcribo.so.0 python tests/benchmarks/pytorch_adapt.py --frozen-blocks 8
    ... --frozen-blocks 0          the whole network is trained
    ... --check                    only shows that all compute the same
    ... --tiny                     sizes of a smoke test

The network has the shape of DINOv2 S/14 (LayerScale, patches of 14 pixels), with views of 168 x 168 pixels
and the batch, clusters and prototypes of the preset `adapt`. PyTorch's step is written in two ways:

    plain       teacher and student run all blocks; requires_grad_(False) on the frozen part of the student
    shared      the frozen part runs once, under no_grad, for both

Like pytorch_step.py, whose code this uses: all sides begin with the same weights and see the same batch,
their losses must agree to 1e-4 of their size in --check-steps steps, and then they take turns. PyTorch has
the better formulas of pytorch_step.py --lean, unless --published is given.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import pytorch_step
from pytorch_step import compare_sides, images_of_bank, machine

SIZES = dict(
    image=168,
    patch=14,
    width=384,
    depth=12,
    heads=6,
    hidden=2048,
    bottleneck=256,
    prototypes=4096,
    clusters=12,
)
TINY = dict(
    image=28, patch=7, width=48, depth=3, heads=3, hidden=64, bottleneck=16, prototypes=96, clusters=4
)


class Ours(pytorch_step.Ours):
    """libcribo with frozen blocks and LayerScale."""

    @staticmethod
    def settings(o: argparse.Namespace) -> dict[str, Any]:
        ours = dict(layer_scale=1, frozen_blocks=o.frozen_blocks, normed_last_layer=1)
        return {**pytorch_step.Ours.settings(o), **ours}


def make_worker(side: str, o: argparse.Namespace, weights: str) -> Any:
    if side == "libcribo":
        return Ours(o, weights)
    import pytorch_adapt_side

    kind = pytorch_adapt_side.Shared if side == "shared" else pytorch_adapt_side.Plain
    return kind(o, weights, compiled=False)


def options() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--frozen-blocks", type=int, default=8)
    p.add_argument("--against", nargs="+", choices=("plain", "shared"), default=["plain", "shared"])
    p.add_argument("--published", dest="lean", action="store_false", help="clustering as it is published")
    p.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of both")
    p.add_argument("--check", action="store_true", help="compare the losses, time nothing")
    p.add_argument("--check-steps", type=int, default=3)
    p.add_argument("--pairs", type=int, default=10)
    p.add_argument("--warm-up", type=int, default=2, help="steps of each side before the pairs")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--bank", type=images_of_bank, default=200, help="images; 0: none")
    p.add_argument("--micro-batch", type=int, default=8, help="of libcribo: images that go together")
    p.add_argument(
        "--keep-memory", type=int, choices=(0, 1), default=1, help="in PyTorch's malloc; 1: faster"
    )
    p.add_argument("--tiny", action="store_true", help="sizes of a smoke test")
    for name, size in SIZES.items():
        p.add_argument(f"--{name}", type=int, default=size)
    if "--tiny" in sys.argv:
        p.set_defaults(batch=4, bank=20, frozen_blocks=2, **TINY)
    o = p.parse_args()
    o.recompute, o.torch_micro_batch = 0, o.batch
    return o


def main() -> None:
    o = options()
    os.environ["OMP_NUM_THREADS"] = str(o.threads)
    print(f"{machine(o)}, {o.frozen_blocks} of {o.depth} blocks frozen")
    compare_sides(o, make_worker)


if __name__ == "__main__":
    main()
