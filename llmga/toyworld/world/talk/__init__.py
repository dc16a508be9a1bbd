"""What people say about the world's pictures, in English and Chinese, and what the planner is taught to answer."""
