"""What only tests use: files made to harm, disks that fail, processes that are watched."""
