"""Checks of images, masks and lists: of single records, of streams of records, and across streams."""
