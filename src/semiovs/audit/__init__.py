"""What is wrong with images, masks and lists: findings of single records, of streams, and across them."""
