"""A pool of images to choose from: listed, looked at once, compared."""
