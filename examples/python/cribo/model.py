"""A vision transformer with projection heads."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import Array, Found, Wanted, address, apart, input_array, natural, output_array
from .callbacks import Hooks, Log, Progress
from .checkpoints import look
from .configs import config_values, with_settings
from .handles import Handle, Sizes
from .library import native, new, text_bytes
from .streams import File, Source, Target

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .setting_types import ModelSettings


class Features(NamedTuple):
    """Features of images. An output that was left out is None."""

    dense: Found  # [B, N, D]
    cls: Found  # [B, D]
    attention: Found  # [B, heads, N]


def model_of(settings: Mapping[str, Any], threads: int, values: Mapping[str, np.ndarray]) -> Model:
    """A model with these settings and parameters."""
    model = Model(threads=threads, **settings)
    model.load_state_dict(values)
    return model


@with_settings("model")
class Model(Handle):
    """A vision transformer with projection heads: its parameters by name, and features from it."""

    _kind = "model"
    settings: ModelSettings

    def __init__(
        self,
        *,
        threads: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
        **settings: Unpack[ModelSettings],
    ):
        super().__init__(settings, threads, log, progress)

    def sizes(self) -> Sizes:
        """The sizes of the model, for arrays."""
        return self._sizes()

    @classmethod
    def memory_bytes(
        cls, image: tuple[int, int] = (0, 0), *, threads: int = 0, **settings: Unpack[ModelSettings]
    ) -> int:
        """The most bytes at once that such a model needs, and with an image (height, width) its features of
        such images. Nothing is made."""
        return cls._memory(settings, threads, [natural("image", side) for side in image])

    def __reduce_ex__(self, _protocol: Any) -> Any:
        """Copies and pickles are independent models, with the same settings, parameters and number of
        threads, but without callbacks; also those of a trainer's model."""
        own = dict(self.settings)
        return model_of, (own, self._hooks.runtime.threads, self.state_dict())

    def share(self, *, threads: int = 0, log: Log | None = None, progress: Progress | None = None) -> Model:
        """A model that shares this one's weights, for features in another thread at the same time. While it
        lives, neither can be changed. The weights live until the last of them is closed."""
        model = type(self).__new__(type(self))
        model.settings = self.settings.copy()
        model._hooks = Hooks(threads, log, progress)
        with self._use():
            model._create("cribo_model_share", self._pointer)
        return model

    def pack(self) -> None:
        """Packs the weights once for all later calls of features. Call this method before share. A change of
        the parameters discards the packed weights."""
        with self._use() as invoke:
            invoke("pack")

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters, in the library's order."""
        count = ctypes.c_int64()
        entry = new("cribo_parameter")
        shapes = {}
        with self._use() as invoke:
            invoke("parameter_count", ctypes.byref(count))
            for index in range(count.value):
                invoke("parameter", index, ctypes.byref(entry))
                shapes[entry.name.decode()] = tuple(entry.shape[: entry.axes])
        return shapes

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a parameter."""
        entry = new("cribo_parameter")
        with self._use() as invoke:
            invoke("find_parameter", text_bytes("name", name), ctypes.byref(entry))
        return tuple(entry.shape[: entry.axes])

    def read(self, name: str, values: Wanted = True) -> np.ndarray:
        """A copy of a parameter's values, in `values` where that is an array."""
        array = output_array("values", values, np.float32, self.shape(name))
        if array is None:
            raise TypeError("values must be True or an array to write into")
        with self._use() as invoke:
            invoke("read_parameter", text_bytes("name", name), address(array), array.size)
        return array

    def write(self, name: str, values: Array) -> None:
        """Sets a parameter's values."""
        array = input_array(name, values, np.float32, self.shape(name))
        with self._use() as invoke:
            invoke("write_parameter", text_bytes("name", name), address(array), array.size)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters by name."""
        return {name: self.read(name) for name in self.parameters()}

    def load_state_dict(self, values: Mapping[str, Array]) -> None:
        """Sets all parameters; shapes and names are checked first, and names that the model lacks are passed
        over."""
        arrays = {}
        for name, shape in self.parameters().items():
            if name not in values:
                raise ValueError(f"values has no {name}")
            arrays[name] = input_array(name, values[name], np.float32, shape)
        for name, array in arrays.items():
            self.write(name, array)

    def features(
        self, pixels: Array, *, dense: Wanted = True, cls: Wanted = True, attention: Wanted = False
    ) -> Features:
        """Features of pixels [B, 3, height, width], normalised as in training; sides are multiples of the
        patch size."""
        read = input_array("pixels", pixels, np.float32, ("B", 3, "height", "width"))
        images, _, height, width = read.shape
        patch, d, heads = (self.settings[name] for name in ("patch_size", "width", "heads"))
        if height % patch or width % patch:
            raise ValueError(
                f"pixels are {height} x {width}, but the sides must be multiples of patch_size = {patch}"
            )
        n = (height // patch) * (width // patch)
        result = Features(
            output_array("dense", dense, np.float32, (images, n, d)),
            output_array("cls", cls, np.float32, (images, d)),
            output_array("attention", attention, np.float32, (images, heads, n)),
        )
        apart({"pixels": read}, result._asdict())
        arrays = new("cribo_feature_arrays")
        for name, array in result._asdict().items():
            setattr(arrays, name, address(array))
            setattr(arrays, f"{name}_capacity", 0 if array is None else array.size)
        with self._use() as invoke:
            invoke("features_within", images, height, width, address(read), ctypes.byref(arrays))
        return result

    def save(
        self,
        path: File,
        prefix: str = "",
        *,
        backbone: bool = True,
        heads: bool = True,
        plain_names: bool = False,
    ) -> None:
        """Writes the parameters, or a part of them, to a safetensors file, each named prefix + name. With
        plain_names (and heads=False) the backbone's names are timm's, without "backbone."."""
        parts = new("cribo_save_parts", backbone=backbone, heads=heads, plain_names=plain_names)
        with self._use() as invoke:
            target = Target(self._hooks, path)
            verb = target.verb("save_partial", "save_to")
            invoke(verb, target.argument, text_bytes("prefix", prefix), ctypes.byref(parts))

    def load(
        self,
        path: File,
        prefix: str = "",
        *,
        backbone: bool = True,
        heads: bool = True,
        resample_positions: bool = False,
        plain_names: bool = False,
    ) -> None:
        """Reads parameters, or a part of them, from a safetensors file or a checkpoint in which they are
        named prefix + name. Other parameters keep their values. With plain_names (and heads=False) the file
        has the backbone under timm's names, without "backbone."."""
        parts = new(
            "cribo_load_parts",
            backbone=backbone,
            heads=heads,
            resample_positions=resample_positions,
            plain_names=plain_names,
        )
        with self._use() as invoke:
            source = Source(self._hooks, path)
            verb = source.verb("load_partial", "load_from")
            invoke(verb, source.argument, text_bytes("prefix", prefix), ctypes.byref(parts))

    @classmethod
    def open(
        cls,
        path: File,
        *,
        prefix: str | None = None,
        with_heads: bool = False,
        threads: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
        **settings: Unpack[ModelSettings],
    ) -> Model:
        """A model from a file of weights alone: of this library, timm, Hugging Face or Meta's repositories.
        Settings given here replace those that are derived from the file. With with_heads the projection heads
        are read too, where the file has them."""
        options = open_options(prefix, with_heads)
        config = new("cribo_model_config")
        hooks = Hooks(1, None, None)
        with hooks.signals_kept():
            source = Source(hooks, path)
            verb = source.verb("cribo_model_config_from_file", "cribo_model_config_from_reader")
            hooks.call(getattr(native, verb), source.argument, ctypes.byref(options), ctypes.byref(config))
            source.rewind()
        found = config_values(config)
        model = cls(threads=threads, log=log, progress=progress, **{**found, **settings})
        try:
            model.adopt(path, prefix=prefix, heads=found["prototypes"] > 0)
        except BaseException:
            model.close()
            raise
        return model

    def adopt(self, path: File, *, prefix: str | None = None, heads: bool = False) -> None:
        """Reads weights of any layout into this model: the backbone, and with heads the projection heads."""
        options = open_options(prefix, heads)
        with self._use() as invoke:
            source = Source(self._hooks, path)
            invoke(source.verb("adopt"), source.argument, ctypes.byref(options))

    def export(self, path: File, layout: str = "cribo", *, prefix: str | None = None) -> None:
        """Writes the backbone in a layout of layouts(), for other code; prefix None: that of the layout."""
        text = None if prefix is None else text_bytes("prefix", prefix)
        with self._use() as invoke:
            target = Target(self._hooks, path)
            invoke(target.verb("export"), target.argument, text_bytes("layout", layout), text)


class WeightsInfo(NamedTuple):
    """A file of weights, as Model.open understands it."""

    layout: str
    title: str
    prefix: str
    dtype: str
    kind: str  # of a file of this library, or ""
    assumed: str  # settings that the file does not determine
    tensors: int
    parameters: int
    heads: bool
    step: int  # of the run; -1: not in the file


def open_options(prefix: str | None, heads: bool) -> Any:
    """The options of opening a file; ctypes keeps the prefix's bytes alive."""
    text = None if prefix is None else text_bytes("prefix", prefix)
    return new("cribo_open_options", prefix=text, settings=None, heads=int(heads))


def weights_info(path: File, *, prefix: str | None = None) -> WeightsInfo:
    """Describes a file of weights."""
    options, info = open_options(prefix, True), new("cribo_weights_info")
    look("cribo_weights_describe", path, ctypes.byref(options), ctypes.byref(info))
    texts = (getattr(info, name).decode() for name in WeightsInfo._fields[:6])
    numbers = info.tensors, info.parameters, bool(info.heads), info.step
    return WeightsInfo._make((*texts, *numbers))


def layouts() -> list[str]:
    """The layouts in which Model.export writes."""
    found: list[str] = []
    while (name := native.cribo_weights_layout(len(found))) is not None:
        found.append(name.decode())
    return found
