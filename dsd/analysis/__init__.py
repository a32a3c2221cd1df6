"""What the scores mean: arrays in, arrays out."""
