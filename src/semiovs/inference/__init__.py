"""Prediction with trained models, and pictures of what they see."""

from semiovs.inference.overlay import id_png, overlay, palette_png
from semiovs.inference.predictor import Prediction, Predictor, pick_device
from semiovs.inference.sheet import Tile, contact_sheet

__all__ = ["Prediction", "Predictor", "Tile", "contact_sheet", "id_png", "overlay", "palette_png", "pick_device"]
