"""The joint model in torch: training, and inference where ONNX Runtime does not do."""
