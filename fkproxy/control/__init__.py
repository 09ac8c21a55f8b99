"""The administrator's verbs, without HTTP.

Floor 3.

upstreams.py      look at upstreams, hold and release them
keys.py           client keys; key_views.py what is said about them
ledger.py         every change with its entry in the audit log
secret_fields.py  where secrets stand in a provider's entry, and what stands there instead
checks.py         what may be written into a field
seams.py          what the verbs stand on
refusals.py       why a verb was not done
"""
