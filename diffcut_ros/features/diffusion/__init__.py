"""The `diffusion` backends: self-attention features of a Stable Diffusion UNet's encoder (DiffCut, section 3.1)."""
