"""The convolutional stem against PyTorch in float64: features, losses and gradients of a training step."""

import unittest

import numpy as np
from support import cribo

try:
    import torch
    import torch_step as reference
    from test_torch_masked import SETTINGS, compare_steps
except ImportError:
    raise unittest.SkipTest("needs PyTorch") from None


class Stem(unittest.TestCase):
    def test_features_of_any_size_are_those_of_pytorch(self):
        for patch, height, width, precision in (
            (2, 6, 10, "float32"),
            (16, 64, 64, "float32"),
            (8, 32, 32, "bf16"),
        ):
            model = cribo.Model(
                image_size=patch * 4,
                patch_size=patch,
                width=32,
                depth=2,
                heads=2,
                prototypes=0,
                object_prototypes=0,
                precision=precision,
                stem="convolution",
            )
            self.assertEqual(model.parameters()["backbone.patch_embed.proj.weight"], (32, 32, 1, 1))
            random = np.random.default_rng(patch)
            for name, shape in model.parameters().items():
                noise = 0.3 * random.normal(size=shape)
                model.write(name, (noise + ("norm.weight" in name)).astype(np.float32))
            if height == width:
                pixels = random.normal(size=(2, 3, patch * 4, patch * 4)).astype(np.float32)
                parameters = reference.parameters_of(model, gradients=False)
                views = torch.tensor(pixels, dtype=torch.float64)
                expected = reference.tokens(parameters, model.settings, views)[:, 1:].numpy()
                found = model.features(pixels).dense.reshape(expected.shape)
                scale, error = np.abs(expected).max(), np.abs(found - expected).max()
                self.assertLess(error, (5e-2 if precision == "bf16" else 1e-5) * scale)
            else:
                dense = model.features(random.normal(size=(1, 3, height, width)).astype(np.float32)).dense
                self.assertTrue(np.isfinite(dense).all())
                self.assertEqual(dense.size, height // patch * (width // patch) * 32)

    def test_steps_are_those_of_pytorch(self):
        compare_steps(self, {**SETTINGS, "stem": "convolution", "width": 24})


if __name__ == "__main__":
    unittest.main()
