"""Images: references, content store, layers, archives. Other rooms of the engine may import it."""
