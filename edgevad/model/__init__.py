"""The autoencoder, the entropy that shapes it, and everything that fits it. torch lives in this room only."""
