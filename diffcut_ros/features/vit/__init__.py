"""The `vit` backends: patch features of vision transformers that `transformers` knows, and a kernel for them."""
