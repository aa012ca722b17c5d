"""Workflows and instances as pictures: Mermaid, DOT, SVG and PNG."""
