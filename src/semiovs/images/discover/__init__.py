"""Find out what a folder of images holds: folders, lists, classes, bands."""
