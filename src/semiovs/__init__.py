"""semiovs: semi-supervised semantic segmentation with open-vocabulary teachers.

It trains a segmentation model on a few labelled images, many unlabelled ones, and out-of-distribution images that an
open-vocabulary model labels. ``import semiovs`` is cheap: it does not import torch.
"""

__version__ = "0.1.0"
