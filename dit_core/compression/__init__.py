"""Algorithms that techniques use: calibration inputs, rounding, bit allocation, saliency, splitting into experts."""
