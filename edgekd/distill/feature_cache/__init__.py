"""The frozen teacher sees each view once: its features are kept on disk and reused by every run."""
