"""What commands do, apart from how they are typed: usable from Python as well."""
