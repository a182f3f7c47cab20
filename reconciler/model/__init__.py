"""The vocabulary that all rooms share: desired, observed, action, plan. Frozen data, no behaviour beyond spelling.

May import only `kits`. Everybody but the engine may import it.
"""
