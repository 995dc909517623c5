"""Trains a network of PyTorch with CrIBo: a vision transformer, a ResNet, or one of your own in their place.

python torch_train.py --network resnet --steps 100     on random pictures
python torch_train.py --images pictures.npy            on your pictures: uint8 [count, height, width, 3]
"""

from __future__ import annotations

import argparse

import cribo
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_cribo import Objective, both_views, follow, teacher_of
from torch_networks import ResNet, VisionTransformer

SIDE, GRID, WIDTH = 64, 8, 96
NETWORKS = {
    "vit": lambda: VisionTransformer(SIDE, SIDE // GRID, WIDTH, depth=2, heads=3),
    "resnet": lambda: ResNet(WIDTH),
}


def train(network: nn.Module, pictures: Tensor, steps: int, images: int = 8, seed: int = 0) -> list[float]:
    """Trains a network; the losses of all steps."""
    random = np.random.default_rng(seed)
    student, teacher = network, teacher_of(network)
    objective = Objective(width=WIDTH, tokens=GRID * GRID, batch_size=images, clusters=8, bank_images=256,
        head_hidden=256, head_bottleneck=64, prototypes=256, object_prototypes=256, total_steps=steps,
        ema_momentum=0.99, steps_per_epoch=1, cross_image_steps=steps // 10, seed=seed)  # fmt: skip
    optimiser = torch.optim.AdamW(student.parameters())
    losses = []
    for _ in range(steps):
        views, positions, ids = random_batch(pictures, images, random)
        with torch.no_grad():
            objective.teach(*both_views(teacher, views), positions, ids)
        loss = objective.learn(*both_views(student, views))
        optimiser.zero_grad()
        loss.backward()
        report = objective.update()
        optimiser.param_groups[0].update(lr=report.learning_rate, weight_decay=report.weight_decay)
        optimiser.step()
        follow(teacher, student, report.ema_momentum)
        losses.append(report.loss)
        print(
            f"step {report.step}: loss {report.loss:.4f} = global {report.global_loss:.4f} "
            f"+ cross-view {report.cross_view_loss:.4f} + cross-image {report.cross_image_loss:.4f}"
        )
    return losses


# ---- Views ---------------------------------------------------------------------------------------


def random_view(picture: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A random crop of a picture [3, H, W], resized, sometimes mirrored, in changed light, and the positions
    of its tokens."""
    _, height, width = picture.shape
    share = random.uniform(0.4, 1.0) ** 0.5
    h, w = max(1, round(share * height)), max(1, round(share * width))
    y, x = int(random.integers(height - h + 1)), int(random.integers(width - w + 1))
    crop = picture[None, :, y : y + h, x : x + w]
    view = F.interpolate(crop, (SIDE, SIDE), mode="bilinear", antialias=True)[0]
    mirrored = bool(random.integers(2))
    if mirrored:
        view = view.flip(-1)
    view = view * random.uniform(0.7, 1.3) + random.uniform(-0.2, 0.2)
    return view, torch.from_numpy(cribo.crop_positions((x, y, w, h, mirrored), GRID, GRID))


def random_batch(pictures: Tensor, images: int, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Views [B, 2, 3, S, S] of random pictures, positions [B, 2, N, 2] and the pictures' numbers [B]."""
    chosen = torch.from_numpy(random.choice(len(pictures), images, replace=False))
    pairs = [[random_view(pictures[i], random) for _ in range(2)] for i in chosen]
    views = torch.stack([torch.stack([view for view, _ in pair]) for pair in pairs])
    positions = torch.stack([torch.stack([places for _, places in pair]) for pair in pairs])
    return views, positions, chosen


def random_pictures(count: int, side: int, random: np.random.Generator) -> np.ndarray:
    """Pictures of three coloured discs each."""
    y, x = np.mgrid[:side, :side]
    pictures = np.empty((count, side, side, 3), np.uint8)
    for picture in pictures:
        picture[:] = random.integers(0, 256, 3)
        for _ in range(3):
            centre, radius = random.uniform(0, side, 2), random.uniform(side / 8, side / 3)
            picture[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = random.integers(0, 256, 3)
    return pictures


def normalised(pictures: np.ndarray) -> Tensor:
    """Bytes [count, H, W, 3] to floats [count, 3, H, W]."""
    mean, deviation = (np.array(v, np.float32) for v in (cribo.IMAGENET_MEAN, cribo.IMAGENET_DEVIATION))
    return torch.from_numpy((pictures / np.float32(255) - mean) / deviation).permute(0, 3, 1, 2).contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--network", choices=NETWORKS, default="vit", help="(vit)")
    parser.add_argument("--images", help=".npy file of pictures: uint8 [count, height, width, 3]")
    parser.add_argument("--steps", type=int, default=50, help="(50)")
    parser.add_argument("--batch", type=int, default=8, help="images in a batch (8)")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    pictures = np.load(chosen.images) if chosen.images else random_pictures(128, 96, np.random.default_rng(0))
    train(NETWORKS[chosen.network](), normalised(pictures), chosen.steps, chosen.batch)


if __name__ == "__main__":
    main()
