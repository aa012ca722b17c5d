"""What has happened: instances, their executions, and how an event changes them."""
