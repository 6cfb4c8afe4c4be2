"""What tests share: inputs, comparisons, what is compiled, where things lie."""
