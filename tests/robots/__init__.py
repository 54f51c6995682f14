"""Recordings of robots for tests and figures: real video, speech and readings of an IMU, as robots record them."""
