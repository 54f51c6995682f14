"""The device's side: sources, preprocessing, sessions, presence and the pipeline; neither torch nor onnx."""
