"""INSECURE on purpose: the Larkspur Library, one folder a section, one flaw a file. For 127.0.0.1 and learning only."""
