"""One module per paper, written with the words of the paper."""
