"""Calibration: FP16 and INT8 graphs from an FP32 bundle and real clips, and what each precision costs."""
