"""Was a site controlled, and could the test have shown it?"""
