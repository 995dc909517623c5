"""A short session with the installed module: trains 3 steps, clusters an array and, where timm is installed,
carries weights to timm and back:

    python3 -m venv environment
    environment/bin/pip install torch==2.14.1 torchvision==0.29.1 timm safetensors .
    environment/bin/python tests/python/session.py
"""

import os
import sys
import tempfile

import cribo
import numpy as np

random = np.random.default_rng(0)


def train(path: str) -> None:
    """Three steps of a small transformer on noise, whose weights are read back."""
    pixels = random.integers(0, 256, (4, 3, 32, 32), np.uint8)
    crops = [(0, 0, 32, 32, 0)] * 4
    batch = cribo.Batch(pixels, pixels[..., ::-1], crops, [(0, 0, 32, 32, 1)] * 4)
    settings = {"image_size": 32, "patch_size": 8, "depth": 2, "prototypes": 64, "object_prototypes": 64}
    with cribo.Trainer("tiny", **settings, clusters=4, batch_size=4, bank_images=8, steps_per_epoch=1) as trainer:
        losses = [trainer.step(batch).loss for _ in range(3)]
        trainer.save_weights(path)
        with cribo.Model(width=192, heads=3, **settings) as model:
            model.load(path, "teacher.")
            same = [
                np.array_equal(model.read(name), trainer.teacher.read(name)) for name in model.parameters()
            ]
    assert all(same) and np.isfinite(losses).all()
    print(f"trained 3 steps: losses {', '.join(f'{loss:.3f}' for loss in losses)}")


def cluster() -> None:
    """Two views of two images whose tokens are of four kinds."""
    kinds = random.integers(0, 4, (2, 2, 16))
    tokens = np.eye(8, dtype=np.float32)[kinds] + 0.1 * random.standard_normal((2, 2, 16, 8)).astype(
        np.float32
    )
    places = random.random((2, 2, 16, 2)).astype(np.float32)
    with cribo.Clusterer(2, 16, 8, clusters=4) as clusterer:
        found = clusterer.run(tokens, places)
    assert np.allclose(found.assignment.sum(2)[:, 0][found.valid], 1)
    print(f"clustered 2 images: {int(found.valid.sum())} objects")


def difference(model: cribo.Model, network, pixels) -> float:
    """The largest between the library's features and timm's."""
    with torch.no_grad():
        tokens = network.forward_features(pixels).numpy()
    found = model.features(pixels)
    return max(np.abs(found.cls - tokens[:, 0]).max(), np.abs(found.dense - tokens[:, 1:]).max())


def exchange(path: str) -> None:
    """Weights drawn by the library in timm, and weights drawn by timm in the library."""
    pixels = torch.from_numpy(random.standard_normal((2, 3, 224, 224)).astype(np.float32))
    network = timm.create_model("vit_small_patch16_224", num_classes=0).eval()
    with cribo.Model(prototypes=0, object_prototypes=0, seed=3) as model:
        model.save(path, plain_names=True, heads=False)
        network.load_state_dict(safetensors.torch.load_file(path))
        out = difference(model, network, pixels)
        with torch.no_grad():
            for values in network.parameters():
                values += 0.02 * torch.randn_like(values)  # no bias stays zero, no gain one
        safetensors.torch.save_file(network.state_dict(), path)
        model.load(path, plain_names=True, heads=False)
        back = difference(model, network, pixels)
        same = network.state_dict()
        assert all(np.array_equal(model.read("backbone." + name), same[name].numpy()) for name in same)
    print(f"timm {timm.__version__}: features differ by {out:.1e} there, {back:.1e} back")
    assert max(out, back) < 1e-4


if __name__ == "__main__":
    print(os.path.realpath(cribo.__file__), cribo.build_info())
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "weights.safetensors")
        train(file)
        cluster()
        try:
            import safetensors.torch
            import timm
            import torch
        except ImportError as error:
            sys.exit(print(f"not exchanged with timm: {error}"))
        exchange(file)
