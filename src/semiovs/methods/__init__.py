"""The learners: mathematics and nothing else."""
