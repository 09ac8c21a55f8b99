"""The administrator's verbs, without HTTP.

Floor 3.

upstreams.py   look at upstreams, hold and release them
"""
