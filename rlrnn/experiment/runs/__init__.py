"""Run folders: what training leaves behind, read and compared."""
