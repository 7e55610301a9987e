"""The report as a page: self-contained HTML with pictures that the reader can switch."""
