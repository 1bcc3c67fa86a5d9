"""Evaluates styles: computes figures that reflect what viewers see, compares several models, writes one HTML page."""
