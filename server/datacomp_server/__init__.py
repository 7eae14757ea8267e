"""The HTTP service: accounts, boards, submissions, runs, leaderboard and pages."""
