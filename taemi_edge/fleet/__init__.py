"""From the machine that makes bundles to many devices: signatures, registries, and devices that update themselves."""
