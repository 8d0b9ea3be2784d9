"""semiovs: semi-supervised semantic segmentation with open-vocabulary teachers.

A handful of labelled images, a heap of bare ones, and images from elsewhere that an open-vocabulary
model labels: in; the best segmentation model these images allow: out. ``import semiovs`` is cheap (it does not import torch).
"""

__version__ = "0.1.0"
