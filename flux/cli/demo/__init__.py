"""The demo: the orders of a shop, fulfilled by a saga over the shop's own database."""
