"""Trained networks and records in the formats of others.

* formats.py: ONNX, TorchScript, safetensors; int8.py: whole numbers
* c_source.py: one C file; model_card.py: what goes with it
* record_table.py: records as a table for pandas or a spreadsheet
"""
