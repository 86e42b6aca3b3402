"""The boundary between trusted code (`workers.host`) and analysts' code (`workers.guest`)."""

import os

SILENT = {"ORT_DISABLE_TELEMETRY": "1", "YOLO_OFFLINE": "true"}
"""What keeps ONNX Runtime and ultralytics, which detectors use, from reporting their use over the network. ONNX Runtime
would also keep a number of this machine, and what it is to report, in the user's home."""
for _name, _value in SILENT.items():
    os.environ.setdefault(_name, _value)
