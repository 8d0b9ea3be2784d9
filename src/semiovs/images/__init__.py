"""Image files, masks and lists of them: read the same way everywhere. Nothing in here needs torch."""
