"""The steps of K members of a sweep as one computation. Internal."""
