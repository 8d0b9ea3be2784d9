"""A trained model as a folder that others can use, and its way to the hub."""
