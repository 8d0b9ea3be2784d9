"""Prediction with trained models, and pictures of what they see."""

from semiovs.inference.overlay import id_png, overlay, palette_png
from semiovs.inference.predictor import Prediction, Predictor
from semiovs.models.device import pick_device

__all__ = ["Prediction", "Predictor", "id_png", "overlay", "palette_png", "pick_device"]
