"""CrIBo in a PyTorch training loop of one's own: libcribo's clusterer, memory bank and losses around a
PyTorch network.

    python torch_cribo.py --steps 100                      trains a tiny vision transformer on random pictures
    python torch_cribo.py --images pictures.npy            on pictures of one's own: uint8 [count, height,
    width, 3]

The pieces to take away are the class Objective, which turns tokens of a student and a teacher into a loss
with gradients, and the functions it calls. Any network will do that gives a [CLS] vector and patch tokens,
and any head that gives logits. The parts of libcribo work on the CPU: from another device, tokens, objects
and logits cross over and gradients come back.

The network here has the parameter names of the library, so its state_dict() and that of cribo.Model are
exchangeable."""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cribo
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# ---- Clusters, objects, neighbours ---------------------------------------------------------------


def pool_objects(tokens: Tensor, assignment: Tensor, valid: Tensor) -> Tensor:
    """Objects [2, R, D] of tokens [B, 2, N, D] by an assignment [B, 2, N, K], of the valid [B, K] clusters
    only. Gradients flow to the tokens."""
    objects = torch.einsum("bvnk,bvnd->vbkd", assignment, tokens)
    return objects[:, valid]


class Targets(NamedTuple):
    """What the teacher found in a batch."""

    assignment: Tensor  # [B, 2, N, K]
    valid: Tensor  # [B, K] bool
    objects: Tensor  # [2, R, D]
    neighbours: Tensor  # [2, R, D]
    matches: Tensor  # [2, R] bool


class DistillationLoss(torch.autograd.Function):
    """The sum of the three losses, from logits [2, B, P] and [2, R, P]; its gradients come from the
    library."""

    @staticmethod
    def forward(
        ctx: Any, student_cls: Tensor, student_objects: Tensor, loss: cribo.Loss, teacher: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """The total, which has a gradient, and the three losses [3], which have none."""
        found = loss.compute(
            student_cls=student_cls.detach().cpu(), student_objects=student_objects.detach().cpu(), **teacher
        )
        gradients = found.student_cls_gradient, found.student_objects_gradient
        ctx.save_for_backward(*(torch.from_numpy(gradient).to(student_cls.device) for gradient in gradients))
        parts = torch.tensor([found.global_loss, found.cross_view_loss, found.cross_image_loss])
        ctx.mark_non_differentiable(parts)
        return student_cls.new_tensor(found.total), parts

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _parts: Tensor) -> tuple[Tensor, Tensor, None, None]:
        cls, objects = ctx.saved_tensors
        return scale * cls, scale * objects, None, None


class Objective:
    """Clusterer, memory bank and losses for batches of one size. Keyword arguments are settings of the
    parts."""

    def __init__(
        self,
        images: int,
        tokens_per_view: int,
        width: int,
        prototypes: int,
        object_prototypes: int,
        clusters: int = 32,
        bank_images: int = 25000,
        position_weight: float = 1.0,
        **loss_settings: Any,
    ):
        self.clusterer = cribo.Clusterer(
            images, tokens_per_view, width, clusters=clusters, position_weight=position_weight
        )
        self.bank = cribo.MemoryBank(
            bank_images=bank_images, objects_per_image=clusters, width=width, max_objects=images * clusters
        )
        self.loss = cribo.Loss(prototypes=prototypes, object_prototypes=object_prototypes, **loss_settings)

    def targets(self, tokens: Tensor, positions: Tensor, step: int, ids: Tensor | None = None) -> Targets:
        """Clusters the teacher's patch tokens [B, 2, N, D] at positions [B, 2, N, 2]; finds and remembers
        objects."""
        clusters = self.clusterer.run(
            tokens.detach().cpu(), positions.cpu(), call=step, labels=False, objects=False
        )
        assignment = torch.from_numpy(clusters.assignment).to(tokens.device)
        valid = torch.from_numpy(clusters.valid).to(tokens.device)
        objects = pool_objects(tokens.detach(), assignment, valid)
        batch = (*objects.cpu(), valid.sum(1).cpu(), ids)
        found = self.bank.query(*batch, index1=False, index2=False)
        self.bank.push(*batch)
        neighbours = torch.from_numpy(np.stack([found.neighbours1, found.neighbours2])).to(tokens.device)
        matches = torch.from_numpy(np.stack([found.match1, found.match2]))
        return Targets(assignment, valid, objects, neighbours, matches)

    def __call__(
        self,
        student_cls: Tensor,
        student_objects: Tensor,
        teacher_cls: Tensor,
        teacher_objects: Tensor,
        neighbours: Tensor | None,
        matches: Tensor,
        teacher_temperature: float = 0.07,
    ) -> tuple[Tensor, Tensor]:
        """Loss and its parts from logits [2, B, P] and [2, R, P], neighbours' logits [2, R, P] (None: no
        cross-image loss) and their matches [2, R]. Then the centres move."""
        teacher: dict[str, Any] = {
            "teacher_cls": teacher_cls.detach().cpu(),
            "teacher_objects": teacher_objects.detach().cpu(),
            "teacher_temperature": teacher_temperature,
            "object_teacher_temperature": teacher_temperature,
        }
        if neighbours is not None:
            logits = neighbours.detach().cpu()
            teacher.update(neighbours1=logits[0], neighbours2=logits[1], match1=matches[0], match2=matches[1])
        total, parts = DistillationLoss.apply(student_cls, student_objects, self.loss, teacher)
        self.loss.update_centres(teacher["teacher_cls"], teacher["teacher_objects"])
        return total, parts


# ---- A network -----------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbedding(nn.Module):
    def __init__(self, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.proj(pixels).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Pixels [B, 3, S, S] to tokens [B, 1 + N, D], [CLS] first."""

    def __init__(self, side: int, patch: int, width: int, depth: int, heads: int):
        super().__init__()
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + (side // patch) ** 2, width))
        self.patch_embed = PatchEmbedding(patch, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embed(pixels)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + self.pos_embed
        return self.norm(self.blocks(x))


class Prototypes(nn.Module):
    """A linear layer whose rows have lengths of their own (weight norm)."""

    def __init__(self, bottleneck: int, prototypes: int):
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(prototypes, 1), requires_grad=False)
        self.weight_v = nn.Parameter(torch.randn(prototypes, bottleneck) / math.sqrt(bottleneck))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.weight_g * F.normalize(self.weight_v, dim=-1)).T


class Heads(nn.Module):
    """[CLS] vectors and objects to logits: one MLP for both, prototypes for each."""

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int, object_prototypes: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last_layer = Prototypes(bottleneck, prototypes)
        self.last_layer_c = Prototypes(bottleneck, object_prototypes)

    def cls(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))

    def objects(self, x: Tensor) -> Tensor:
        return self.last_layer_c(F.normalize(self.mlp(x), dim=-1))


class Network(nn.Module):
    """A backbone with heads, named as in the library."""

    def __init__(self, backbone: VisionTransformer, head: Heads):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def tokens(self, views: Tensor) -> Tensor:
        """Tokens [B, 2, 1 + N, D] of views [B, 2, 3, S, S]."""
        return self.backbone(views.flatten(0, 1)).unflatten(0, (len(views), 2))


# ---- A training step -----------------------------------------------------------------------------


def training_loss(
    student: Network,
    teacher: Network,
    objective: Objective,
    views: Tensor,
    positions: Tensor,
    step: int,
    ids: Tensor | None = None,
    cross_image: bool = True,
    teacher_temperature: float = 0.07,
) -> tuple[Tensor, Tensor]:
    """The loss of a batch of views [B, 2, 3, S, S] with patch centres [B, 2, N, 2], and its three parts
    [3]."""
    with torch.no_grad():
        tokens = teacher.tokens(views)
        found = objective.targets(tokens[:, :, 1:], positions, step, ids)
        teacher_cls = teacher.head.cls(tokens[:, :, 0].transpose(0, 1))
        teacher_objects = teacher.head.objects(found.objects)
        neighbours = teacher.head.objects(found.neighbours) if cross_image else None
    tokens = student.tokens(views)
    student_cls = student.head.cls(tokens[:, :, 0].transpose(0, 1))
    student_objects = student.head.objects(pool_objects(tokens[:, :, 1:], found.assignment, found.valid))
    return objective(
        student_cls,
        student_objects,
        teacher_cls,
        teacher_objects,
        neighbours,
        found.matches,
        teacher_temperature,
    )


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """The teacher's moving average."""
    for slow, fast in zip(teacher.parameters(), student.parameters()):
        slow.lerp_(fast, 1 - momentum)


# ---- Views ---------------------------------------------------------------------------------------


def patch_centres(crop: Sequence[float], side: int, patch: int) -> Tensor:
    """Centres (x, y) [N, 2] of a view's patches in pixels of the picture; crop: x, y, width, height,
    mirrored."""
    x, y, width, height, mirrored = crop
    middles = (torch.arange(side // patch) * patch + patch / 2) / side
    columns = x + (1 - middles if mirrored else middles) * width - 0.5
    rows = y + middles * height - 0.5
    grid_y, grid_x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([grid_x, grid_y], -1).reshape(-1, 2).float()


def random_view(picture: Tensor, side: int, patch: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A random crop of a picture [3, H, W], resized, sometimes mirrored, in changed light, and its patch
    centres."""
    _, height, width = picture.shape
    share = random.uniform(0.4, 1.0) ** 0.5
    h, w = max(1, round(share * height)), max(1, round(share * width))
    y, x = int(random.integers(height - h + 1)), int(random.integers(width - w + 1))
    crop = picture[None, :, y : y + h, x : x + w]
    view = F.interpolate(crop, (side, side), mode="bilinear", antialias=True)[0]
    mirrored = bool(random.integers(2))
    if mirrored:
        view = view.flip(-1)
    view = view * random.uniform(0.7, 1.3) + random.uniform(-0.2, 0.2)
    return view, patch_centres((x, y, w, h, mirrored), side, patch)


def random_batch(
    pictures: Tensor, images: int, side: int, patch: int, random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Views [B, 2, 3, S, S] of random pictures, their patch centres [B, 2, N, 2] and the pictures' numbers
    [B]."""
    chosen = torch.from_numpy(random.choice(len(pictures), images, replace=False))
    pairs = [[random_view(pictures[i], side, patch, random) for _ in range(2)] for i in chosen]
    views = torch.stack([torch.stack([view for view, _ in pair]) for pair in pairs])
    positions = torch.stack([torch.stack([centres for _, centres in pair]) for pair in pairs])
    return views, positions, chosen


def random_pictures(count: int, side: int, random: np.random.Generator) -> Tensor:
    """Pictures of three coloured discs each."""
    y, x = np.mgrid[:side, :side]
    pictures = np.empty((count, side, side, 3), np.uint8)
    for picture in pictures:
        picture[:] = random.integers(0, 256, 3)
        for _ in range(3):
            centre, radius = random.uniform(0, side, 2), random.uniform(side / 8, side / 3)
            picture[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = random.integers(0, 256, 3)
    return normalised(pictures)


def normalised(pictures: np.ndarray) -> Tensor:
    """Bytes [count, H, W, 3] to floats [count, 3, H, W]."""
    mean, deviation = (np.array(v, np.float32) for v in (cribo.IMAGENET_MEAN, cribo.IMAGENET_DEVIATION))
    return torch.from_numpy((pictures / np.float32(255) - mean) / deviation).permute(0, 3, 1, 2).contiguous()


# ---- The example ---------------------------------------------------------------------------------


def train(
    pictures: Tensor, steps: int, images: int = 8, side: int = 64, patch: int = 8, seed: int = 0
) -> list[float]:
    """Trains a tiny vision transformer; the losses of all steps."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    width, prototypes, object_prototypes = 96, 256, 256
    student = Network(
        VisionTransformer(side, patch, width, depth=2, heads=3),
        Heads(width, 256, 64, prototypes, object_prototypes),
    )
    teacher = copy.deepcopy(student).requires_grad_(False)
    objective = Objective(
        images, (side // patch) ** 2, width, prototypes, object_prototypes, clusters=8, bank_images=256
    )
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=5e-4, weight_decay=0.04)
    losses = []
    for step in range(steps):
        views, positions, ids = random_batch(pictures, images, side, patch, random)
        loss, parts = training_loss(
            student, teacher, objective, views, positions, step, ids, cross_image=step >= steps // 10
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        follow(teacher, student, 0.99)
        losses.append(loss.item())
        global_loss, cross_view, cross_image = parts.tolist()
        print(
            f"step {step}: loss {losses[-1]:.4f} = "
            f"global {global_loss:.4f} + cross-view {cross_view:.4f} + cross-image {cross_image:.4f}"
        )
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", help=".npy file of pictures: uint8 [count, height, width, 3]")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=8)
    chosen = parser.parse_args()
    if chosen.images:
        pictures = normalised(np.load(chosen.images))
    else:
        pictures = random_pictures(128, 96, np.random.default_rng(0))
    train(pictures, chosen.steps, chosen.batch)


if __name__ == "__main__":
    main()
