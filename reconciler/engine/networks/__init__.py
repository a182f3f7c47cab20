"""Networks: the bridge, addresses, published ports, hosts files and links. Other rooms of the engine may import it."""
