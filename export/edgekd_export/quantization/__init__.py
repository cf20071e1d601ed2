"""int8 for a typed graph: which layers, on what ranges, in which form, and at what cost in mAP."""
