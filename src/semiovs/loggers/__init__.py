"""Where a run is logged to, beside its own files: numbers and pictures for TensorBoard, Weights & Biases, MLflow."""
