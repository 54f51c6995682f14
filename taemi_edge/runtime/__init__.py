"""Running a bundle: one seam to every backend, the window of a source, presence, and predictions."""
