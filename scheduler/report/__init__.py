"""Run and Ledger to terminal tables and JSON."""
