"""Workers on one machine and on many: placed, watched, restarted."""
