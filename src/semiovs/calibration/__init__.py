"""How far a teacher can be trusted: thresholds, confidences, and the teacher card."""
