"""Choose images from elsewhere: on topic, balanced, without copies and leaks."""
