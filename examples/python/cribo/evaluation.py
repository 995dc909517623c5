"""Evaluation of frozen features: nearest neighbours, linear probes, scores, principal components."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import Array, Found, Wanted, address, apart, input_array, natural, output_array, view
from .callbacks import Hooks, Log, Progress
from .configs import config_values, with_settings
from .handles import Handle
from .library import check, native, new
from .step import crop_array

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .setting_types import ProbeSettings


class FitReport(NamedTuple):
    """The outcome of the fit of a linear layer."""

    loss: float
    gradient: float  # largest magnitude of an element of the loss's gradient
    iterations: int
    reached: bool  # whether the gradient is at most 1e-6, the aim of the fit


class Prediction(NamedTuple):
    """Predicted classes of images. An output that was left out is None."""

    labels: Found  # int32 [B, height, width]
    shares: Found  # float32 [B, rows, columns, C]: of each class in each patch


@with_settings("probe")
class Probe(Handle):
    """Reads classes off frozen features: a memory of labelled patches, searched for nearest neighbours (dense
    retrieval, k-NN) or fitted by a linear layer. Features of whole images are maps of one patch."""

    _kind = "probe"
    settings: ProbeSettings

    def __init__(
        self,
        *,
        threads: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
        **settings: Unpack[ProbeSettings],
    ):
        super().__init__(settings, threads, log, progress)

    def set(self, **settings: Unpack[ProbeSettings]) -> None:
        """Changes temperature, weight_penalty or iterations for later calls, all or none of them."""
        self._set(settings)

    def _maps(self, features: Array, height: int, width: int) -> tuple[Any, np.ndarray]:
        """The struct of patch maps, and the array to which it points."""
        array = input_array(
            "features", features, np.float32, ("B", "rows", "columns", self.settings["width"])
        )
        images, rows, columns = array.shape[:3]
        maps = new(
            "cribo_patch_maps",
            images=images,
            rows=rows,
            columns=columns,
            features=address(array),
            height=height,
            width=width,
        )
        return maps, array

    def add(self, features: Array, labels: Array) -> None:
        """Remembers the patches of features [B, rows, columns, D] with their labels, int32 [B, height,
        width], where height and width are multiples of rows and columns."""
        truth = input_array("labels", labels, np.int32, ("B", "height", "width"))
        maps, array = self._maps(features, *truth.shape[1:])
        if len(truth) != len(array):
            raise ValueError(f"labels has {len(truth)} images, but features has {len(array)}")
        with self._use() as invoke:
            invoke("add", ctypes.byref(maps), address(truth))

    def add_chosen(self, features: Array, labels: Array, index: Array) -> None:
        """Remembers the patches index, int64 [B, count], of each image, in this order; rare_patches chooses
        them."""
        truth = input_array("labels", labels, np.int32, ("B", "height", "width"))
        maps, array = self._maps(features, *truth.shape[1:])
        chosen = input_array("index", index, np.int64, (len(array), "count"))
        if len(truth) != len(array):
            raise ValueError(f"labels has {len(truth)} images, but features has {len(array)}")
        with self._use() as invoke:
            invoke("add_chosen", ctypes.byref(maps), address(truth), chosen.shape[1], address(chosen))

    def count(self) -> int:
        """The number of patches in the memory."""
        entries = ctypes.c_int64()
        with self._use() as invoke:
            invoke("count", ctypes.byref(entries))
        return entries.value

    def search(self, features: Array, *, index: Wanted = True, cosine: Wanted = True) -> tuple[Found, Found]:
        """The `neighbours` entries nearest to each of features [R, D], nearest first: their numbers (-1
        beyond the last) and cosines, [R, neighbours]."""
        array = input_array("features", features, np.float32, ("R", self.settings["width"]))
        shape = (len(array), self.settings["neighbours"])
        found = (
            output_array("index", index, np.int64, shape),
            output_array("cosine", cosine, np.float32, shape),
        )
        apart({"features": array}, {"index": found[0], "cosine": found[1]})
        with self._use() as invoke:
            invoke("search", len(array), address(array), *(address(a) for a in found))
        return found

    def fit(self) -> float:
        """Fits the linear layer to the memory; its loss there."""
        loss = ctypes.c_double()
        with self._use() as invoke:
            invoke("fit", ctypes.byref(loss))
        return loss.value

    def fit_report(self) -> FitReport:
        """The outcome of the last fit: converged or not."""
        found = new("cribo_fit_report")
        with self._use() as invoke:
            invoke("fit_report", ctypes.byref(found))
        return FitReport(found.loss, found.gradient, found.iterations, bool(found.reached))

    def predict(
        self,
        features: Array,
        height: int,
        width: int,
        *,
        linear: bool = False,
        labels: Wanted = True,
        shares: Wanted = False,
    ) -> Prediction:
        """Label maps of height x width pixels for features [B, rows, columns, D], by nearest neighbours or,
        with `linear`, by the layer that fit made."""
        maps, array = self._maps(features, natural("height", height), natural("width", width))
        result = Prediction(
            output_array("labels", labels, np.int32, (len(array), height, width)),
            output_array("shares", shares, np.float32, (*array.shape[:3], self.settings["classes"])),
        )
        apart({"features": array}, result._asdict())
        with self._use() as invoke:
            invoke("predict", int(linear), ctypes.byref(maps), address(result.shares), address(result.labels))
        return result


class LinearLayer:
    """Linear segmentation of frozen tokens: `weights`, float32 [C * (D + 1)], W [C, D] and then b [C]."""

    def __init__(self, width: int, classes: int, ignore_label: int = 255):
        self.width, self.classes, self.ignore_label = width, classes, ignore_label
        self.weights = np.zeros(classes * (width + 1), np.float32)
        self.velocity = np.zeros_like(self.weights)

    def _call(
        self, features: Array, height: int, width: int, rate: float, momentum: float, decay: float
    ) -> tuple[Any, Any, np.ndarray]:
        array = input_array("features", features, np.float32, ("B", "rows", "columns", self.width))
        images, rows, columns = array.shape[:3]
        maps = new(
            "cribo_patch_maps",
            images=images,
            rows=rows,
            columns=columns,
            features=address(array),
            height=height,
            width=width,
        )
        layer = new(
            "cribo_linear_layer",
            width=self.width,
            classes=self.classes,
            ignore_label=self.ignore_label,
            rate=rate,
            momentum=momentum,
            decay=decay,
            weights=address(self.weights),
            velocity=address(self.velocity),
        )
        return layer, maps, array

    def step(
        self, features: Array, labels: Array, rate: float, momentum: float = 0.9, decay: float = 0.0
    ) -> float:
        """One step of stochastic gradient descent on features [B, rows, columns, D] and int32 labels [B,
        height, width]; the loss before it."""
        truth, loss = input_array("labels", labels, np.int32, ("B", "height", "width")), ctypes.c_double()
        height, width = truth.shape[1:]
        layer, maps, array = self._call(features, height, width, rate, momentum, decay)
        if len(truth) != len(array):
            raise ValueError(f"labels has {len(truth)} images, but features has {len(array)}")
        check(
            native.cribo_linear_layer_step(
                ctypes.byref(layer), ctypes.byref(maps), address(truth), ctypes.byref(loss), None
            )
        )
        return loss.value

    def predict(self, features: Array, height: int, width: int) -> np.ndarray:
        """Label maps, int32 [B, height, width]."""
        layer, maps, array = self._call(features, height, width, 0, 0, 0)
        labels = np.empty((len(array), height, width), np.int32)
        check(
            native.cribo_linear_layer_predict(ctypes.byref(layer), ctypes.byref(maps), address(labels), None)
        )
        return labels


class Scores(NamedTuple):
    """The scores of predicted labels."""

    mean_iou: float
    accuracy: float
    mean_accuracy: float
    classes_seen: int
    counted: int
    mean_iou_all: float
    iou: np.ndarray  # [C] of each class, -1 where it occurs in neither


class Confusion:
    """Counts of pixels (or images) by true and predicted class, in `matrix` [C, C]."""

    def __init__(self, classes: int, ignore_label: int = 255):
        self.ignore_label = ignore_label
        self.matrix = np.zeros((classes, classes), np.int64)

    def add(self, truth: Array, predicted: Array) -> None:
        """Counts int32 labels of any shape, the same for both."""
        pair = view("truth", truth), view("predicted", predicted)
        flat = [
            input_array(n, a.reshape(-1), np.int32, (pair[0].size,))
            for n, a in zip(("truth", "predicted"), pair)
        ]
        check(
            native.cribo_confusion_add(
                len(self.matrix), self.ignore_label, flat[0].size, *map(address, flat), address(self.matrix)
            )
        )

    def scores(self) -> Scores:
        """The scores of all labels added so far."""
        iou, found = np.empty(len(self.matrix)), new("cribo_scores")
        check(
            native.cribo_confusion_scores(
                len(self.matrix), address(self.matrix), address(iou), ctypes.byref(found)
            )
        )
        return Scores(**config_values(found), iou=iou)


def rare_patches(
    labels: Array, rows: int, columns: int, classes: int, draws: Array, count: int, *, ignore_label: int = 255
) -> np.ndarray:
    """The patches, int64 [B, count], that a bounded memory is to keep of each image: those with the image's
    rare classes first. labels int32 [B, height, width]; draws float32 [B, rows * columns], uniform in
    [0, 1)."""
    truth = input_array("labels", labels, np.int32, ("B", "height", "width"))
    images, height, width = truth.shape
    maps = new("cribo_patch_maps", images=images, rows=rows, columns=columns, height=height, width=width)
    chance = input_array("draws", draws, np.float32, (images, rows * columns))
    index = np.empty((images, natural("count", count)), np.int64)
    check(
        native.cribo_rare_patches(
            ctypes.byref(maps),
            classes,
            ignore_label,
            address(truth),
            address(chance),
            count,
            address(index),
            None,
        )
    )
    return index


def assign(score: Array) -> np.ndarray:
    """The column of each row, int64 [rows], in the assignment with the greatest total of score, float64
    [rows, columns]; -1: the row has none."""
    array = input_array("score", score, np.float64, ("rows", "columns"))
    column = np.empty(len(array), np.int64)
    check(native.cribo_assign(*array.shape, address(array), address(column), None))
    return column


class Matching(NamedTuple):
    """Classes of predictions that have no names."""

    class_of: np.ndarray  # int64 [P] the class of each prediction
    matched: np.ndarray  # int64 [C, C] the confusion by true class and the prediction's class


def confusion_match(confusion: Array, *, many_to_one: bool = False, rest: int = 0) -> Matching:
    """Matches predictions with classes by their counts, int64 [C, P]: one to one by the sum of intersections
    over unions, or each with the class that most of its pixels have."""
    array = input_array("confusion", confusion, np.int64, ("C", "P"))
    classes, predictions = array.shape
    found = Matching(np.empty(predictions, np.int64), np.empty((classes, classes), np.int64))
    check(
        native.cribo_confusion_match(
            classes,
            predictions,
            address(array),
            int(many_to_one),
            rest,
            address(found.class_of),
            address(found.matched),
            None,
        )
    )
    return found


class KMeans(NamedTuple):
    """Centres of rows."""

    centres: np.ndarray  # float32 [K, D]
    labels: np.ndarray  # int32 [R] the nearest centre of each row
    inertia: float  # the sum of the squared distances to it


def k_means(
    features: Array, clusters: int, *, seed: int = 0, iterations: int = 50, threads: int = 0
) -> KMeans:
    """k-means of features [R, D] from a start by k-means++."""
    array = input_array("features", features, np.float32, ("R", "D"))
    rows, width = array.shape
    centres = np.empty((natural("clusters", clusters), width), np.float32)
    labels, inertia, hooks = np.empty(rows, np.int32), ctypes.c_double(), Hooks(threads, None, None)
    outputs = address(centres), address(labels), ctypes.byref(inertia), ctypes.byref(hooks.runtime)
    with hooks.signals_kept():
        hooks.call(native.cribo_k_means, rows, width, address(array), clusters, seed, iterations, *outputs)
    return KMeans(centres, labels, inertia.value)


def nearest_centres(features: Array, centres: Array, *, threads: int = 0) -> KMeans:
    """The nearest of centres [K, D] for each of features [R, D]."""
    array = input_array("features", features, np.float32, ("R", "D"))
    given = input_array("centres", centres, np.float32, ("K", array.shape[1]))
    labels, inertia, hooks = np.empty(len(array), np.int32), ctypes.c_double(), Hooks(threads, None, None)
    outputs = address(labels), ctypes.byref(inertia), ctypes.byref(hooks.runtime)
    with hooks.signals_kept():
        hooks.call(
            native.cribo_nearest_centres,
            *array.shape,
            address(array),
            len(given),
            address(given),
            *outputs,
        )
    return KMeans(given, labels, inertia.value)


class ViewRetrieval(NamedTuple):
    """How many patches of first views found their place in the second views."""

    asked: int
    found: int

    @property
    def share(self) -> float:
        """found / asked; 0 if no views overlap."""
        return self.found / self.asked if self.asked else 0.0


def view_retrieval(
    view1: Array, view2: Array, crops1: Array, crops2: Array, *, reach: int = 0, threads: int = 0
) -> ViewRetrieval:
    """Dense retrieval without labels: for each patch of view1 whose place view2 of its image shows, whether
    the patch with the largest cosine among all of view2 is the one at that place, or at most reach rows and
    columns beside it. view1, view2 [B, rows, columns, D]; crops1, crops2 [B, 5] as in Batch."""
    one = input_array("view1", view1, np.float32, ("B", "rows", "columns", "D"))
    two = input_array("view2", view2, np.float32, one.shape)
    crops = [crop_array(name, given, len(one)) for name, given in (("crops1", crops1), ("crops2", crops2))]
    asked, found, hooks = ctypes.c_int64(), ctypes.c_int64(), Hooks(threads, None, None)
    inputs = (*one.shape, *(address(array) for array in (one, two, *crops)), natural("reach", reach))
    with hooks.signals_kept():
        hooks.call(
            native.cribo_view_retrieval,
            *inputs,
            ctypes.byref(asked),
            ctypes.byref(found),
            ctypes.byref(hooks.runtime),
        )
    return ViewRetrieval(asked.value, found.value)


class PrincipalComponents(NamedTuple):
    """The directions of greatest variance, and rows along them."""

    projected: np.ndarray  # float32 [R, components]
    directions: np.ndarray  # float32 [components, D]
    variance: np.ndarray  # float64 [components]


def principal_components(features: Array, components: int = 3, *, threads: int = 0) -> PrincipalComponents:
    """Principal components of features [R, D], the greatest variance first, with settled signs."""
    array = input_array("features", features, np.float32, ("R", "D"))
    rows, width = array.shape
    count = natural("components", components)
    found = PrincipalComponents(
        np.empty((rows, count), np.float32), np.empty((count, width), np.float32), np.empty(count)
    )
    hooks = Hooks(threads, None, None)
    outputs = address(found.directions), address(found.projected), address(found.variance)
    runtime = ctypes.byref(hooks.runtime)
    with hooks.signals_kept():
        hooks.call(native.cribo_principal_components, rows, width, address(array), count, *outputs, runtime)
    return found
