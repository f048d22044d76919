"""Network definitions, weight loading and the weights that ship."""
