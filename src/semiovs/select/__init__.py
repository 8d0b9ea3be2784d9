"""Choose OOD images from a pool: on topic, balanced over the classes, without duplicates and leaks."""
