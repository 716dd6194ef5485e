"""The decision service under load and faults: a server, its load, what is checked afterwards, and its rate beside a bare one."""
