"""What a run writes and a user keeps: runs/, events, the state folder."""
