"""How fast this machine reads the images of a training and learns from them, and which settings suit it."""
