"""Prediction with trained models, and pictures of the results."""

from semiovs.images.overlay import id_png, overlay, palette_png
from semiovs.inference.prediction import Prediction
from semiovs.inference.predictor import Predictor
from semiovs.inference.sheet import Tile, contact_sheet
from semiovs.models.device import pick_device

__all__ = ["Prediction", "Predictor", "Tile", "contact_sheet", "id_png", "overlay", "palette_png", "pick_device"]
