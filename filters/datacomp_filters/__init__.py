"""Reference filters: one file each, obeying the same contract as participants."""
