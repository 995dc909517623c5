"""The transformer's family against an independent implementation in NumPy: tokens, [CLS] and attention."""

import unittest

import numpy as np
from support import cribo
from transformer import Transformer

SHAPE = {"image_size": 24, "patch_size": 4, "width": 24, "depth": 3, "heads": 3, "mlp_ratio": 2}
HEADLESS = {"prototypes": 0, "object_prototypes": 0}
DINOV2 = {"layer_scale": 1.0}
DINOV3 = {"layer_scale": 1.0, "registers": 4, "position_embedding": "rope", "norm_epsilon": 1e-5}
FAMILIES = {
    "DINO": {},
    "timm": {"position_offset": 0.0, "position_antialias": 1},
    "timm without a position of [CLS]": {"cls_position": 0, "registers": 1},
    "positions of another grid": {"position_grid": 9, "position_antialias": 1, "position_offset": 0.1},
    "DINOv2": DINOV2,
    "DINOv2, Hugging Face": {**DINOV2, "position_offset": 0.0},
    "DINOv2 with registers": {**DINOV2, "registers": 4, "position_offset": 0.0, "position_antialias": 1},
    "DINOv2 g": {**DINOV2, "mlp": "swiglu", "mlp_hidden": 20},
    "DINOv3": {**DINOV3, "qkv_bias": "no_key"},
    "DINOv3 S+": {**DINOV3, "mlp": "swiglu", "qkv_bias": "none"},
    "RoPE by periods": {**DINOV3, "rope_min_period": 0.5, "rope_max_period": 9.0, "rope_coordinates": "min"},
    "RoPE by the larger side": {**DINOV3, "rope_base": 7.0, "rope_coordinates": "max"},
}
SIZES = [(24, 24), (16, 36), (40, 12)]


def random_parameters(model: cribo.Model, seed: int) -> dict:
    """Values under which every parameter makes a difference."""
    random = np.random.default_rng(seed)
    values = {}
    for name, shape in model.parameters().items():
        scale = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 and "_" not in name else 0.5
        centre = 1 if "norm" in name and name.endswith("weight") or name.endswith("gamma") else 0
        values[name] = (centre + scale * random.standard_normal(shape)).astype(np.float32)
    return values


class Families(unittest.TestCase):
    def check(self, settings, size, precision, tolerance):
        with cribo.Model(**SHAPE, **HEADLESS, **settings, precision=precision) as model:
            values = random_parameters(model, 1)
            model.load_state_dict(values)
            pixels = np.random.default_rng(2).standard_normal((2, 3, *size)).astype(np.float32)
            found = model.features(pixels, attention=True)
            chosen = {**{s.name: model.settings[s.name] for s in cribo.settings("model")}, **settings}
        for name, choices in CHOICES.items():
            if not isinstance(chosen[name], str):
                chosen[name] = choices[int(chosen[name])]
        reference = Transformer(chosen, {name.removeprefix("backbone."): v for name, v in values.items()})
        for name, expected in reference(pixels)._asdict().items():
            error = np.abs(getattr(found, name) - expected).max() / np.abs(expected).max()
            self.assertLess(error, tolerance, name)

    def test_features_are_those_of_numpy(self):
        for family, settings in FAMILIES.items():
            for size in SIZES:
                with self.subTest(family=family, size=size):
                    self.check(settings, size, "float32", 5e-6)

    def test_features_in_bf16_are_near(self):
        for family, settings in FAMILIES.items():
            with self.subTest(family=family):
                self.check(settings, SIZES[1], "bf16", 0.1)


CHOICES = {
    "mlp": ["gelu", "swiglu"],
    "position_embedding": ["learned", "rope"],
    "rope_coordinates": ["separate", "min", "max"],
    "qkv_bias": ["all", "no_key", "none"],
}
if __name__ == "__main__":
    unittest.main()
