"""Methods across scales: what boards of one track and suite tell together."""
