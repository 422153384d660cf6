"""Scoring on the device: preprocessing, backends, window, threshold, pipeline. No torch in here."""
