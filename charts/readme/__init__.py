"""Write the chart's README from its values, its rights and a page with places for both."""

from readme.commented import Commented, commented_items, commented_values
from readme.page import readme_of, render_page

__all__ = ["Commented", "commented_items", "commented_values", "readme_of", "render_page"]
