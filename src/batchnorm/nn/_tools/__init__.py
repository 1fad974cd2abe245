"""Tools of other packages: what they get of a layer, and what they may take it for."""
