"""A bundle in, its times out, beside what people run such a model with otherwise: each way in a process of its own."""
