"""Trains a small vision transformer with labels, as an estimate of what a network of this size can reach: the
same folder of pictures and label maps that `cribo evaluate` takes as its memory, crops and colours as in a
pretraining, and a linear layer on the tokens, trained by cross-entropy with the share of each class in a
patch.

    torch_labels.py PICTURES -o weights.safetensors [--cpu-seconds 300] [--seed 0]
    cribo evaluate weights.safetensors PICTURES TEST --size 96 --model heads=2

With --weights, a published network is trained further, as an estimate of what adapting it without labels can
reach. The network is built by timm; the file has any layout that convert_weights.py reads:

    torch_labels.py PICTURES -o out.safetensors --weights dinov2.safetensors --size 168 --batch 8 --rate 3e-5

The last layer is left out of the file: the tokens are scored like those of any other network.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from convert_weights import in_layout
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch_networks import VisionTransformer
from weights import files

MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
IGNORED = 255


class Example:
    """A picture and its label map, in memory."""

    def __init__(self, picture: Path, label: Path):
        self.picture = Image.open(picture).convert("RGB")
        self.label = Image.open(label)
        values = np.asarray(self.label)
        self.classes = 1 + int(values[values != IGNORED].max(initial=0))


def read(folder: Path) -> list[Example]:
    pictures = sorted((folder / "images").iterdir())
    return [Example(path, folder / "labels" / (path.stem + ".png")) for path in pictures]


def crop(size: tuple[int, int], random: np.random.Generator) -> tuple[int, int, int, int]:
    """A box of a quarter to the whole of a picture, its sides in a ratio of 3/4 to 4/3."""
    area, ratio = random.uniform(0.25, 1) * size[0] * size[1], math.exp(random.uniform(-0.2877, 0.2877))
    width, height = min(size[0], round((area * ratio) ** 0.5)), min(size[1], round((area / ratio) ** 0.5))
    left, top = random.integers(size[0] - width + 1), random.integers(size[1] - height + 1)
    return int(left), int(top), int(left + width), int(top + height)


def view(example: Example, side: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Normalised pixels [3, S, S] in changed light, and labels [S, S]."""
    box, flip = crop(example.picture.size, random), random.random() < 0.5
    pixels = np.asarray(example.picture.resize((side, side), Image.Resampling.BICUBIC, box), np.float32) / 255
    labels = np.asarray(example.label.resize((side, side), Image.Resampling.NEAREST, box), np.int64)
    if flip:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    x = torch.from_numpy(np.ascontiguousarray(pixels))
    brightness, contrast, saturation = random.uniform([0.6, 0.6, 0.8], [1.4, 1.4, 1.2])
    x = x * brightness
    x = x.mean() + contrast * (x - x.mean())
    grey = x.mean(-1, keepdim=True)
    x = (grey + saturation * (x - grey)).clamp(0, 1)
    return ((x - MEAN) / DEVIATION).permute(2, 0, 1), torch.from_numpy(np.ascontiguousarray(labels))


def shares(labels: Tensor, patch: int, classes: int) -> Tensor:
    """The share of each class in each patch [n, N, classes], without ignored pixels; labels: [n, S, S]."""
    known = F.one_hot(labels.clamp(max=classes), classes + 1)[..., :classes].float()
    return F.avg_pool2d(known.permute(0, 3, 1, 2), patch).flatten(2).transpose(1, 2)


class Published(nn.Module):
    """A published transformer of timm with the weights of a file."""

    def __init__(self, name: str, weights: Path):
        super().__init__()
        import timm

        self.model: Any = timm.create_model(name, num_classes=0, dynamic_img_size=True)
        self.model.load_state_dict(in_layout(files.networks_of(files.read(weights)), "timm", "teacher"))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.model.forward_features(pixels)
        return tokens[:, self.model.num_prefix_tokens :], tokens[:, 0]


def train(network: nn.Module, examples: Sequence[Example], o: argparse.Namespace) -> int:
    """Trains for the time or the steps given; the number of steps. The rate rises, then falls as a cosine."""
    random, began = np.random.default_rng(o.seed), time.process_time()
    classes = max(example.classes for example in examples)
    last = nn.Linear(o.width, classes)
    # A new last layer beside trained weights needs a higher rate than these.
    rates = [
        {"params": network.parameters(), "peak": o.rate},
        {"params": last.parameters(), "peak": max(o.rate, 1e-3) if o.weights else o.rate},
    ]
    optimiser = torch.optim.AdamW(rates, weight_decay=0.05)
    steps, done = 0, 0.0
    while done < 1:
        views = [view(examples[i], o.size, random) for i in random.choice(len(examples), o.batch)]
        pixels, labels = (torch.stack(part) for part in zip(*views))
        tokens, _ = network(pixels)
        loss = F.cross_entropy(last(tokens).flatten(0, 1), shares(labels, o.patch, classes).flatten(0, 1))
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * min(20 * done, (1 + math.cos(math.pi * done)) / 2)
        optimiser.step()
        steps += 1
        done = steps / o.steps if o.steps else (time.process_time() - began) / o.cpu_seconds
    return steps


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, help="a folder with images and labels")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the file of weights")
    parser.add_argument("--weights", type=Path, help="begin with the weights of a published network")
    parser.add_argument("--timm", default="vit_small_patch14_dinov2", help="that network's name in timm")
    parser.add_argument("--cpu-seconds", type=float, default=300)
    parser.add_argument("--steps", type=int, default=0, help="in place of a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=16)
    for name, value in (("size", 96), ("patch", 8), ("width", 128), ("depth", 4), ("heads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args(arguments)
    torch.manual_seed(o.seed)
    torch.set_num_threads(1)
    network: nn.Module
    if o.weights:
        network = Published(o.timm, o.weights)
        kept = network.model
        o.patch, o.width = kept.patch_embed.patch_size[0], kept.num_features
    else:
        network = kept = VisionTransformer(o.size, o.patch, o.width, o.depth, o.heads)
    steps = train(network, read(o.pictures), o)
    files.write(kept.state_dict(), o.out)
    print(f"{steps} steps")


if __name__ == "__main__":
    main()
