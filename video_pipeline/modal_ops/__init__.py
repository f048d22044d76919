"""The Modal side: what is deployed and how (`specs`, `images`, `app`, `entry`, `deploy`), and what it may
cost (`guard`).

Belongs here: three-line wrappers over the worker and the facts about Modal that they need. Does not belong
here: calling what is deployed (`compute.modal`), or what a task does. Nothing here is imported by Dagster's
code location; `modal` itself takes about a second to import, and only `images`, `app`, `entry`, `run_sample`
and `deploy` do so.

Not checked against Modal's own service yet: what has been run is Modal's own client, offline and against a
stand-in for the service.
"""
