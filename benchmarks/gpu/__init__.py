"""What one GPU does with the methods, the teacher and the loader: `python -m benchmarks gpu --out DIR` (see gpu.md)."""
