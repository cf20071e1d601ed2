"""Device bundles: everything a Jetson needs to build, verify and measure a detector, in one folder.

`packer` writes one where torch is; `engines` builds from one on the device, where there is neither
torch nor onnx. Reading and verifying is `edgekd_bench.bundle`, because the harness does it too.
"""
