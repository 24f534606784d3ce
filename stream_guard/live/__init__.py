"""One live stream, kept protected: pulled, perturbed, encoded once and pushed to every output."""
