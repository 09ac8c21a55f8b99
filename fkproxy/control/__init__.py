"""The administrator's verbs, without HTTP.

Floor 3.

upstreams.py      look at upstreams, hold and release them
keys.py           client keys; key_views.py what is said about them
pools.py          pools
providers.py      providers beside those that were declared
settings.py       settings that take effect at once
config.py         all of these as a whole: export, restore, revisions, rollback
fallback_list.py  managed providers in the shape of another system
audit.py          the audit log
calls.py          the log of calls
store.py          the store itself
compat.py         what is seen in the shapes of other systems; compat_verbs.py their verbs

documents.py      changes of the document, each judged before it is written
ledger.py         every change with its entry in the audit log
secret_fields.py  where secrets stand in a provider's entry, and what stands there instead
checks.py         what may be written into a field
seams.py          what the verbs stand on
refusals.py       why a verb was not done
"""
