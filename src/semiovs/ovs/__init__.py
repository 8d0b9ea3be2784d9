"""Open-vocabulary teachers behind one interface."""
