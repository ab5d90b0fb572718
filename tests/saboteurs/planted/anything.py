"""Faults that fit any name."""

from __future__ import annotations


def instead(_original, value):
    """Another value."""
    return value


def nothing(_original):
    """A function that does nothing and gives None."""
    return lambda *_arguments, **_options: None


def giving(_original, value):
    """A function that gives this, whatever it is asked."""
    return lambda *_arguments, **_options: value


def doing_nothing_for(function, unwanted):
    """A function that does nothing where an argument is this one."""

    def chosen(*arguments):
        return None if unwanted in arguments else function(*arguments)

    return chosen


def default(function, name, value):
    """The same function with another default for an option."""
    assert name in function.__kwdefaults__, f"{function.__qualname__} has no option {name}"
    function.__kwdefaults__[name] = value
    return function


def twice(function):
    """A function that does everything twice."""

    def again(*arguments):
        function(*arguments)
        return function(*arguments)

    return again
