"""What trials measure where they do not train: one file a question, a function each."""
