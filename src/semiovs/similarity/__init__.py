"""Find equal and similar images: hashes, descriptors, copies, nearest neighbours."""
