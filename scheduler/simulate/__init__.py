"""The event engine: plays a policy with noise and failures; emits a Run with its Ledger."""
