"""What people look at: folders of candidates, tables and pictures."""
