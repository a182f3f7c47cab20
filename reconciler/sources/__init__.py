"""Where specs come from: a tree to read files from, and a word when it changed."""
