"""What the tests share: daemons, clients, terminals, the leak ledger, and what a machine can and cannot do."""
