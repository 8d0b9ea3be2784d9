"""Image-text models of transformers: loaded from a directory or the hub, read at every patch, asked with sentences."""
