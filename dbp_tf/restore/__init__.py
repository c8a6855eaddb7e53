"""Networks with weights, and the ways to make one picture of a burst with them."""
