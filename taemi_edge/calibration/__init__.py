"""Calibrating a bundle on real clips: ranges, precision plans, and what each precision costs."""
