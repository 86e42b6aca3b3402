"""Privid: differentially private video analytics.

The trusted system. Text of a query comes in through `privid.server`, is planned by `query_lang`,
certified by `privid.privacy`, admitted by `privid.ledger`, run by `privid.engine` on chunks that
`privid.video` decodes and `workers` processes in isolation, and leaves as noisy releases only.
"""

__version__ = "0.1.0"
