"""A button on the page that ends the prompt at the terminal. Apart, for it needs no web server."""


class GoOn(Exception):
    """The page wants the prompt to end; the text is the command that ends it, "" the next step."""
