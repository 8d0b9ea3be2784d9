"""A published table as a queue of trainings: which, what they need and cost, how far they are, what they found."""
