"""Files of weights and the names of each layout, for convert_weights.py."""
