"""The ports (`base`) and their adapters, one module or package each; adapters never import each other."""
