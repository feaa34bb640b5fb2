"""Reads and writes every file format; the only room that parses."""
