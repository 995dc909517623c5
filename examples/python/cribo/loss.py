"""The three self-distillation losses and their centres."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .arrays import FLAGS, Array, Found, Wanted, address, apart, input_array, optional_array, output_array
from .callbacks import Log, Progress
from .configs import with_settings
from .handles import Handle, Sizes
from .library import new

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .setting_types import LossSettings


class Losses(NamedTuple):
    """The three losses and, where wanted, the gradients of their sum."""

    global_loss: float
    cross_view_loss: float
    cross_image_loss: float
    student_cls_gradient: Found  # [2, B, P]
    student_objects_gradient: Found  # [2, R, P]

    @property
    def total(self) -> float:
        """The training objective."""
        return self.global_loss + self.cross_view_loss + self.cross_image_loss


@with_settings("loss")
class Loss(Handle):
    """The self-distillation losses from logits, and the two centres that follow the teacher."""

    _kind = "loss"
    settings: LossSettings

    def __init__(
        self,
        *,
        threads: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
        **settings: Unpack[LossSettings],
    ):
        super().__init__(settings, threads, log, progress)

    def sizes(self) -> Sizes:
        """The sizes of the loss, for arrays."""
        return self._sizes()

    def set(self, **settings: Unpack[LossSettings]) -> None:
        """Changes settings for later calls, all or none of them; the numbers of prototypes cannot change."""
        self._set(settings)

    def compute(
        self,
        student_cls: Array,
        teacher_cls: Array,
        student_objects: Array,
        teacher_objects: Array,
        neighbours1: Array | None = None,
        neighbours2: Array | None = None,
        match1: Array | None = None,
        match2: Array | None = None,
        *,
        teacher_temperature: float = 0.07,
        object_teacher_temperature: float = 0.07,
        student_cls_gradient: Wanted = True,
        student_objects_gradient: Wanted = True,
    ) -> Losses:
        """Losses and gradients with the centres as they stand.

        student_cls, teacher_cls [2, B, P] and student_objects, teacher_objects [2, R, P] are logits, view 1
        first. neighbours1, neighbours2 [R, P] are the teacher's logits of the neighbours, of which rows with
        match1, match2 [R] take part; without neighbours there is no cross-image loss."""
        p, p_objects = self.settings["prototypes"], self.settings["object_prototypes"]
        cls = input_array("student_cls", student_cls, np.float32, (2, "B", p))
        objects = input_array("student_objects", student_objects, np.float32, (2, "R", p_objects))
        images, rows = cls.shape[1], objects.shape[1]
        arrays = {
            "student_cls": cls,
            "student_objects": objects,
            "teacher_cls": input_array("teacher_cls", teacher_cls, np.float32, cls.shape),
            "teacher_objects": input_array("teacher_objects", teacher_objects, np.float32, objects.shape),
            "neighbours1": optional_array("neighbours1", neighbours1, np.float32, (rows, p_objects)),
            "neighbours2": optional_array("neighbours2", neighbours2, np.float32, (rows, p_objects)),
            "match1": optional_array("match1", match1, FLAGS, (rows,)),
            "match2": optional_array("match2", match2, FLAGS, (rows,)),
        }
        gradients = {
            "student_cls_gradient": output_array(
                "student_cls_gradient", student_cls_gradient, np.float32, cls.shape
            ),
            "student_objects_gradient": output_array(
                "student_objects_gradient", student_objects_gradient, np.float32, objects.shape
            ),
        }
        apart(arrays, gradients)
        batch = new(
            "cribo_loss_input",
            images=images,
            objects=rows,
            teacher_temperature=teacher_temperature,
            object_teacher_temperature=object_teacher_temperature,
            **{name: address(array) for name, array in arrays.items()},
        )
        output = new("cribo_loss_output", **{name: address(array) for name, array in gradients.items()})
        with self._use() as invoke:
            invoke("compute", ctypes.byref(batch), ctypes.byref(output))
        return Losses(getattr(output, "global"), output.cross_view, output.cross_image, **gradients)

    def update_centres(self, teacher_cls: Array, teacher_objects: Array) -> None:
        """Moves the centres by this step's teacher logits, [2, B, P] and [2, R, P]."""
        p, p_objects = self.settings["prototypes"], self.settings["object_prototypes"]
        cls = input_array("teacher_cls", teacher_cls, np.float32, (2, "B", p))
        objects = input_array("teacher_objects", teacher_objects, np.float32, (2, "R", p_objects))
        batch = new(
            "cribo_loss_input",
            images=cls.shape[1],
            objects=objects.shape[1],
            teacher_cls=address(cls),
            teacher_objects=address(objects),
        )
        with self._use() as invoke:
            invoke("update_centres", ctypes.byref(batch))

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the centres of [CLS] and of objects."""
        return get_centres(self)

    def set_centres(self, centre: Array | None = None, object_centre: Array | None = None) -> None:
        """Replaces one centre or both."""
        set_centres(self, centre, object_centre)


def get_centres(handle: Handle) -> tuple[np.ndarray, np.ndarray]:
    """Copies of the centres of a loss or a trainer."""
    centre = np.empty(handle.settings["prototypes"], np.float32)
    object_centre = np.empty(handle.settings["object_prototypes"], np.float32)
    with handle._use() as invoke:
        invoke("read_centres", address(centre), centre.size, address(object_centre), object_centre.size)
    return centre, object_centre


def set_centres(handle: Handle, centre: Array | None, object_centre: Array | None) -> None:
    """Replaces the centres of a loss or a trainer."""
    values = [
        optional_array("centre", centre, np.float32, (handle.settings["prototypes"],)),
        optional_array("object_centre", object_centre, np.float32, (handle.settings["object_prototypes"],)),
    ]
    with handle._use() as invoke:
        invoke("set_centres", *map(address, values))
