"""What a model is worth: labels, metrics, and the run that brings them together. The only room that reads labels."""
