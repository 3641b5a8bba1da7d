"""What crosses between cgap and the outside: files, names, users' own code."""
