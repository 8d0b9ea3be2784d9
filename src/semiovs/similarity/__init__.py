"""Which pictures are the same: hashes, descriptors, copies, neighbours."""
