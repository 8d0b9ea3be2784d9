"""A trained student leaves its framework: files for ONNX runtimes, OpenVINO and `torch.export`, checked against it."""
