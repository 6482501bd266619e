"""A project to look at: galleries, sites, array, responses, plan and rounds, served or frozen in one page."""
