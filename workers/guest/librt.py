"""Loads librt when it is imported: ONNX Runtime asks for it by name, and a guest's root has none of libc's files."""

import ctypes

ctypes.CDLL("librt.so.1")
