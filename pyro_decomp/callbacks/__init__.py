"""Ready-made callbacks of training: what watches, stops, keeps and records it; never the loop."""

from pyro_decomp.callbacks.gradient_norms import GradientNorms
from pyro_decomp.callbacks.held_out import HeldOut
from pyro_decomp.callbacks.learning_rate import LearningRate
from pyro_decomp.callbacks.stopping import BestCheckpoint, EarlyStopping
from pyro_decomp.callbacks.trackers import CSVLog, MLflow, TensorBoard
from pyro_decomp.training.callbacks import Callback, Training
from pyro_decomp.training.progress import Progress

__all__ = [
    "BestCheckpoint",
    "CSVLog",
    "Callback",
    "EarlyStopping",
    "GradientNorms",
    "HeldOut",
    "LearningRate",
    "MLflow",
    "Progress",
    "TensorBoard",
    "Training",
]
