"""How a network is scored: data, augmentation, the loop that yields epochs, the worker."""
