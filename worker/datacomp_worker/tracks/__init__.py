"""What is particular to one kind of training, one file per track family."""
