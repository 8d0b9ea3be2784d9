"""The demo: a made-up world, the trainings on it, and its page."""
