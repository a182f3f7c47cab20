"""When to plan again, and one pass of it: observe, plan, execute. Only `cli` may import it."""
