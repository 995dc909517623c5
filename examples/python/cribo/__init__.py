"""libcribo from Python: self-supervised pretraining of vision transformers with CrIBo.

The whole public interface through ctypes, with NumPy as its only dependency. One class for each handle of the
library: Model, Clusterer, MemoryBank, Loss, Objective, Trainer, Probe. They are context managers (or call
close()), take their settings as keyword arguments, and raise exceptions with the library's message.

Arrays go in and out without copies. An input may be a NumPy array or anything with __array_interface__ or
__dlpack__ (CPU tensors of PyTorch, JAX, ...) of the expected dtype. Arrays that are not contiguous are
copied, lists are converted. A wrong dtype is a TypeError, a wrong shape a ValueError; both name the argument.
Outputs are keyword arguments: True makes a new array, False leaves the output out, and an array (contiguous,
writable) is written into.

Shape letters as in the headers: B images, N patch tokens of a view, D token width, K clusters of an image, R
objects of a batch, P prototypes. The documentation is docs/python.md; the reference is the headers of
include/cribo/.
"""

from .callbacks import Log, Progress
from .checkpoints import Snapshot, checkpoint_metadata, checkpoint_settings
from .clusterer import Clusterer, Clusters
from .communicator import Communicator, MpiCommunicator, ThreadGroup, TorchCommunicator
from .configs import Setting, settings
from .declarations import VERSION as __version__
from .errors import (
    Cancelled,
    Corrupt,
    Error,
    FileNotFound,
    InvalidArgument,
    IOError_,
    NotADirectory,
    NotFinite,
    OutOfMemory,
    PermissionDenied,
    SystemError_,
    TimedOut,
    WrongState,
)
from .evaluation import (
    Confusion,
    FitReport,
    KMeans,
    LinearLayer,
    Matching,
    Prediction,
    PrincipalComponents,
    Probe,
    Scores,
    ViewRetrieval,
    assign,
    confusion_match,
    k_means,
    nearest_centres,
    principal_components,
    rare_patches,
    view_retrieval,
)
from .handles import Sizes
from .loss import Loss, Losses
from .memory_bank import BankContent, Matches, MemoryBank
from .model import Features, Model, WeightsInfo, layouts, weights_info
from .objective import Learned, Objective, StepValues
from .process import (
    build_info,
    default_threads,
    memory_available,
    random_uniform,
    set_default_threads,
    version,
)
from .setting_types import Preset
from .step import CROP, Moments, Report, Targets, crop_positions
from .trainer import IMAGENET_DEVIATION, IMAGENET_MEAN, Batch, Trainer

LOG_WARNING, LOG_INFO = 1, 2

__all__ = [
    "CROP",
    "IMAGENET_DEVIATION",
    "IMAGENET_MEAN",
    "LOG_INFO",
    "LOG_WARNING",
    "BankContent",
    "Batch",
    "Cancelled",
    "Clusterer",
    "Clusters",
    "Communicator",
    "Confusion",
    "Corrupt",
    "Error",
    "Features",
    "FileNotFound",
    "FitReport",
    "IOError_",
    "InvalidArgument",
    "KMeans",
    "Learned",
    "LinearLayer",
    "Log",
    "Loss",
    "Losses",
    "Matches",
    "Matching",
    "MemoryBank",
    "Model",
    "Moments",
    "NotADirectory",
    "MpiCommunicator",
    "NotFinite",
    "Objective",
    "OutOfMemory",
    "PermissionDenied",
    "Prediction",
    "Preset",
    "PrincipalComponents",
    "Probe",
    "Progress",
    "Report",
    "Scores",
    "Setting",
    "Sizes",
    "Snapshot",
    "StepValues",
    "SystemError_",
    "Targets",
    "ThreadGroup",
    "TimedOut",
    "TorchCommunicator",
    "Trainer",
    "ViewRetrieval",
    "WeightsInfo",
    "WrongState",
    "__version__",
    "assign",
    "build_info",
    "checkpoint_metadata",
    "checkpoint_settings",
    "confusion_match",
    "crop_positions",
    "default_threads",
    "k_means",
    "layouts",
    "memory_available",
    "nearest_centres",
    "principal_components",
    "random_uniform",
    "rare_patches",
    "set_default_threads",
    "settings",
    "version",
    "view_retrieval",
    "weights_info",
]
