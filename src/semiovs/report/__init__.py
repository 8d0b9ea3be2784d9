"""Pages for people: one self-contained HTML file each, readable offline and on a phone."""
