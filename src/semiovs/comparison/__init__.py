"""Compare trainings that differ in one thing: by how much, how certain, and in which classes."""
