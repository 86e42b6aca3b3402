"""The boundary between trusted code (`workers.host`) and analysts' code (`workers.guest`)."""
