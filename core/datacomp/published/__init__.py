"""Tables of papers, as rows beside a board: their authors' word, never ranked with what was run here."""
