"""SemiVL's parts: CLIP's image tower, the texts of the classes, the frozen guide, and the segmenter made of them."""
